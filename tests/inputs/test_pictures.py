"""A stranger's pictures: every form in which they come, what is skipped and why, and a whole atlas of them."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from planted import make_job
from tiny_encoder import save_tiny_encoder, save_tiny_tokenizer

from atlas.base.errors import InputError
from atlas.base.files import digest_file, list_files, read_json
from atlas.command.app import run
from atlas.inputs import embed, ingest
from atlas.inputs.encoder import embed_images, fetch_encoder, fit_of, load_encoder
from atlas.inputs.picture import KNOWN, decode_picture
from atlas.inputs.picture_sets import count_pictures
from atlas.inputs.text_tower import TextTower
from atlas.run.stage import Job
from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE
from atlas.settings.inputs import EmbedSettings

WIDTH = 16


def picture(number: int, size: tuple[int, int] = (70, 50)) -> Image.Image:
    levels = np.random.default_rng(number).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC)


def encoded(number: int, kind: str = "JPEG", size: tuple[int, int] = (70, 50)) -> bytes:
    data = io.BytesIO()
    picture(number, size).save(data, kind, quality=95)
    return data.getvalue()


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory) -> Path:
    return save_tiny_encoder(tmp_path_factory.mktemp("encoder"), WIDTH)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Pictures of mixed kinds and sizes, some broken, captions in three places."""
    root = tmp_path_factory.mktemp("photos")
    (root / "trip").mkdir()
    for number in range(10):
        size = (40 + 37 * number, 300 - 23 * number)
        (root / f"{number:02d}.jpg").write_bytes(encoded(number, size=size))
    for number in range(10, 14):
        (root / "trip" / f"{number:02d}.png").write_bytes(encoded(number, "PNG"))
    (root / "trip" / "14.WEBP").write_bytes(encoded(14, "WEBP"))
    (root / "00.txt").write_text("a beach at noon\n")
    (root / "01.json").write_text(json.dumps({"Text": "two dogs", "tags": ["dog"]}))
    (root / "02.json").write_text("{not json")
    (root / "captions.csv").write_text("file_name,caption,NSFW\n03.jpg,a red car,\n04.jpg,x,NSFW\n")
    (root / "15-cut.jpg").write_bytes(encoded(1)[:-200])
    (root / "16-empty.jpg").write_bytes(b"")
    (root / "17-page.jpg").write_text("<html>not found</html>")
    (root / "18-copy.jpg").write_bytes((root / "05.jpg").read_bytes())
    (root / ".hidden.jpg").write_bytes(b"no")
    (root / "readme.md").write_text("no picture")
    return root


def job_of(pictures: Path, encoder: Path, out: Path, **settings: int) -> Job:
    files = tuple(path for path in list_files(pictures) if not path.name.startswith("."))
    made = make_job(
        "embed",
        EmbedSettings(pictures=pictures, encoder=encoder, thumbnail_px=32, **settings),
        {"pictures": pictures, "encoder": encoder},
        out,
    )
    object.__setattr__(made, "files", {"pictures": files})
    digests = tuple(digest_file(path) for path in files)
    object.__setattr__(made, "file_digests", {"pictures": digests})
    return made


def embedded(pictures: Path, encoder: Path, out: Path, **settings: int) -> Path:
    embed.run(job_of(pictures, encoder, out, **settings))
    return out


def names(folder: Path) -> list[str]:
    return pq.read_table(folder / "images.parquet")["name"].to_pylist()


