"""What the catalog must not hold: texts of withheld images, names of withheld features, what is taken down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.base.files import write_json
from atlas.inputs.takedown import TakenDown, find_taken_down, read_takedown
from atlas.run.stage import Job
from atlas.settings.paths import TAKEN_DOWN

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LINES_SHOWN = 5
NOTHING = TakenDown(np.empty(0, np.int64), np.empty(0, np.int64), (), ())


def take_down(db: DuckDBPyConnection, job: Job) -> TakenDown:
    """Make the tables gone_images and gone_features, note the hashes of the list, and say what it is about.

    Raises:
        ConfigError: The list is malformed.
    """
    import pyarrow as pa

    found = NOTHING
    if "takedown" in job.inputs:
        entries = read_takedown(job.inputs["takedown"])
        found = find_taken_down(entries, job.inputs["embed"])
        hashes = sorted({entry.digest() for entry in entries})
        write_json(job.out_dir / TAKEN_DOWN, {"sha256": hashes})
        _report(job, found)
    for name, numbers in (("image", found.images), ("feature", found.features)):
        db.register("gone", pa.table({name: pa.array(numbers, pa.int64())}))
        db.execute(f"CREATE TEMP TABLE gone_{name}s AS SELECT * FROM gone")
        db.unregister("gone")
    return found


def _report(job: Job, found: TakenDown) -> None:
    lines = ", ".join(map(str, found.unmatched[:LINES_SHOWN]))
    more = "" if len(found.unmatched) <= LINES_SHOWN else " and others"
    unmatched = f"; about no image: lines {lines}{more}" if found.unmatched else ""
    job.progress.say(
        f"  takedown: {len(found.images):,} images and {len(found.features):,} features{unmatched}"
    )


def drop_labels(db: DuckDBPyConnection, found: TakenDown) -> None:
    """Delete the labels of withheld features, and those that hold a text which was taken down."""
    db.execute("DELETE FROM labels WHERE feature IN (SELECT feature FROM features WHERE sensitive)")
    for text in found.captions:
        db.execute("DELETE FROM labels WHERE contains(lower(label), ?)", [text])
    # Ranks without gaps: rank 0 is the name.
    db.execute(
        """UPDATE labels SET rank = placed.place FROM (
               SELECT feature, rank, row_number() OVER (PARTITION BY feature ORDER BY rank) - 1 AS place
               FROM labels) placed
           WHERE labels.feature = placed.feature AND labels.rank = placed.rank
                 AND labels.rank <> placed.place"""
    )
