"""Files from outside, cut and changed in any way, are read or refused in one line; nothing else is raised."""

from __future__ import annotations

import gzip
import json
import struct
import time
import zlib
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults.fuzzing import fuzz
from faults.inputs import KINDS

from atlas.base.errors import ConfigError, InputError
from atlas.icons.template import read_embedding
from atlas.inputs.image_table import read_tables
from atlas.inputs.picture import read_picture
from atlas.inputs.vocabulary import read_vocabulary
from atlas.lookup.bundles import Bundle
from atlas.lookup.manifest import MANIFEST, read_manifest
from atlas.sae.formats.tensors import read_stored
from atlas.settings.load import load_config
from atlas.study.name_files import read_names

CASES = [60, pytest.param(1000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("n_cases", CASES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_mutation_is_read_or_refused(tmp_path, kind, n_cases):
    assert fuzz(kind, n_cases, tmp_path / kind.name).wrong == []


def refusal(read, path):
    """What a reader says of a file, and that it says it soon."""
    begin = time.monotonic()
    with pytest.raises(InputError) as told:
        read(path)
    assert time.monotonic() - begin < 10
    assert "\n" not in str(told.value)
    return str(told.value)


def rows_of(path):
    return list(read_tables(path))


def test_a_gzip_of_names_that_is_cut_or_changed_is_one_line(tmp_path):
    path = tmp_path / "names.jsonl.gz"
    whole = gzip.compress(b'{"feature": 1, "label": "x"}\n' * 50)
    path.write_bytes(whole[:12] + b"\xff\xff\xff" + whole[15:])
    assert "is not a text file" in refusal(read_names, path)
    path.write_bytes(whole[:-12])
    assert "is not a text file" in refusal(read_names, path)


def test_names_are_unpacked_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.study.name_files.MOST_BYTES", 1 << 20)
    (tmp_path / "names.csv.gz").write_bytes(gzip.compress(bytes(4 << 20)))
    assert "holds more than 1,048,576 bytes" in refusal(read_names, tmp_path / "names.csv.gz")


def test_an_explanation_that_is_no_object_is_one_line(tmp_path):
    (tmp_path / "n.jsonl").write_text('{"index": 1, "explanations": [3]}')
    assert "an explanation is no object" in refusal(read_names, tmp_path / "n.jsonl")


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f2', 'fort", b"(((((", b"{'shape': (3, 3", b'"""']
)
def test_a_vocabulary_whose_header_is_no_header_is_one_line(tmp_path, header):
    (tmp_path / "words.txt").write_text("red\n")
    size = len(header).to_bytes(2, "little")
    (tmp_path / "vectors.npy").write_bytes(b"\x93NUMPY\x01\x00" + size + header + bytes(64))
    assert "vectors.npy is damaged" in refusal(read_vocabulary, tmp_path)
    np.save(tmp_path / "vectors.npy", np.ones(1, np.float16))
    assert "expected a row of float16 or float32" in refusal(read_vocabulary, tmp_path)
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\xfa")
    assert "words.txt is not UTF-8" in refusal(read_vocabulary, tmp_path)


def test_text_of_a_table_that_is_no_utf8_is_read_with_marks_or_refused(tmp_path):
    path = tmp_path / "t.parquet"
    text = pa.array([b"caf\xe9", b"ok"]).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), text)
    pq.write_table(pa.table({"caption": text, "tags": lists}), path)
    (table,) = read_tables(path)
    assert table["caption"].to_pylist() == ["caf\ufffd", "ok"]
    records = pa.StructArray.from_arrays([text], ["nsfw"])
    pq.write_table(pa.table({"caption": text, "nsfw": records}), path)
    assert "holds something unexpected" in refusal(rows_of, path)


def test_two_columns_of_one_name_are_one_line(tmp_path):
    table = pa.table([pa.array(["x"]), pa.array(["y"])], names=["caption", "caption"])
    pq.write_table(table, tmp_path / "t.parquet")
    said = refusal(rows_of, tmp_path / "t.parquet")
    assert said.endswith("t.parquet has two columns called caption; rename one of them")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_that_is_nested_deeply_is_one_line(tmp_path, text):
    (tmp_path / "t.jsonl").write_text('{"caption": "x"}\n' + text)
    assert "line 2 is not JSON" in refusal(rows_of, tmp_path / "t.jsonl")


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_an_arrow_file_whose_offsets_point_outside_is_one_line(tmp_path, new):
    table = pa.table({"caption": ["hello", "world"]})
    path = tmp_path / "t.arrow"
    with new(path, table.schema) as writer:
        writer.write_table(table)
    good, bad = (np.array([0, 5, end], np.int32).tobytes() for end in (10, 2**30))
    data = path.read_bytes()
    assert good in data
    path.write_bytes(data.replace(good, bad))
    assert "is damaged or not Arrow" in refusal(rows_of, path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_picture_with_a_side_of_millions_is_refused_at_once(tmp_path):
    head = struct.pack(">IIBBBBB", 1, 79_000_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert "a side are decoded" in refusal(read_picture, tmp_path / "p.png")


@pytest.mark.parametrize(
    ("n", "said"), [(300_000, "has a header of 19,"), (20_000, "declares 20,000 tensors")]
)
def test_a_checkpoint_of_many_empty_tensors_is_refused_at_once(tmp_path, n, said):
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    data = json.dumps({f"t{i}": tensor for i in range(n)}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    assert said in refusal(read_stored, tmp_path / "w.safetensors")


def test_columns_whose_names_are_no_utf8_are_one_line(tmp_path):
    table = pa.table({"caption": ["hello"]})
    pq.write_table(table, tmp_path / "t.parquet", store_schema=False)
    with pa.ipc.new_file(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes().replace(b"caption", b"capti\xc3n"))
        assert "is damaged" in refusal(rows_of, path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": 1e999, "files": {}}'])
def test_a_manifest_that_is_deep_or_beyond_numbers_is_one_line(text):
    with pytest.raises(InputError, match="is no manifest of a bundle"):
        read_manifest(text.encode(), "x")


def test_a_bundle_whose_content_is_damaged_is_one_line(tmp_path):
    path = tmp_path / "b.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, b'{"files": {}}')
    path.write_bytes(path.read_bytes().replace(b'"files"', b'"f\xffles"'))
    with pytest.raises(InputError, match=r"manifest.json is damaged \(Bad CRC-32"):
        _ = Bundle(str(path)).manifest


def test_a_bundle_s_manifest_is_unpacked_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("atlas.lookup.bundles.MOST_BYTES", 1000)
    with ZipFile(tmp_path / "b.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, bytes(5000))
    with pytest.raises(InputError, match="is larger than 1,000 bytes"):
        _ = Bundle(str(tmp_path / "b.zip")).manifest


def test_a_template_of_torch_that_is_not_a_tensor_s_parts_is_one_line(tmp_path):
    path = tmp_path / "t.pt"
    data = bytearray(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.")
    with ZipFile(path, "w") as archive:
        archive.writestr("t/data.pkl", bytes(data))
        archive.writestr("t/version", b"3\n")
    with pytest.raises(InputError, match="holds no embedding"):
        read_embedding(path, 4)


def test_a_configuration_that_is_nested_deeply_is_one_line(tmp_path):
    (tmp_path / "atlas.toml").write_text("x = " + "[" * 100_000)
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(tmp_path / "atlas.toml")


def test_a_vocabulary_without_directions_is_one_line(tmp_path):
    (tmp_path / "words.txt").write_text("red\n")
    for value in (0, np.nan, np.inf):
        np.save(tmp_path / "vectors.npy", np.full((1, 2), value, np.float16))
        with pytest.raises(InputError, match="has no direction"):
            read_vocabulary(tmp_path).encode_text("red")
