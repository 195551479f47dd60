"""The features of chosen images: those that top the most features, and the examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import digest_json, write_parquet
from atlas.catalog.insert import in_sql, insert
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


def insert_decompositions(db: DuckDBPyConnection, job: Job) -> None:
    """Keep the features of the images that top the most features, and of the examples."""
    chosen = f"""
        SELECT image FROM (SELECT image, count(*) AS tops FROM top_images WHERE rank = 0 GROUP BY image)
        ORDER BY tops DESC, image LIMIT {job.settings.decomposed_images}"""
    examples = "SELECT image FROM examples"
    rows = db.execute(f"FROM ({chosen}) UNION {examples} ORDER BY image").fetchall()
    wanted = np.array([row[0] for row in rows], dtype=np.int64)
    key = {"scan": job.digests["scan"], "images": digest_json(wanted.tolist())}
    part = job.part(
        "decompositions",
        ".parquet",
        key,
        lambda path: write_parquet(path, _decompose(job.inputs["scan"], wanted)),
    )
    insert(db, "decompositions", f"SELECT * FROM '{in_sql(part)}'")


def _decompose(scan_dir: Path, wanted: NDArray[np.int64]) -> pa.Table:
    """Return the features of some images, each image's strongest first."""
    import pyarrow as pa

    none = (
        np.empty(0, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
    )
    images, ranks, features, values = ([array] for array in none)
    reader = ImageActivations(scan_dir)
    for image in wanted.tolist():
        found, strength = reader[image]
        order = np.lexsort((found, -strength))
        images.append(np.full(len(order), image, np.int64))
        ranks.append(np.arange(len(order), dtype=np.int32))
        features.append(found[order].astype(np.int32))
        values.append(strength[order].astype(np.float32))
    return pa.table(
        {
            "image": np.concatenate(images),
            "rank": np.concatenate(ranks),
            "feature": np.concatenate(features),
            "activation": np.concatenate(values),
        }
    )