def skipped(folder: Path) -> list[tuple[str, str, str]]:
    lines = (folder / "skipped.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)[key] for key in ("file", "name", "why")) for line in lines]


@pytest.fixture(scope="session")
def of_photos(photos, encoder_dir, tmp_path_factory) -> Path:
    return embedded(photos, encoder_dir, tmp_path_factory.mktemp("embedded") / "out")


def test_a_folder_gives_every_picture_that_can_be_read_and_names_the_others(of_photos):
    assert names(of_photos) == [
        *(f"{n:02d}.jpg" for n in range(10)),
        "18-copy.jpg",
        *(f"trip/{n:02d}.png" for n in range(10, 14)),
        "trip/14.WEBP",
    ]
    (cut, name, why), *others = skipped(of_photos)
    assert (cut, name) == ("15-cut.jpg", "15-cut.jpg")
    assert why.startswith("image file is truncated")
    no_picture = f"it is no {KNOWN}"
    assert others == [(n, n, no_picture) for n in ("16-empty.jpg", "17-page.jpg")]


def test_captions_come_from_beside_a_picture_or_from_the_folders_table(of_photos):
    table = pq.read_table(of_photos / "images.parquet").to_pydict()
    assert table["caption"][:5] == ["a beach at noon", "two dogs", "", "a red car", "x"]
    assert table["tags"][1] == ["dog"]
    assert table["sensitive"][:6] == [False, False, False, False, True, False]
    assert table["image"] == list(range(16))


def test_an_equal_file_is_marked_as_a_repetition(of_photos):
    table = pq.read_table(of_photos / "images.parquet").to_pydict()
    repeats = {
        n: o for n, o in zip(table["image"], table["duplicate_of"], strict=True) if o is not None
    }
    assert repeats == {10: 5}


def test_embeddings_are_those_of_open_clips_own_preprocessing(of_photos, photos, encoder_dir):
    encoder = load_encoder(encoder_dir)
    vectors = np.load(next((of_photos / "parts").glob("vectors-*.npy")))
    assert vectors.dtype == np.float16
    small = [n for n in names(of_photos) if n.startswith("trip")]
    opened = [Image.open(photos / name).convert("RGB") for name in small]
    wanted = embed_images(encoder, opened)
    found = vectors[[names(of_photos).index(name) for name in small]]
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(70, 50), (33, 90), (20, 20), (32, 32), (300, 31), (501, 333)])
def test_a_picture_is_fitted_as_open_clip_fits_it(encoder_dir, tmp_path, mode, size):
    folder = tmp_path / "encoder"
    folder.mkdir()
    for path in encoder_dir.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    facts = read_json(folder / "open_clip_config.json")
    facts["preprocess_cfg"]["resize_mode"] = mode
    (folder / "open_clip_config.json").write_text(json.dumps(facts))
    encoder = load_encoder(folder)
    wanted = encoder.preprocess(picture(3, size)).numpy()
    levels = fit_of(encoder)(picture(3, size)).transpose(2, 0, 1)
    assert np.array_equal(
        (levels.astype(np.float32) / 255 - np.float32(0.5)) / np.float32(0.5), wanted
    )


def test_thumbnails_are_made_in_the_same_pass_and_numbered_as_images(of_photos):
    (part,) = (of_photos / "parts").glob("thumbnails-*.parquet")
    table = pq.read_table(part)
    assert table["image"].to_pylist() == list(range(16))
    sizes = {Image.open(io.BytesIO(webp)).size for webp in table["webp"].to_pylist()}
    assert sizes == {(32, 32)}


def test_the_cut_into_shards_changes_no_image_and_no_vector(
    photos, encoder_dir, of_photos, tmp_path
):
    out = embedded(photos, encoder_dir, tmp_path / "out", images_per_shard=7)
    assert names(out) == names(of_photos)
    index = read_json(out / "embeddings.json")
    assert [shard["rows"] for shard in index["shards"]] == [7, 4, 5]
    parts = [np.load(out / shard["path"]) for shard in index["shards"]]
    whole = np.load(next((of_photos / "parts").glob("vectors-*.npy")))
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=2e-3, atol=2e-3)


