"""Sets as people keep them: names, encodings, orders and marks that differ from what they are paired with."""

import io
import json
import tarfile
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from planted import run_embed

from atlas.base.errors import InputError
from atlas.inputs.archives import read_tar
from atlas.inputs.captions import Captions, match_rows
from atlas.inputs.found import Found
from atlas.inputs.image_table import image_columns, read_tables
from atlas.settings.outside import files_of


def picture():
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    return data.getvalue()


def folder_of(root, names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture())
    return root


def captions_of(root):
    files = files_of(root)
    captions = Captions(root, files)
    found = {
        path.name: captions.of(path).get("caption")
        for path in files
        if path.suffix.lower() in (".jpg", ".png")
    }
    return found, captions.unmatched


def test_rows_find_their_pictures_whatever_the_system_that_wrote_them(tmp_path):
    names = [unicodedata.normalize("NFD", "café.jpg"), "trip/b.jpg", "C.JPG", "d.jpg", "e.jpg"]
    told = ["café.jpg", "trip\\b.jpg", "c.jpg", "train/d.jpg", "e", "nobody.jpg"]
    folder_of(tmp_path, names)
    rows = [{"file_name": one, "caption": f"of {n}"} for n, one in enumerate(told)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, unmatched = captions_of(tmp_path)
    assert list(found.values()) == ["of 2", "of 0", "of 3", "of 4", "of 1"]
    assert unmatched == ["nobody.jpg"]


def test_a_row_that_could_be_of_two_pictures_is_of_none():
    found, left = match_rows({"x.jpg": {"caption": "which?"}}, ["a/x.jpg", "b/x.jpg"])
    assert (found, left) == ({}, ["x.jpg"])
    # the whole name decides where it can
    found, left = match_rows({"a/x.jpg": {"caption": "this"}}, ["a/x.jpg", "b/x.jpg"])
    assert (found, left) == ({"a/x.jpg": {"caption": "this"}}, [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_captions_are_read_in_the_encoding_of_their_editor(tmp_path, encoding):
    folder_of(tmp_path, ["0.png", "1.png", "2.png", "deep/3.png", "deep/4.png"])
    (tmp_path / "0.txt").write_bytes("a red café".encode(encoding))
    if encoding != "cp1252":
        (tmp_path / "1.json").write_bytes('{"caption": "a red café"}'.encode(encoding))
    (tmp_path / "metadata.csv").write_bytes(
        "file_name;caption\n2.png;a red café\n".encode(encoding)
    )
    line = '{"file_name": "3.png", "caption": "a red café"}\n'
    (tmp_path / "deep/metadata.jsonl").write_bytes(line.encode(encoding))
    found, _ = captions_of(tmp_path)
    expected = {"0.png", "2.png", "3.png"} | ({"1.png"} if encoding != "cp1252" else set())
    assert {name for name, caption in found.items() if caption == "a red café"} == expected


def tar_of(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_captions_may_lie_anywhere_in_an_archive(tmp_path):
    members = [
        ("1.txt", b"before"),
        *((f"{n}.png", picture()) for n in (0, 1, 2)),
        ("0.jpg", picture()),
        ("._2.png", b"mac"),
        ("2.txt", b"after"),
        ("0.json", b'{"caption": "long after"}'),
        ("9.txt", b"nobody's"),
    ]
    every = list(read_tar("x.tar", tar_of(tmp_path / "x.tar", members)))
    found = {one.name: one.facts.get("caption") for one in every if isinstance(one, Found)}
    assert found == {"1": "before", "0": "long after", "0.jpg": "long after", "2": "after"}
    assert all(one.read() == picture() for one in every if isinstance(one, Found))
    why = {one.name: one.why for one in every if not isinstance(one, Found)}
    assert why == {
        "._2.png": "a note that macOS keeps beside a file",
        "9.txt": "a caption without a picture",
    }


def test_shards_without_zeros_keep_the_order_of_their_numbers(tmp_path):
    (tmp_path / "emb").mkdir()
    for shard in range(12):
        x = np.full((4, 3), 1.0, np.float16)
        x[:, 0] = shard * 4 + np.arange(4)
        np.save(tmp_path / f"emb/img_emb_{shard}.npy", x)
    pq.write_table(
        pa.table({"caption": [f"row {n}" for n in range(48)]}), tmp_path / "rows.parquet"
    )
    out = run_embed(tmp_path, tmp_path / "out", vectors="emb/*.npy", images="rows.parquet")
    index = json.loads((out / "embeddings.json").read_text())
    found = np.concatenate([np.load(out / shard["path"]) for shard in index["shards"]])
    captions = pq.read_table(out / "images.parquet")["caption"].to_pylist()
    assert captions == [f"row {int(n)}" for n in found[:, 0]]


def test_nothing_is_no_caption_and_a_list_is_its_first(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"caption": "cat"}\n{"caption": NaN}\n{"caption": ["a dog", "an animal"]}\n{"caption": "half \\ud83d"}\n'
    )
    tables = list(read_tables(tmp_path / "rows.jsonl"))
    assert pa.concat_tables(tables)["caption"].to_pylist() == ["cat", "", "a dog", "half \ufffd"]
    broken = pa.chunked_array([pa.array([b"caf\xe9", b"ok"]).view(pa.string())])
    table = image_columns(pa.table({"caption": broken}), tmp_path, 0)
    assert table["caption"].to_pylist() == ["caf\ufffd", "ok"]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["[1, 2]", "[3, 4]"], "embeddings are stored as string, expected lists of numbers; row 0"),
        ([b"abcd", b"efgh"], "embeddings are stored as binary, expected lists of numbers; row 0"),
        ([[1.0, 2.0], None], "row 1 has no embedding"),
        ([[1.0, 2.0], [3.0]], "row 1 has an embedding of 1 numbers, row 0 one of 2"),
        ([[["a"]], [["b"]]], "embeddings are lists of string, expected numbers"),
        (pa.array([], pa.list_(pa.float32())), "has no rows"),
    ],
)
def test_embeddings_in_a_table_are_numbers_or_one_line(tmp_path, cells, said):
    pq.write_table(
        pa.table({"embedding": cells, "caption": ["x"] * len(cells)}), tmp_path / "a.parquet"
    )
    with pytest.raises(InputError, match=said):
        run_embed(tmp_path, tmp_path / "out", vectors="*.parquet")


def test_nested_embeddings_are_unwrapped(tmp_path):
    cells = [[[1.0, 2.0]], [[3.0, 4.0]]]
    pq.write_table(pa.table({"embedding": cells, "caption": ["x", "y"]}), tmp_path / "a.parquet")
    out = run_embed(tmp_path, tmp_path / "out", vectors="*.parquet")
    (shard,) = json.loads((out / "embeddings.json").read_text())["shards"]
    assert np.load(out / shard["path"]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
