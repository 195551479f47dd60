"""What marks an image as unsafe withholds it: any column, any type, any file; the strictest counts."""

import io
import json
import tarfile
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from planted import run_embed

from atlas.inputs.beside import _tasks, read_keys
from atlas.inputs.captions import Captions
from atlas.inputs.found import Found
from atlas.inputs.image_table import image_columns, read_tables
from atlas.inputs.unsafe import why_withheld
from atlas.settings.outside import files_of


@pytest.mark.parametrize(
    ("column", "unsafe", "safe"),
    [
        ("punsafe", "0.97", "0.1"),
        ("punsafe", 0.97, 0.1),
        ("punsafe", "0,97", "0,1"),
        ("PUNSAFE", Decimal("0.97"), Decimal("0.10")),
        ("punsafe", 0.97, float("nan")),
        ("punsafe", "0.97", "nan"),
        ("sensitive", "1", "0"),
        ("sensitive", 1, 0),
        ("Sensitive", "yes", "No"),
        ("sensitive", True, False),
        ("sensitive", "TRUE", ""),
        ("NSFW", "NSFW", "UNLIKELY"),
        ("NSFW", "UNSURE", "UNLIKELY"),
        ("NSFW", "LIKELY", "VERY_UNLIKELY"),
        ("nsfw", "porn", "neutral"),
        ("nsfw", b"hentai", b"drawings"),
        ("nsfw", "very likely", "very unlikely"),
        ("is_nsfw", "t", "f"),
        ("nsfw_score_opennsfw2", 0.8, 0.2),
        ("unsafe", "Yes", "no"),
        ("is_safe", False, True),
        ("SFW", "no", "yes"),
        ("safe", 0.1, 0.9),
        ("adult", "adult", None),
    ],
)
def test_a_mark_of_any_type_withholds_its_image(tmp_path, column, unsafe, safe):
    table = pa.table({"caption": ["x", "y"], column: [unsafe, safe]})
    found = image_columns(table, tmp_path, 0)
    assert found["sensitive"].to_pylist() == [True, False]
    assert found["withheld"].to_pylist()[1] == ""
    assert found["withheld"].to_pylist()[0].startswith(f"{column} ")


@pytest.mark.parametrize(
    "facts",
    [
        {"sensitive": False, "NSFW": "NSFW"},
        {"punsafe": 0.99, "NSFW": "UNLIKELY"},
        {"NSFW": "NSFW", "nsfw": "UNLIKELY"},
        {"is_safe": True, "unsafe": "1"},
    ],
)
def test_of_contradicting_columns_the_strictest_counts(facts):
    assert why_withheld(facts)
    assert why_withheld(dict(reversed(facts.items())))


@pytest.mark.parametrize("value", ["MAYBE", "97%", -1, ["nsfw"], {"a": 1}, "\u043d\u0435\u0442"])
def test_what_is_not_known_withholds_and_says_so(value):
    assert why_withheld({"nsfw": value}).endswith(", which is not known")
    assert not why_withheld({"rating": value})


ROWS = [
    {"caption": "a", "punsafe": "0.97", "NSFW": "UNLIKELY"},
    {"caption": "b", "punsafe": "0.01", "NSFW": "porn"},
    {"caption": "c", "punsafe": "0.01", "NSFW": "MAYBE"},
    {"caption": "d", "punsafe": "", "NSFW": "UNLIKELY"},
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_marks_are_read_in_every_kind_of_table(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    between = "\t" if suffix == ".tsv" else ","
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        lines = [between.join(ROWS[0]), *(between.join(row.values()) for row in ROWS)]
        path.write_text("\n".join(lines) + "\n")
    (table,) = read_tables(path)
    assert table["sensitive"].to_pylist() == [True, True, True, False]


def test_marks_of_several_types_in_one_batch_are_each_read(tmp_path):
    values = [0.97, "0.97", True, "yes", 1, "UNLIKELY", 0.1, False, None]
    lines = [json.dumps({"caption": "x", "nsfw": value}) for value in values]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (table,) = read_tables(tmp_path / "rows.jsonl")
    assert table["sensitive"].to_pylist() == [True] * 5 + [False] * 4


def picture():
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, "PNG")
    return data.getvalue()


def test_a_mark_in_any_file_about_a_picture_withholds_it(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(picture())
    (tmp_path / "metadata.csv").write_text("file_name,caption,nsfw\na.png,x,1\nb.png,y,1\n")
    (tmp_path / "captions.json").write_text(json.dumps({"a.png": "another caption", "c.png": "z"}))
    (tmp_path / "b.json").write_text(json.dumps({"caption": "y", "nsfw": 0}))
    files = files_of(tmp_path)
    captions = Captions(tmp_path, files)
    facts = [captions.of(tmp_path / f"{name}.png") for name in ("a", "b", "c")]
    assert [bool(why_withheld(one)) for one in facts] == [True, True, False]


def test_a_picture_beside_vectors_that_its_archive_marks_gives_no_thumbnail(tmp_path):
    table = pa.table({"image": [0, 1], "name": ["0", "1"], "url": pa.nulls(2, pa.string())})
    pq.write_table(table, tmp_path / "images.parquet")
    keys = read_keys(tmp_path / "images.parquet")
    found = [Found(str(n), {"NSFW": mark}, b"", tmp_path) for n, mark in enumerate(["UNSURE", ""])]
    ((task,),) = _tasks(iter(found), keys, [])
    assert task[0] == [1]


def test_the_table_of_images_says_why_each_is_withheld(tmp_path):
    np.save(tmp_path / "v.npy", np.ones((4, 3), np.float32))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    out = run_embed(tmp_path, tmp_path / "out", vectors="v.npy", images="rows.parquet")
    why = pq.read_table(out / "images.parquet")["withheld"].to_pylist()
    assert why == ["punsafe 0.97", "NSFW porn", "NSFW MAYBE, which is not known", ""]


def test_an_archive_marks_its_pictures(tmp_path):
    with tarfile.open(tmp_path / "00000.tar", "w") as archive:
        for name, data in (
            ("0.png", picture()),
            ("0.json", b'{"caption": "x", "punsafe": "0.97"}'),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    from atlas.inputs.archives import read_tar

    (found,) = read_tar("00000.tar", tmp_path / "00000.tar")
    assert why_withheld(found.facts) == "punsafe 0.97"