def test_a_killed_run_looks_only_at_the_shards_that_are_missing(
    photos, encoder_dir, tmp_path, monkeypatch
):
    real, looked = ingest._decode, []

    def counted(look, found):
        looked.append(found.name)
        if len(looked) == 10:
            raise KeyboardInterrupt
        return real(look, found)

    monkeypatch.setattr(ingest, "_decode", counted)
    with pytest.raises(KeyboardInterrupt):
        embedded(photos, encoder_dir, tmp_path / "out", images_per_shard=7)
    again: list[str] = []
    monkeypatch.setattr(ingest, "_decode", lambda look, f: (again.append(f.name), real(look, f))[1])
    out = embedded(photos, encoder_dir, tmp_path / "out", images_per_shard=7)
    assert again[0] == "07.jpg"
    monkeypatch.undo()
    whole = embedded(photos, encoder_dir, tmp_path / "whole", images_per_shard=7)
    assert {p.name: digest_file(p) for p in list_files(out) if p.name != "used"} == {
        p.name: digest_file(p) for p in list_files(whole) if p.name != "used"
    }


@pytest.mark.slow
def test_worker_processes_change_no_byte(tmp_path, encoder_dir):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(260):
        (root / f"{number:03d}.jpg").write_bytes(encoded(number, size=(40, 40)))
    made = {}
    for workers in (1, 2):
        job = job_of(root, encoder_dir, tmp_path / f"out{workers}")
        runtime = job.runtime.model_copy(update={"workers": workers})
        object.__setattr__(job, "runtime", runtime)
        embed.run(job)
        made[workers] = {
            p.name: digest_file(p) for p in list_files(job.out_dir) if p.name != "used"
        }
    assert made[1] == made[2]


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def img2dataset(root: Path) -> Path:
    for shard, numbers in ((0, range(4)), (2, range(4, 7))):
        members: dict[str, bytes] = {}
        for number in numbers:
            key = f"{shard:05d}{number:04d}"
            members[f"{key}.jpg"] = encoded(number)
            members[f"{key}.txt"] = f"caption {number}".encode()
            members[f"{key}.json"] = json.dumps({"url": f"http://a/{number}", "key": key}).encode()
        tar_of(root / f"{shard:05d}.tar", members)
        table = pa.table({"key": [f"{n}" for n in numbers], "status": ["success"] * len(numbers)})
        pq.write_table(table, root / f"{shard:05d}.parquet")
        (root / f"{shard:05d}_stats.json").write_text(json.dumps({"successes": len(numbers)}))
    return root


def test_img2datasets_archives_are_read_where_they_lie(tmp_path, encoder_dir):
    root = tmp_path / "tars"
    root.mkdir()
    before = {path.name for path in img2dataset(root).iterdir()}
    out = embedded(root, encoder_dir, tmp_path / "out")
    table = pq.read_table(out / "images.parquet").to_pydict()
    assert table["caption"] == [f"caption {n}" for n in range(7)]
    assert table["url"][6] == "http://a/6"
    assert table["name"][4] == "000020004"
    assert table["shard"] == [0] * 4 + [1] * 3
    assert skipped(out) == []
    assert {path.name for path in root.iterdir()} == before


@pytest.mark.parametrize(
    ("harm", "left", "why"),
    [
        (lambda data: data[: 512 * 3], 0, "the archive is damaged from here on"),
        (lambda data: data[: cut_after(data, 1)], 1, "the archive is cut off"),
        (
            lambda data: data[: cut_after(data, 1)] + b"\x07" * 512 + data[cut_after(data, 1) :],
            1,
            "the archive is damaged at byte",
        ),
    ],
    ids=["in a member", "between members", "garbled header"],
)
def test_a_broken_archive_gives_what_is_whole_and_says_so(tmp_path, encoder_dir, harm, left, why):
    root = tmp_path / "tars"
    root.mkdir()
    tar_of(root / "00001.tar", {"z.jpg": encoded(9)})
    path = tar_of(root / "00000.tar", {f"{n}.jpg": encoded(n) for n in range(3)})
    path.write_bytes(harm(path.read_bytes()))
    out = embedded(root, encoder_dir, tmp_path / "out")
    assert names(out) == [*(str(n) for n in range(left)), "z"]
    ((file, _, said),) = skipped(out)
    assert file == "00000.tar"
    assert said.startswith(why)


