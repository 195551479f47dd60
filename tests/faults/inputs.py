"""Small valid files of every kind that comes from outside, and how each is read."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save

from atlas.inputs.archives import read_tar
from atlas.inputs.captions import json_facts
from atlas.inputs.embeddings import check_vectors
from atlas.inputs.found import Found
from atlas.inputs.image_table import read_tables
from atlas.inputs.picture import read_picture
from atlas.inputs.takedown import read_takedown
from atlas.inputs.vocabulary import read_vocabulary
from atlas.sae.formats.tensors import read_stored
from atlas.settings.load import load_config
from atlas.study.name_files import read_names

ROWS = [
    {"name": f"n{i}", "caption": f"a caption {i}", "url": f"https://x.org/{i}", "punsafe": i / 9}
    for i in range(8)
]


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    name: str
    """Of the file."""
    data: bytes
    read: Callable[[Path], Any]


def _arrow(new: Any) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(ROWS)
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue()


def _npy(array: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def _picture(kind: str) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (12, 9), "red").save(sink, kind)
    return sink.getvalue()


def _tar() -> bytes:
    import tarfile

    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in (("0.png", _picture("PNG")), ("0.json", b'{"caption": "x"}')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _all_rows(path: Path) -> list[Any]:
    return [table.to_pylist() for table in read_tables(path)]


def _all_pictures(path: Path) -> list[bytes]:
    return [one.read() for one in read_tar("a.tar", path) if isinstance(one, Found)]


def _vocabulary(path: Path) -> Any:
    words, vectors = path.parent / "words.txt", path.parent / "vectors.npy"
    if not words.exists():
        words.write_text("red\nblue\nred blue\n")
    if not vectors.exists():
        vectors.write_bytes(_npy(np.eye(3, dtype=np.float16)))
    return read_vocabulary(path.parent).encode_text("red")


LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
NAMES = b"".join(b'{"feature": %d, "label": "a name", "score": 0.5}\n' % i for i in range(5))
CSV = b"name,caption,url,nsfw\n" + b"".join(
    b"n%d,cap,https://x.org,UNLIKELY\n" % i for i in range(5)
)
WEIGHTS = save({"W_enc": np.ones((4, 3), np.float32), "b": np.ones(3, np.float16)})
KINDS = (
    Kind("a.parquet", _parquet(), _all_rows),
    Kind("a.jsonl", LINES, _all_rows),
    Kind("a.csv", CSV, _all_rows),
    Kind("a.arrow", _arrow(pa.ipc.new_stream), _all_rows),
    Kind("b.arrow", _arrow(pa.ipc.new_file), _all_rows),
    Kind("names.jsonl", NAMES, read_names),
    Kind("names.jsonl.gz", gzip.compress(NAMES, mtime=0), read_names),
    Kind("names.csv", b"feature,label,score\n1,a,0.5\n2,b,\n", read_names),
    Kind("vectors.npy", _npy(np.eye(3, dtype=np.float16)), _vocabulary),
    Kind("words.txt", b"red\nblue\nred blue\n", _vocabulary),
    Kind("v.npy", _npy(np.ones((5, 4), np.float32)), check_vectors),
    Kind("w.safetensors", WEIGHTS, read_stored),
    Kind("p.png", _picture("PNG"), read_picture),
    Kind("p.jpg", _picture("JPEG"), read_picture),
    Kind("p.webp", _picture("WEBP"), read_picture),
    Kind("p.gif", _picture("GIF"), read_picture),
    Kind("a.tar", _tar(), _all_pictures),
    Kind("takedown.txt", b"key a\nsha256 " + b"0" * 64 + b"\nfeature 3\n", read_takedown),
    Kind("atlas.toml", b'out_dir = "x"\n[scan]\ntop_images = 9\n', load_config),
    Kind(
        "note.json",
        b'{"caption": "x", "nsfw": [1, {"a": null}]}',
        lambda p: json_facts(p.read_bytes()),
    ),
)
