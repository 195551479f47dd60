"""Reading a clip-retrieval folder whose shard numbers have gaps: speed beside a plain read, and memory.

Run: python -m tests.benchmarks.bench_read [ROWS] [WIDTH]; a million rows of 512 by default, half
as many and a quarter beside them. Each measurement is a process of its own, the files dropped
from the page cache before it. Prints wall and CPU seconds, MB/s, and the peak of memory over that
of a process that has only imported the same modules.

plain: every file from start to end into one buffer. check: what stage embed does before anything
else, each vector file paired with its table by number and every number looked at. table: the
captions, numbered, as images.parquet. train: one shuffled pass, as batches of 2,048 with 32,768
images in memory. stage: all of embed, with the search for repeated images.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from atlas.base.progress import Progress
from atlas.inputs import embed
from atlas.inputs.duplicates import Twins
from atlas.inputs.embeddings import EmbeddingSet, Shard
from atlas.inputs.image_table import write_image_table
from atlas.inputs.outside_vectors import outside_vectors
from atlas.inputs.shard_index import number_images
from atlas.run.stage import Job
from atlas.settings.inputs import EmbedSettings
from atlas.settings.runtime import Runtime
from atlas.training.shuffle import Shuffled

ROWS_PER_SHARD = 20_000
WITHOUT_VECTORS, WITHOUT_TABLE = 3, 5
"""Shard numbers of which one of the two files is missing."""
CHUNK = 1 << 20
WHAT = ("nothing", "plain", "check", "table", "train", "stage")


def main(rows: int, width: int) -> None:
    """Make folders of three sizes, measure each, and print a table."""
    print(f"width {width}, float16, {ROWS_PER_SHARD:,} rows a shard")
    print(
        f"{'':<8}{'images':>10}{'wall s':>9}{'CPU s':>8}{'MB/s':>8}{'of plain':>10}{'MB over':>9}"
    )
    for n in (rows // 4, rows // 2, rows):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make_folder(root, n, width)
            size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            found = {what: _measure(root, what) for what in WHAT}
        for what in WHAT[1:]:
            one, plain = found[what], found["plain"]
            over = one["peak"] - found["nothing"]["peak"]
            print(
                f"{what:<8}{n:>10,}{one['wall']:>9.2f}{one['cpu']:>8.2f}"
                f"{size / one['wall'] / 1e6:>8.0f}{one['wall'] / plain['wall']:>9.2f}x{over / 1e6:>9.0f}"
            )


def make_folder(root: Path, rows: int, width: int) -> None:
    """Write img_emb/ and metadata/ as clip-retrieval does, with gaps in the numbers."""
    (root / "img_emb").mkdir()
    (root / "metadata").mkdir()
    block = np.random.default_rng(0).standard_normal((ROWS_PER_SHARD, width), np.float32)
    block = block.astype(np.float16)
    left, number = rows, 0
    while left > 0:
        n = min(left, ROWS_PER_SHARD)
        if number != WITHOUT_VECTORS:
            shifted = np.roll(block, number * 7, axis=1)[:n] * np.float16(1 + number / 1000)
            np.save(root / "img_emb" / f"img_emb_{number:04d}.npy", shifted)
        if number != WITHOUT_TABLE:
            captions = [f"picture {number} {row}" for row in range(n)]
            urls = [f"https://example.org/{number}/{row}.jpg" for row in range(n)]
            table = pa.table({"caption": captions, "url": urls})
            pq.write_table(table, root / "metadata" / f"metadata_{number:04d}.parquet")
        left -= n if number not in (WITHOUT_VECTORS, WITHOUT_TABLE) else 0
        number += 1


def _measure(root: Path, what: str) -> dict[str, float]:
    """Run one measurement in a process of its own, with cold files."""
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-m", "tests.benchmarks.bench_read", "--one", what, str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def one(what: str, root: Path) -> None:
    """Do one thing and print what it took."""
    torch.set_num_threads(1)
    work = root / "work"
    work.mkdir(exist_ok=True)
    job = _job(root, work)
    began, cpu = time.perf_counter(), time.process_time()
    if what == "plain":
        _read_plainly(root)
    elif what == "check":
        outside_vectors(job)
    elif what == "table":
        _write_table(job)
    elif what == "train":
        _read_shuffled(root)
    elif what == "stage":
        embed.run(job)
    took = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(took | {"peak": peak}))


def _job(root: Path, work: Path) -> Job:
    vectors = tuple(sorted((root / "img_emb").glob("*.npy")))
    tables = tuple(sorted((root / "metadata").glob("*.parquet")))
    settings = EmbedSettings(vectors=str(root / "img_emb" / "*.npy"), images=root / "metadata")
    return Job(
        name="embed",
        version=1,
        settings=settings,
        runtime=Runtime(),
        inputs={"vectors": root / "img_emb", "images": root / "metadata"},
        files={"vectors": vectors, "images": tables},
        digests=dict.fromkeys(("vectors", "images"), "0" * 64),
        out_dir=work,
        published_dir=root / "nothing",
        published_home=work,
        progress=Progress(silent=True),
        file_digests={"vectors": ("0" * 64,) * len(vectors), "images": ("0" * 64,) * len(tables)},
    )


def _read_plainly(root: Path) -> None:
    buffer = bytearray(CHUNK)
    for folder in ("img_emb", "metadata"):
        for path in sorted((root / folder).iterdir()):
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def _write_table(job: Job) -> None:
    found = outside_vectors(job)
    firsts = np.cumsum([0, *(shard.rows for shard in found.shards)])
    alone = Twins(np.arange(firsts[-1]), tuple(firsts[:-1].tolist()))
    rows = write_image_table(
        job.out_dir / "images.parquet", number_images(found, job.settings, alone)
    )
    assert rows == firsts[-1], (rows, firsts[-1])


def _read_shuffled(root: Path) -> None:
    shards, first = [], 0
    for path in sorted((root / "img_emb").glob("*.npy")):
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        shards.append(Shard(path.stem, path, shape[0], first, ""))
        first += shape[0]
    embeddings = EmbeddingSet(shape[1], first, {}, False, tuple(shards))
    shuffled = Shuffled(embeddings, np.ones(first, bool), 32_768)
    for step in range(first // 2048):
        shuffled.batch(step, 2048)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]))
    else:
        numbers = [int(word) for word in sys.argv[1:]]
        main(*(numbers + [1_000_000, 512][len(numbers) :]))
