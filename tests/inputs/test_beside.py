"""Pictures beside embeddings made elsewhere: matched by url or key, as many as there are."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from planted import run_embed

from atlas.base.errors import InputError
from atlas.inputs.beside import key_of

ROWS = 12


def red(i):
    """A JPEG that tells its number by its red."""
    data = io.BytesIO()
    Image.fromarray(np.full((40, 50, 3), (20 * i, 0, 0), np.uint8)).save(data, "JPEG", quality=95)
    return data.getvalue()


def write_rows(root, *, urls=True):
    root.mkdir()
    np.save(root / "v.npy", np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float16))
    facts = {
        "key": [f"{i:09d}" for i in range(ROWS)],
        "caption": [f"number {i}" for i in range(ROWS)],
    }
    if urls:
        facts["url"] = [f"https://x.example/{i}.jpg" for i in range(ROWS)]
    pq.write_table(pa.table(facts), root / "rows.parquet")


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def reds(out):
    """Image -> the number that its thumbnail tells."""
    found = {}
    for part in sorted((out / "parts").glob("thumbnails-*.parquet")):
        for row in pq.read_table(part).to_pylist():
            with Image.open(io.BytesIO(row["webp"])) as picture:
                found[row["image"]] = round(np.asarray(picture.convert("RGB"))[..., 0].mean() / 20)
    return found


def test_archives_in_any_order_are_matched_by_url(tmp_path):
    root = tmp_path / "in"
    write_rows(root)
    (root / "tars").mkdir()
    for number, images in enumerate(((7, 3), (1, 99))):
        write_tar(
            root / "tars" / f"{number:05d}.tar",
            [
                (f"{number}{i:04d}{suffix}", data)
                for i in images
                for suffix, data in (
                    (".jpg", red(min(i, ROWS))),
                    (".json", json.dumps({"url": f"https://x.example/{i}.jpg"}).encode()),
                )
            ],
        )
    out = run_embed(root, tmp_path / "out", vectors="v.npy", images="rows.parquet", pictures="tars")
    assert reds(out) == {1: 1, 3: 3, 7: 7}


def test_loose_pictures_are_matched_by_key_whatever_the_zeros(tmp_path):
    root = tmp_path / "in"
    write_rows(root, urls=False)
    (root / "jpg/deep").mkdir(parents=True)
    (root / "jpg/5.jpg").write_bytes(red(5))
    (root / "jpg/deep/00002.jpg").write_bytes(red(2))
    (root / "jpg/deep/000000004.jpg").write_bytes(b"no picture")
    out = run_embed(root, tmp_path / "out", vectors="v.npy", images="rows.parquet", pictures="jpg")
    assert reds(out) == {2: 2, 5: 5}


def test_a_table_of_pictures_need_not_have_a_row_for_every_image(tmp_path):
    root = tmp_path / "in"
    write_rows(root)
    table = {"url": [f"https://x.example/{i}.jpg" for i in (9, 0)], "image": [red(9), red(0)]}
    pq.write_table(pa.table(table), root / "pictures.parquet")
    out = run_embed(
        root, tmp_path / "out", vectors="v.npy", images="rows.parquet", pictures="pictures.parquet"
    )
    assert reds(out) == {0: 0, 9: 9}


def test_pictures_of_no_image_at_all_are_an_error_that_names_some(tmp_path):
    root = tmp_path / "in"
    write_rows(root)
    (root / "jpg").mkdir()
    (root / "jpg/cat.jpg").write_bytes(red(1))
    with pytest.raises(InputError, match=r"url or the key of an image, for instance cat\.jpg"):
        run_embed(root, tmp_path / "out", vectors="v.npy", images="rows.parquet", pictures="jpg")


@pytest.mark.parametrize(
    ("name", "key"),
    [("000012", "12"), ("a/b/0012.jpg", "12"), ("x/cat.v2.png", "cat.v2"), ("0000", "0")],
)
def test_a_key_is_a_name_without_folder_ending_and_leading_zeros(name, key):
    assert key_of(name) == key
