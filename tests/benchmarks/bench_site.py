"""A site of 81,920 features from one command: CPU seconds, memory, bytes and files.

The catalog is synthetic: 60,620 live features with random neighbors and words, small pictures
drawn from a few shapes. No figure of its content is a finding; sizes of pictures of real photos
are several times these.

    python -m tests.benchmarks.bench_site DIR --layout pages --host github
    python -m tests.benchmarks.bench_site DIR --layout groups --host cloudflare-free
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from atlas.base.files import digest_file, digest_json, list_files
from atlas.base.progress import Progress
from atlas.base.tables import TABLES, create_sql
from atlas.pipeline import STAGES
from atlas.run.build import build_stage
from atlas.run.receipt import RECEIPT
from atlas.run.stage import Source
from atlas.settings.paths import DATABASE
from atlas.settings.runtime import Runtime
from atlas.settings.site import SiteSettings
from atlas.site import links, site
from atlas.site.check import list_sizes
from atlas.site.hosts import tally

ALIVE_SHARE = 0.74
IMAGES = 120_000
SHAPES = 64
WORDS = 5_000
FACTS = {
    "id": "atlas:0123456789ab",
    "title": "SYNTHETIC full-size atlas",
    "note": "Synthetic, for timing. No figure here is a finding.",
    "credit": "",
    "owner_url": "",
    "synthetic": "true",
    "n_images": str(IMAGES),
}
"""What the pages ask of the table of provenance."""
QUERIES = (
    """INSERT INTO features BY NAME SELECT i AS feature, hash(i) % 100 < {alive} AS alive,
       10 + hash(i, 1) % 9000 AS count, count / {images} AS density, count * 1.5 AS sum,
       count * 3.0 AS sum_squares, 1.5 AS mean, 1.25 AS median, 4 + hash(i, 2) % 90 / 10 AS max,
       1.0 / {n} AS mass_share, 1 AS decoder_norm, sum AS sum_weighted, max AS max_weighted,
       0.5 AS selectivity, hash(i, 3) % 10000 / 1e4 AS map_x, hash(i, 4) % 10000 / 1e4 AS map_y,
       false AS sensitive FROM range({n}) t(i)""",
    """INSERT INTO images BY NAME SELECT i AS image, 'image-' || i AS name,
       'a picture of word' || hash(i) % {words} || ' beside word' || hash(i, 1) % {words} AS caption,
       []::VARCHAR[] AS tags, []::VARCHAR[] AS terms, 'train' AS split, 60 AS l0, 100.0 AS mass,
       1.0 AS squared_error, 40.0 AS norm, false AS sensitive FROM range({images}) t(i)""",
    """INSERT INTO top_images SELECT feature, r, hash(feature, r, 5) % {images}, 9 - r / 2.0
       FROM features, range(9) t(r) WHERE alive""",
    """INSERT INTO quantile_images SELECT feature, r, 0, hash(feature, r, 6) % {images}, 0.5 + r / 2.0
       FROM features, range(10) t(r) WHERE alive""",
    """INSERT INTO near_misses BY NAME SELECT feature, r AS rank, hash(feature, r, 7) % {images} AS image,
       0 AS top_image, 0.9 - r / 100 AS similarity, -0.5 AS pre_activation
       FROM features, range(4) t(r) WHERE alive""",
    """INSERT INTO activation_histogram SELECT feature, r, 2.0 ** (r / 4), 2.0 ** ((r + 1) / 4), 1 + hash(feature, r) % 900
       FROM features, range(16) t(r) WHERE alive""",
    """CREATE TEMP TABLE living AS SELECT feature, row_number() OVER (ORDER BY feature) - 1 AS at FROM features WHERE alive""",
    """INSERT INTO feature_neighbors SELECT l.feature, r, o.feature, 0.8 - r / 50.0 FROM living l, range(12) t(r)
       JOIN living o ON o.at = (l.at + 1 + r * 17) % (SELECT count(*) FROM living)""",
    """INSERT INTO coactivations BY NAME SELECT l.feature, r AS rank, o.feature AS other, 5 AS count,
       0.5 AS p_other_given_feature, 0.5 AS p_feature_given_other, 2.0 AS lift FROM living l, range(6) t(r)
       JOIN living o ON o.at = (l.at + 5 + r * 31) % (SELECT count(*) FROM living)""",
    """INSERT INTO labels BY NAME SELECT feature, 0 AS rank, 'word' || hash(feature, 9) % {words} AS label,
       'captions' AS source, '' AS author, false AS perhaps, 0.5 AS score, 0.01 AS null_score FROM living""",
    """INSERT INTO names BY NAME SELECT feature, label AS name, label, source, author FROM labels""",
    """INSERT INTO icons BY NAME SELECT feature, top_images.image, 'top image' AS source
       FROM top_images WHERE rank = 0""",
)


def make_catalog(folder: Path, n: int) -> None:
    """Write the catalog of a synthetic atlas of n features."""
    (folder / "parquet").mkdir(parents=True)
    with duckdb.connect(str(folder / DATABASE)) as db:
        for table in TABLES:
            db.execute(create_sql(table))
        for query in QUERIES:
            db.execute(
                query.format(n=n, alive=round(100 * ALIVE_SHARE), images=IMAGES, words=WORDS)
            )
        db.executemany("INSERT INTO provenance VALUES (?, ?)", sorted(FACTS.items()))
        for table in TABLES:
            target = folder / "parquet" / f"{table.name}.parquet"
            db.execute(
                f"COPY (FROM {table.name} ORDER BY {table.order}) TO '{target}' (COMPRESSION zstd)"
            )


def make_thumbnails(folder: Path, px: int) -> None:
    """Write small pictures of a few shapes for all images."""
    rng = np.random.default_rng(0)
    shapes = []
    for _ in range(SHAPES):
        picture = Image.new("RGB", (px, px), "white")
        color = tuple(int(level) for level in rng.integers(40, 220, 3))
        left, top, right, bottom = (int(px * edge) for edge in (*rng.uniform(0, 0.4, 2), *rng.uniform(0.6, 1, 2)))  # fmt: skip
        ImageDraw.Draw(picture).ellipse((left, top, right, bottom), fill=color)
        data = io.BytesIO()
        picture.save(data, "WEBP", quality=60, method=4)
        shapes.append(data.getvalue())
    folder.mkdir(parents=True)
    table = pa.table(
        {
            "image": np.arange(IMAGES),
            "webp": pa.array([shapes[i % SHAPES] for i in range(IMAGES)], pa.binary()),
        }
    )
    pq.write_table(table, folder / "thumbnails-0000-0.parquet")


def sources(inputs: Path) -> dict[str, Source]:
    """Describe the inputs as the pipeline would; the catalog by its tables."""
    tables = [digest_file(path) for path in list_files(inputs / "catalog" / "parquet")]
    digests = {"catalog": digest_json(tables), "embed": "0" * 64, "concepts": "0" * 64}
    return {name: Source(inputs / name, (), digest) for name, digest in digests.items()}


def build(root: Path, inputs: Path, settings: SiteSettings) -> dict[str, Any]:
    """Build the site as a command would, receipt and all; return what it took and what it takes.

    Args:
        root: Its folder gets or has the site.
        inputs: Catalog and pictures.
        settings: Layout, host and sizes.
    """
    before = files_of(root / "site")
    start, cpu = time.perf_counter(), time.process_time()
    outcome = build_stage(
        next(known for known in STAGES if known.name == "site"),
        site.run,
        settings=settings,
        runtime=Runtime(),
        sources=sources(inputs),
        root=root,
        progress=Progress(silent=True),
    )
    spent = {
        "why": ", ".join(outcome.reasons) or "current",
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.perf_counter() - start, 1),
    }
    after = files_of(root / "site")
    return {**spent, "files_written": sum(before.get(name) != file for name, file in after.items())}


def files_of(folder: Path) -> dict[str, int]:
    """Return which file has each address of a site; a receipt is none of it."""
    if not folder.exists():
        return {}
    names = [name for name, _ in list_sizes(folder) if name != RECEIPT]
    return {name: (folder / name).stat().st_ino for name in names}


def size_of(folder: Path) -> dict[str, Any]:
    """Return what a site takes."""
    sizes = {name: size for name, size in list_sizes(folder) if name != RECEIPT}
    found = tally(sizes)
    shares: Counter[str] = Counter()
    for name, size in sizes.items():
        shares[name.partition("/")[0] if "/" in name else "other"] += size
    return {
        "megabytes": round(found.total_bytes / 1e6, 1),
        "files": found.files,
        "pages": sum(name.endswith(".html") for name in sizes),
        "megabytes_by_folder": {name: round(size / 1e6, 1) for name, size in shares.most_common()},
        "fullest_folder": [found.fullest, found.folder_entries],
        "largest_file": [found.largest, found.file_bytes],
    }


def rename_feature(inputs: Path) -> None:
    """Give one feature another label."""
    with duckdb.connect(str(inputs / "catalog" / DATABASE)) as db:
        db.execute(
            """UPDATE labels SET label = 'zebra'
               WHERE rank = 0 AND feature = (SELECT min(feature) FROM labels)"""
        )
        db.execute(
            """UPDATE names SET name = 'zebra', label = 'zebra'
               WHERE feature = (SELECT min(feature) FROM labels)"""
        )
        for table, order in (("labels", "feature, rank"), ("names", "feature")):
            target = inputs / "catalog" / "parquet" / f"{table}.parquet"
            db.execute(f"COPY (FROM {table} ORDER BY {order}) TO '{target}' (COMPRESSION zstd)")


def main() -> None:
    """Build the site several times and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=("pages", "groups"), default="pages")
    parser.add_argument("--host", default="local")
    parser.add_argument("--features", type=int, default=81_920)
    parser.add_argument("--px", type=int, default=24, help="side of a picture in a sheet")
    parser.add_argument("--once", action="store_true", help="do without the further builds")
    given = parser.parse_args()
    inputs = given.folder / f"inputs-{given.features}-{given.px}"
    if not inputs.exists():
        make_catalog(inputs / "catalog", given.features)
        make_thumbnails(inputs / "embed" / "parts", given.px)
        (inputs / "concepts").mkdir()
    settings = SiteSettings(
        layout=given.layout,
        pictures="sheets",
        host=given.host,
        icon_px=given.px,
        thumbnail_px=given.px,
    )
    root = given.folder / given.layout
    shutil.rmtree(root, ignore_errors=True)
    figures = {"first": build(root, inputs, settings)}
    figures["first"]["largest_memory_mb"] = round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    )
    figures["takes"] = size_of(root / "site")
    if not given.once:
        figures["again"] = build(root, inputs, settings)
        (root / "site" / links.SEARCH).unlink()
        figures["a page deleted"] = build(root, inputs, settings)
        renamed = given.folder / "renamed"
        shutil.copytree(inputs, renamed, dirs_exist_ok=True)
        rename_feature(renamed)
        figures["a label changed"] = build(root, renamed, settings)
        shutil.rmtree(renamed)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = (
        f"python -m tests.benchmarks.bench_site DIR --layout {given.layout} "
        f"--host {given.host} --features {given.features} --px {given.px}"
    )
    print(
        json.dumps(
            {
                "command": command + (" --once" if given.once else ""),
                **figures,
                "workers_cpu_s": round(workers.ru_utime + workers.ru_stime, 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
