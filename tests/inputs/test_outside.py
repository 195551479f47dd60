"""Embeddings and tables that other tools left: paired by number, matched without case, in constant memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import run_embed

from atlas.base.errors import ConfigError, InputError
from atlas.inputs.embeddings import check_vectors, read_blocks
from atlas.inputs.image_table import read_tables, write_image_table
from atlas.inputs.outside_vectors import pair_by_number

RNG = np.random.default_rng(0)


def clip_retrieval(root: Path, shards: dict[int, int], *, suffix: str = "parquet") -> Path:
    """Write img_emb and metadata as clip-retrieval leaves them: number of a shard -> its rows."""
    (root / "img_emb").mkdir(parents=True)
    (root / "metadata").mkdir()
    for number, rows in shards.items():
        vectors = RNG.normal(size=(rows, 6)).astype(np.float16)
        np.save(root / "img_emb" / f"img_emb_{number:02d}.npy", vectors)
        facts = {
            "image_path": [f"{number:02d}/{row}" for row in range(rows)],
            "caption": [f"caption {number} {row}" for row in range(rows)],
            "NSFW": ["UNLIKELY"] * rows,
            "similarity": [0.3] * rows,
        }
        path = root / "metadata" / f"metadata_{number:02d}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table(facts), path)
        else:
            rows_ = [
                dict(zip(facts, row, strict=True)) for row in zip(*facts.values(), strict=True)
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows_))
    return root


def captions(out: Path) -> list[str]:
    return pq.read_table(out / "images.parquet")["caption"].to_pylist()


def skipped(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_shards_are_paired_by_number_over_gaps_never_by_position(tmp_path, suffix):
    root = clip_retrieval(tmp_path / "in", {0: 3, 2: 2, 3: 4, 10: 1}, suffix=suffix)
    (root / "metadata" / f"metadata_02.{suffix}").unlink()
    (root / "img_emb" / "img_emb_10.npy").unlink()
    out = run_embed(root, tmp_path / "out", vectors="img_emb/*.npy", images="metadata")
    assert captions(out) == [
        *(f"caption 0 {r}" for r in range(3)),
        *(f"caption 3 {r}" for r in range(4)),
    ]
    assert skipped(out) == [
        {"file": "img_emb_02.npy", "name": "", "why": "there is no table of shard 2"},
        {
            "file": f"metadata_10.{suffix}",
            "name": "",
            "why": "there is no file of vectors of shard 10",
        },
    ]
    table = pq.read_table(out / "images.parquet").to_pydict()
    assert table["image"] == list(range(7))
    assert table["shard"] == [0] * 3 + [1] * 4
    assert table["row"] == [0, 1, 2, 0, 1, 2, 3]
    assert table["name"][3] == "03/0"


def test_a_pair_of_different_lengths_is_refused(tmp_path):
    root = clip_retrieval(tmp_path / "in", {0: 3, 1: 2})
    pq.write_table(pa.table({"caption": ["one"]}), root / "metadata" / "metadata_01.parquet")
    with pytest.raises(InputError, match=r"has 1 rows, the vectors have 2 in img_emb_01"):
        run_embed(root, tmp_path / "out", vectors="img_emb/*.npy", images="metadata")


def test_names_without_or_with_the_same_number_are_refused():
    with pytest.raises(InputError, match="has no shard number"):
        pair_by_number([Path("a.npy")], [Path("b1.parquet")])
    with pytest.raises(InputError, match="are both of shard 1"):
        pair_by_number([Path("x_01.npy"), Path("x_1.npy")], [Path("b1.parquet")])
    with pytest.raises(InputError, match="no number of"):
        pair_by_number([Path("x_01.npy")], [Path("b2.parquet")])


def test_parquet_with_a_column_of_embeddings_is_unpacked(tmp_path):
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    for number, rows in ((0, x[:3]), (1, x[3:])):
        kind = pa.list_(pa.float32(), 4) if number else pa.list_(pa.float32())
        table = {"URL": ["u"] * len(rows), "TEXT": [f"t{r}" for r in range(len(rows))]}
        columns = table | {"Embedding": pa.array(rows.tolist(), kind)}
        pq.write_table(pa.table(columns), tmp_path / f"part-{number}.parquet")
    out = run_embed(tmp_path, tmp_path / "out", vectors="part-*.parquet")
    parts = [np.load(path) for path in sorted((out / "parts").glob("*.npy"))]
    assert np.array_equal(np.concatenate(parts), x)
    assert captions(out) == ["t0", "t1", "t2", "t0", "t1"]
    table = {"TEXT": ["a", "b"], "embedding": pa.array([[1.0, 2.0], [1.0]])}
    pq.write_table(pa.table(table), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match="row 1 has an embedding of 1 numbers"):
        run_embed(tmp_path, tmp_path / "other", vectors="part-0.parquet")
    pq.write_table(pa.table({"TEXT": ["a"]}), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match="has no column of embeddings"):
        run_embed(tmp_path, tmp_path / "other", vectors="part-0.parquet")


def test_vectors_without_a_table_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    with pytest.raises(ConfigError, match="has no table of images"):
        run_embed(tmp_path, tmp_path / "out", vectors="a.npy")


@pytest.mark.parametrize(
    ("column", "value", "withheld"),
    [
        ("NSFW", "UNLIKELY", False),
        ("NSFW", "UNSURE", True),
        ("nsfw", "NSFW", True),
        ("punsafe", 0.9, True),
        ("punsafe", 0.1, False),
        ("sensitive", True, True),
    ],
)
def test_columns_are_matched_without_case(tmp_path, column, value, withheld):
    path = tmp_path / "laion.parquet"
    pq.write_table(pa.table({"URL": ["http://a"], "TEXT": [None], column: [value]}), path)
    (table,) = read_tables(path)
    row = table.to_pylist()[0]
    assert row == {
        "name": "http://a",
        "caption": "",
        "url": "http://a",
        "tags": [],
        "terms": [],
        "split": "",
        "sensitive": withheld,
        "withheld": f"{column} {value}" if withheld else "",
    }


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_arrow_tables_are_read_in_both_of_their_formats(tmp_path, monkeypatch, new):
    monkeypatch.setattr("atlas.inputs.image_table.ROWS_PER_BATCH", 2)
    captions = [f"words {n}" for n in range(5)]
    table = pa.table({"URL": [f"https://a/{n}" for n in range(5)], "TEXT": captions})
    with new(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    found = list(read_tables(tmp_path / "t.arrow"))
    assert [len(one) for one in found] == [2, 1, 2]
    assert [caption for one in found for caption in one["caption"].to_pylist()] == captions


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "has no column caption"),
        ("t.jsonl", '{"caption": 1}\nno\n', "line 2 is not JSON"),
        ("t.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("t.parquet", "PAR1", "is damaged or not Parquet"),
        ("t.arrow", "no Arrow at all", "is damaged or not Arrow"),
        ("t.feather", "ARROW1 and no more", "is damaged or not Arrow"),
        ("t.xlsx", "", "is no table that is read"),
    ],
)
def test_a_bad_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        list(read_tables(tmp_path / name))


def test_an_image_id_that_is_there_twice_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.inputs.image_table.ROWS_PER_BATCH", 2)
    path = tmp_path / "images.jsonl"
    ids = ["a", "b", None, None, "", "", "b", "a"]
    rows = [{"UID": one, "caption": "same", "file_name": "same"} for one in ids]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError) as caught:
        list(read_tables(path))
    assert str(caught.value) == (
        f"{path}: row 6 has UID 'b', which row 1 has, expected each once; fix the table, or "
        "rename the column if it is no id"
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:6]))
    assert sum(len(table) for table in read_tables(path)) == 6


def test_tables_are_written_alike_however_they_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.inputs.image_table.ROWS_PER_GROUP", 10)
    whole = pa.table({"n": list(range(37))})
    for name, step in (("a", 37), ("b", 4), ("c", 25)):
        cut = [whole.slice(start, step) for start in range(0, 37, step)]
        assert write_image_table(tmp_path / name, cut) == 37
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1
    assert pq.read_table(tmp_path / "a").equals(whole)
    assert pq.read_metadata(tmp_path / "a").num_row_groups == 4


def test_blocks_read_in_any_layout_are_the_rows(tmp_path):
    x = RNG.normal(size=(20_000, 5)).astype(np.float32)
    for name, array in (("c", x), ("f", np.asfortranarray(x))):
        path = tmp_path / f"{name}.npy"
        np.save(path, array)
        found = check_vectors(path)
        blocks = [block.copy() for _, block in read_blocks(path, found)]
        assert np.array_equal(np.concatenate(blocks), x)


def test_memory_does_not_grow_with_the_vectors(tmp_path):
    peaks = []
    for rows in (20_000, 80_000):
        path = tmp_path / f"{rows}.npy"
        np.save(path, np.ones((rows, 64), np.float16))
        tracemalloc.start()
        check_vectors(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
