"""The catalog stage: everything the other stages found, as tables that people can query.

Writes atlas.duckdb, parquet/<table>.parquet (identical bytes for identical input; the
DuckDB file itself never is) and search/, which is what look-ups by meaning need. What needs the
SAE's weights, the embeddings or all activations is a part: with another title none is made again,
so that a machine without them can publish.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet, write_parquet
from atlas.base.tables import TABLES, create_sql
from atlas.catalog.decompositions import insert_decompositions
from atlas.catalog.figures import insert_metrics
from atlas.catalog.insert import (
    icons_query,
    in_sql,
    insert,
    insert_concepts,
    insert_drawn,
    insert_tables,
)
from atlas.catalog.labels import insert_families, insert_labels
from atlas.catalog.map import map_figure, map_key, write_map
from atlas.catalog.provenance import insert_provenance
from atlas.catalog.search import write_search
from atlas.catalog.withheld import list_gone_labels, list_unsafe, take_down
from atlas.run.stage import Job
from atlas.sae.checkpoints import load_sae
from atlas.settings.paths import DATABASE

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORAGE_VERSION = "v1.4.0"
"""Set because DuckDB 2 would otherwise write files that DuckDB 1 cannot open."""


def run(job: Job) -> None:
    """Write the catalog."""
    import duckdb

    read_sae = cache(partial(load_sae, job.inputs["sae"]))  # only if a part is missing
    alive = _live_features(job.inputs["scan"])
    map_file = job.part(
        "map", ".parquet", map_key(job), lambda path: write_map(path, job, read_sae(), alive)
    )
    database = job.out_dir / DATABASE
    with duckdb.connect() as db:
        db.execute(
            f"ATTACH '{in_sql(database, as_glob=False)}' AS atlas (STORAGE_VERSION '{STORAGE_VERSION}')"
        )
        db.execute("USE atlas")
        for table in TABLES:
            db.execute(create_sql(table))
        found = take_down(db, job)
        list_unsafe(db, job)
        insert_tables(db, job, map_file)
        list_gone_labels(db, job, found)
        insert_labels(db, job)
        insert_families(db, job)
        insert(db, "icons", icons_query(job))
        insert_drawn(db, job)
        insert_concepts(db, job)
        insert_decompositions(db, job)
        searched = write_search(job, alive, _hidden_features(db), found.captions)
        insert_metrics(db, job, [*searched, map_figure(job, read_sae, map_file)])
        insert_provenance(db, job, read_sae)
        export(db, job.out_dir / "parquet")
        db.execute("CHECKPOINT")


def _live_features(scan_dir: Path) -> NDArray[np.int64]:
    """Return the live features' numbers, ascending."""
    table = read_parquet(scan_dir / "features.parquet", ["feature", "alive"])
    feature = table["feature"].to_numpy()
    found: NDArray[np.int64] = feature[table["alive"].to_numpy()].astype(np.int64)
    return found


def export(db: DuckDBPyConnection, folder: Path) -> None:
    """Write each table as Parquet, sorted; the same rows give the same bytes."""
    for table in TABLES:
        rows = db.sql(f"SELECT * FROM {table.name} ORDER BY {table.order}").to_arrow_table()
        write_parquet(folder / f"{table.name}.parquet", rows)


def _hidden_features(db: DuckDBPyConnection) -> list[int]:
    """Return the features that no search may show."""
    rows = db.execute("SELECT feature FROM features WHERE sensitive ORDER BY feature").fetchall()
    return [row[0] for row in rows]