def cut_after(data: bytes, members: int) -> int:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getmembers()[members].offset


def test_an_archive_that_holds_fewer_than_its_note_says_is_told(tmp_path, encoder_dir):
    tar_of(tmp_path / "0.tar", {"a.jpg": encoded(0), "b.exe": b"no", "../c.jpg": encoded(1)})
    (tmp_path / "0_stats.json").write_text('{"successes": 5}')
    out = embedded(tmp_path, encoder_dir, tmp_path.parent / "few")
    assert names(out) == ["a", "../c"]
    assert skipped(out) == [
        ("0.tar", "b.exe", "neither a picture nor a caption"),
        ("0.tar", "", "the archive holds 2 pictures, 0_stats.json says 5"),
    ]


def test_pictures_are_counted_without_being_read(tmp_path, photos, capsys):
    assert count_pictures(list_files(photos)) == 20  # .hidden.jpg and the broken ones too
    assert count_pictures([photos / "00.txt"]) == 0
    root = tmp_path / "tars"
    root.mkdir()
    img2dataset(root)
    assert count_pictures(list_files(root)) == 7
    (root / "00002_stats.json").write_text('{"successes": 1000}')
    assert count_pictures(list_files(root)) == 1004
    for path in root.glob("*_stats.json"):
        path.unlink()
    guessed = count_pictures(list_files(root))
    assert 6 <= guessed <= 9  # as many for their size as the first holds
    config = tmp_path / "one.toml"
    config.write_text(f'[embed]\npictures = "{root}"\nencoder = "nowhere"\n[expected]\nimages = 7')
    assert run(["plan", str(config)]) == 1
    assert f"\n{guessed} images of width 0, " in capsys.readouterr().out


