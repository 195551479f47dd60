"""How long a text search takes after start, at 81,920 features, beside the one matrix product in it.

Run: python -m tests.benchmarks.bench_search [WIDTH]. Synthetic labels and prototypes; the
vocabulary is the demo's size. Prints the medians, and this machine, as JSON; asserts nothing.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np

from atlas.base.tables import TABLES, create_sql, tables_digest
from atlas.inputs.vocabulary import VECTORS, WORDS
from atlas.lookup.atlas import Atlas

N_FEATURES, N_WORDS = 81_920, 12_000
REPEATS = 40
GOAL_MS = 50


def make(folder: Path, width: int) -> None:
    """Write a catalog and search lists with as many features, and no more than search reads."""
    rng = np.random.default_rng(0)
    search = folder / "catalog" / "search"
    (search / "vocabulary").mkdir(parents=True)
    with duckdb.connect(str(folder / "catalog" / "atlas.duckdb")) as db:
        for table in TABLES:
            db.execute(create_sql(table))
        db.execute(f"""INSERT INTO features BY NAME SELECT i::INTEGER AS feature, true AS alive, 0.01 AS density,
                       false AS sensitive FROM range({N_FEATURES}) r(i)""")
        db.execute(f"""INSERT INTO labels BY NAME SELECT i::INTEGER AS feature, k::INTEGER AS rank,
                       'word' || (hash(i * 3 + k) % {N_WORDS}) AS label, 'images' AS source, 0.9 AS auroc
                       FROM range({N_FEATURES}) r(i), range(3) s(k)""")
        facts = [("id", "atlas:000000000000"), ("tables", tables_digest())]
        db.executemany("INSERT INTO provenance VALUES (?, ?)", facts)
    np.save(search / "features.npy", np.arange(N_FEATURES, dtype=np.int32))
    for path, rows in (
        (search / "prototypes.npy", N_FEATURES),
        (search / "vocabulary" / VECTORS, N_WORDS),
    ):
        np.save(path, rng.standard_normal((rows, width), dtype=np.float32).astype(np.float16))
    words = "\n".join(f"word{i}" for i in range(N_WORDS))
    (search / "vocabulary" / WORDS).write_text(words + "\n", encoding="utf-8")


def main(width: int) -> None:
    """Time searches of an open atlas, and the bare product, in turn."""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), width)
        with Atlas(name) as opened:
            began = time.perf_counter()
            opened.search("word1")
            first_ms = 1000 * (time.perf_counter() - began)
            prototypes, _ = opened._prototypes
            query = np.ones(width, np.float32)
            took: dict[str, list[float]] = {"search": [], "product": []}
            for i in range(REPEATS):
                for key, call in (
                    ("search", lambda i=i: opened.search(f"word{i + 2} word{i + 9}")),
                    ("product", lambda: prototypes @ query),
                ):
                    began = time.perf_counter()
                    call()
                    took[key].append(1000 * (time.perf_counter() - began))
    median = statistics.median(took["search"])
    found = {
        "command": f"python -m tests.benchmarks.bench_search {width}",
        "features": N_FEATURES,
        "width": width,
        "search_median_ms": round(median, 1),
        "search_least_ms": round(min(took["search"]), 1),
        "product_alone_median_ms": round(statistics.median(took["product"]), 1),
        "first_search_ms": round(first_ms, 1),
        "n": REPEATS,
        f"under_{GOAL_MS}_ms": median < GOAL_MS,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, duckdb {duckdb.__version__}; shared with other work",
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1280)
