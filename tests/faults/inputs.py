"""Small valid files of every kind that comes from outside, and how each is read."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save

from atlas.fetching.robots import parse_robots
from atlas.icons.template import read_embedding
from atlas.inputs.archives import read_tar
from atlas.inputs.captions import json_facts
from atlas.inputs.embeddings import check_vectors
from atlas.inputs.found import Found
from atlas.inputs.image_table import read_tables
from atlas.inputs.picture import read_picture
from atlas.inputs.takedown import read_takedown
from atlas.inputs.vocabulary import read_vocabulary
from atlas.lookup.bundles import Bundle
from atlas.lookup.manifest import MANIFEST, Object, read_manifest
from atlas.run.receipt import read_receipt, why_stale
from atlas.sae.checkpoints import load_sae
from atlas.sae.formats.tensors import read_stored
from atlas.settings.load import load_config
from atlas.settings.sae import SaeSettings
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


def _torch(value: Any) -> bytes:
    import torch

    sink = io.BytesIO()
    torch.save(value, sink)
    return sink.getvalue()


def _vector() -> bytes:
    import torch

    return _torch(torch.ones(4))


def _released() -> bytes:
    import torch

    weights = {"encoder.weight": torch.ones(4, 3), "decoder.weight": torch.ones(3, 4)}
    return _torch(weights | {"enc_bias": torch.zeros(4), "dec_bias": torch.zeros(3)})


def _manifest() -> bytes:
    files = {"catalog/atlas.duckdb": [5, sha256(b"12345").hexdigest()]}
    held = {"version": 1, "made_with": "x", "atlas": "a", "settings": {"k": 1}, "files": files}
    return json.dumps(held).encode()


def _bundle() -> bytes:
    sink = io.BytesIO()
    with ZipFile(sink, "w") as archive:
        archive.writestr(MANIFEST, _manifest())
        archive.writestr(Object(5, sha256(b"12345").hexdigest()).address, b"12345")
    return sink.getvalue()


def _from_bundle(path: Path) -> bytes:
    return Bundle(str(path)).read("catalog/atlas.duckdb")


def _checkpoint(path: Path) -> Any:
    return load_sae(path, SaeSettings())


def _template(path: Path) -> Any:
    return read_embedding(path, 4)


def _receipt(path: Path) -> Any:
    receipt = read_receipt(path.parent)
    why_stale({"version": 1, "settings": {}, "inputs": {}}, path.parent)
    return receipt


def _robots(path: Path) -> Any:
    return parse_robots(path.read_bytes().decode("utf-8", "replace")).allow("/a/b?c")


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
RECEIPT_JSON = json.dumps(
    {
        "plan": {"version": 1, "settings": {}, "inputs": {}},
        "files": {"a": [3, "0" * 64]},
        "outputs": "0" * 64,
    }
).encode()
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
    Kind("a.tsv", CSV.replace(b",", b"\t"), _all_rows),
    Kind("sae.pth", _released(), _checkpoint),
    Kind("t.npy", _npy(np.ones(4, np.float32)), _template),
    Kind("t.pt", _vector(), _template),
    Kind("manifest.json", _manifest(), lambda p: read_manifest(p.read_bytes(), p.name)),
    Kind("bundle.zip", _bundle(), _from_bundle),
    Kind("receipt.json", RECEIPT_JSON, _receipt),
    Kind("robots.txt", b"User-agent: *\nDisallow: /a/*?c$\nCrawl-delay: 2\n", _robots),
    Kind("takedown.txt", b"key a\nsha256 " + b"0" * 64 + b"\nfeature 3\n", read_takedown),
    Kind("atlas.toml", b'out_dir = "x"\n[scan]\ntop_images = 9\n', load_config),
    Kind(
        "note.json",
        b'{"caption": "x", "nsfw": [1, {"a": null}]}',
        lambda p: json_facts(p.read_bytes()),
    ),
)