def test_pictures_in_tables_are_counted_by_their_rows(tmp_path):
    table = pa.table({"image": pa.array([b"a", b"b", b"c"])})
    pq.write_table(table, tmp_path / "0.parquet")
    assert count_pictures([tmp_path / "0.parquet"]) == 3
    with (
        pa.OSFile(str(tmp_path / "1.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as stream,
    ):
        stream.write_table(table, max_chunksize=2)
    assert count_pictures([tmp_path / "1.arrow"]) == 3
    with pa.ipc.new_file(tmp_path / "3.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=2)
    assert count_pictures([tmp_path / "3.arrow"]) == 3
    (tmp_path / "2.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"2\.parquet is damaged or not a table"):
        count_pictures([tmp_path / "0.parquet", tmp_path / "2.parquet"])


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather"])
def test_a_hugging_face_dataset_is_read(tmp_path, encoder_dir, kind):
    cells = [{"bytes": encoded(n), "path": f"{n}.jpg"} for n in range(3)]
    cells.append({"bytes": None, "path": "http://elsewhere/3.jpg"})
    table = pa.table(
        {"image": cells, "Text": [f"words {n}" for n in range(4)], "label": [0, 1, 0, 1]}
    )
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / f"train-00000-of-00001.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_stream if kind == "arrow" else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table)
        (tmp_path / "dataset_info.json").write_text("{}")
    out = embedded(tmp_path, encoder_dir, tmp_path.parent / f"hf-{kind}")
    found = pq.read_table(out / "images.parquet").to_pydict()
    assert found["caption"] == ["words 0", "words 1", "words 2"]
    ((_, name, why),) = skipped(out)
    assert name.endswith("000003")
    assert why == "the table holds no bytes of it"


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match="it claims 10000 x 10000 pixels, at most 80,000,000"):
        decode_picture(png)


def test_a_picture_is_turned_as_its_note_says():
    data = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, (70, 50)).save(data, "JPEG", exif=exif)
    assert decode_picture(data.getvalue()).picture.size == (50, 70)
    assert decode_picture(data.getvalue(), least_px=20).picture.size == (25, 35)


def test_a_set_without_a_usable_picture_is_refused(tmp_path, encoder_dir):
    (tmp_path / "a.jpg").write_bytes(b"no")
    with pytest.raises(InputError, match=r"none of the pictures in .* a.jpg a.jpg: it is no PNG"):
        embedded(tmp_path, encoder_dir, tmp_path.parent / "none")
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(InputError, match="holds no picture"):
        embedded(tmp_path, encoder_dir, tmp_path.parent / "none")


def test_an_encoder_is_kept_from_its_name_and_from_a_checkpoint(tmp_path, encoder_dir, monkeypatch):
    import open_clip

    config = read_json(encoder_dir / "open_clip_config.json")
    (tmp_path / "tiny-atlas.json").write_text(json.dumps(config["model_cfg"]))
    open_clip.add_model_config(tmp_path / "tiny-atlas.json")
    weights = encoder_dir / "open_clip_model.safetensors"
    note = fetch_encoder("tiny-atlas", str(weights), tmp_path / "kept")
    assert note["id"] == "tiny-atlas/open_clip_model.safetensors"
    assert note["width"] == WIDTH
    kept = load_encoder(tmp_path / "kept")
    assert embed_images(kept, [picture(0, (32, 32))]).shape == (1, WIDTH)
    with pytest.raises(InputError, match="holds an encoder already"):
        fetch_encoder("tiny-atlas", str(weights), tmp_path / "kept")
    with pytest.raises(InputError, match="cannot open the encoder no-such-model"):
        fetch_encoder("no-such-model", "", tmp_path / "other")
    with pytest.raises(
        InputError, match="ViT-B-32 needs weights: name --pretrained with one of openai"
    ):
        fetch_encoder("ViT-B-32", "", tmp_path / "other")
    with pytest.raises(InputError, match="there are no weights for it"):
        fetch_encoder("tiny-atlas", "", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_encoder_is_kept_with_the_tokenizer_of_its_text_tower(tmp_path):
    """As SigLIP has one: another folder's, that open_clip looks for beside the encoder."""
    import open_clip

    theirs = save_tiny_tokenizer(tmp_path / "theirs")
    tiny = save_tiny_encoder(tmp_path / "tiny", WIDTH, tokenizer=theirs)
    config = read_json(tiny / "open_clip_config.json")["model_cfg"]
    (tmp_path / "tiny-hub.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-hub.json")
    weights = str(tiny / "open_clip_model.safetensors")
    assert "no_tokenizer" not in fetch_encoder("tiny-hub", weights, tmp_path / "kept")
    shutil.rmtree(theirs)
    tower = TextTower(tmp_path / "kept")
    assert tower.encode(["a red apple", "cat"]).shape == (2, WIDTH)
    note = fetch_encoder("tiny-hub", weights, tmp_path / "blind")
    assert note["no_tokenizer"].startswith(f"{theirs}: ")
    assert embed_images(load_encoder(tmp_path / "blind"), [picture(0, (32, 32))]).shape == (
        1,
        WIDTH,
    )
    with pytest.raises(InputError, match=r"the tokenizer of the encoder in .* can't be had: "):
        TextTower(tmp_path / "blind")


def test_an_encoder_without_weights_is_an_error_and_one_with_them_says_nothing(
    tmp_path, encoder_dir, caplog
):
    load_encoder(encoder_dir)
    assert caplog.records == []
    bare = tmp_path / "bare"
    shutil.copytree(encoder_dir, bare)
    (bare / "open_clip_model.safetensors").unlink()
    with pytest.raises(InputError, match="there are no weights for it"):
        load_encoder(bare)


def random_sae(folder: Path, bias: float = 0.0) -> Path:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(24, WIDTH)).astype(np.float32)
    zeros = np.zeros(WIDTH, np.float32)
    b_enc = np.full(24, bias, np.float32)
    write_own(folder, SAE(W_enc=weights, b_enc=b_enc, W_dec=weights, b_dec=zeros, b_pre=zeros))
    return folder


def test_a_folder_of_photos_becomes_a_published_atlas_in_one_command(
    photos, encoder_dir, tmp_path, capsys
):
    command = ["build", "--pictures", str(photos), "--out", str(tmp_path / "atlas")]
    command += ["--encoder", str(encoder_dir), "--sae", str(random_sae(tmp_path / "sae"))]
    assert run(command) == 0
    said = capsys.readouterr()
    assert f"embed: skipped 17-page.jpg: it is no {KNOWN}" in said.err
    assert "index.html" in said.out
    pages = list((tmp_path / "atlas" / "site").rglob("*.html"))
    assert any("a beach at noon" in page.read_text() for page in pages)
    why = "the SAE does not fit these images: it explains -"
    assert said.err.count(f"WARNING: {why}") == 2, "when the scan finds it, and at the end"
    assert all(why in page.read_text() for page in pages)
    assert run(["doctor", str(tmp_path / "atlas" / "atlas.toml")]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"FAIL  SAE on this atlas's images: {why}")
    assert "Is tiny-random the encoder that it was trained on" in first
    assert run(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(["build", "--pictures", str(tmp_path), "--out", str(tmp_path / "atlas")]) == 1
    assert run(["build"]) == 2


def test_an_sae_on_which_nothing_fires_gives_an_atlas_without_concepts_and_the_reason(
    photos, encoder_dir, tmp_path, capsys
):
    command = ["build", "--pictures", str(photos), "--out", str(tmp_path / "atlas")]
    command += ["--encoder", str(encoder_dir), "--sae", str(random_sae(tmp_path / "sae", -1e4))]
    assert run(command) == 0
    why = "no feature fires on any image, so there are no concepts. Is tiny-random the encoder"
    assert why in capsys.readouterr().err
    assert why in (tmp_path / "atlas" / "site" / "index.html").read_text()


def test_the_rows_of_a_page_show_distinct_pictures(photos, encoder_dir, tmp_path):
    """Without the mark, the copy would stand beside its original."""
    import duckdb

    from atlas.site.chapter import distinct_tops

    with duckdb.connect() as db:
        db.execute(
            "CREATE TABLE images AS SELECT * FROM (VALUES (0, NULL), (1, 0), (2, NULL)) t(image, duplicate_of)"
        )
        db.execute(
            "CREATE TABLE top_images AS SELECT * FROM (VALUES (7, 0, 1, 3.0), (7, 1, 0, 2.0), (7, 2, 2, 1.0)) t(feature, rank, image, activation)"
        )
        found = db.execute(f"SELECT image FROM {distinct_tops('feature = 7')} ORDER BY rank")
        assert found.fetchall() == [(1,), (2,)]


def test_a_folder_of_every_ending_drops_nothing_in_silence(encoder_dir, tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for ending, kind in {"gif": "GIF", "tiff": "TIFF", "bmp": "BMP", "avif": "AVIF"}.items():
        (root / f"a.{ending}").write_bytes(encoded(1, kind))
    for ending in ("heic", "svg", "nef", "psd", "mp4"):
        (root / f"b.{ending}").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    animation = [Image.new("RGB", (9, 9), (n, 0, 0)) for n in (10, 200)]
    animation[0].save(root / "c.gif", save_all=True, append_images=animation[1:])
    out = embedded(root, encoder_dir, tmp_path / "out")
    reasons = {file: why for file, _, why in skipped(out)}
    assert reasons == {
        "b.heic": "it is HEIC; pip install 'feature-atlas[heic]' to read it",
        "b.svg": "a drawing, not pixels; save it as PNG or JPEG",
        "b.nef": "a camera's raw file; save it as PNG or JPEG",
        "b.psd": "a kind of picture that is not read; save it as PNG or JPEG",
        "b.mp4": "a film; save it as PNG or JPEG",
    }
    assert read_json(out / "embeddings.json")["rows"] == 5
    assert read_json(out / "embeddings.json")["ground"] == "#ffffff"
