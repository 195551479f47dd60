"""What the catalog must not hold: texts of withheld images, names of withheld features, what is taken down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.base.files import write_json
from atlas.base.text import holds_any
from atlas.catalog.insert import in_sql
from atlas.catalog.suspected import find_suspects
from atlas.inputs.review import (
    SHOW,
    UNSURE,
    WITHHOLD,
    Decided,
    match_decisions,
    read_decisions,
)
from atlas.inputs.takedown import TakenDown, find_taken_down, read_takedown
from atlas.run.stage import Job
from atlas.settings.paths import TAKEN_DOWN

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LINES_SHOWN = 5
NOTHING = TakenDown(np.empty(0, np.int64), np.empty(0, np.int64), (), (), {})


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


def list_unsafe(db: DuckDBPyConnection, job: Job) -> None:
    """Make the table unsafe_images: what a mark or a phrase withholds, unless the owner decided otherwise.

    Raises:
        ConfigError: The owner's decisions are malformed.
    """
    import pyarrow as pa

    table, decided = job.inputs["embed"] / "images.parquet", Decided({}, ())
    if "review" in job.inputs:
        decided = match_decisions(read_decisions(job.inputs["review"]), table)
        shown, hidden = decided.having(SHOW), decided.having(WITHHOLD, UNSURE)
        job.progress.say(
            f"  review: {len(shown):,} images to show, {len(hidden):,} to withhold"
            f"{_about_nothing(decided.unmatched)}"
        )
    what = pa.table(
        {
            "image": pa.array(decided.images.keys(), pa.int64()),
            "shown": pa.array([one == SHOW for one in decided.images.values()], pa.bool_()),
        }
    )
    db.register("decided", what)
    db.register("suspects", pa.table({"image": pa.array(find_suspects(job), pa.int64())}))
    db.execute(
        f"""CREATE TEMP TABLE unsafe_images AS
            SELECT image FROM '{in_sql(table)}' WHERE sensitive
            UNION SELECT image FROM suspects
            EXCEPT SELECT image FROM decided WHERE shown
            UNION SELECT image FROM decided WHERE NOT shown"""
    )
    db.unregister("decided")
    db.unregister("suspects")


def _about_nothing(lines: Sequence[int]) -> str:
    """Return which lines of a list are about no image; empty if each is."""
    shown = ", ".join(map(str, lines[:LINES_SHOWN]))
    more = "" if len(lines) <= LINES_SHOWN else " and others"
    return f"; about no image: lines {shown}{more}" if lines else ""


def _report(job: Job, found: TakenDown) -> None:
    job.progress.say(
        f"  takedown: {len(found.images):,} images and {len(found.features):,} features"
        f"{_about_nothing(found.unmatched)}"
    )


NAMED = (("labels", "label"), ("names", "label"), ("names", "name"))
"""Files of the names stage, and the columns of texts that the catalog takes from them."""


def list_gone_labels(db: DuckDBPyConnection, job: Job, found: TakenDown) -> None:
    """Make the table gone_labels: of images and names, what holds a text that was taken down."""
    import pyarrow as pa

    gone: list[str] = []
    if found.captions:
        texts = set(_label_texts(db, job))
        gone = sorted(text for text in texts if holds_any(text, found.captions))
    db.register("gone", pa.table({"label": pa.array(gone, pa.string())}))
    db.execute("CREATE TEMP TABLE gone_labels AS SELECT * FROM gone")
    db.unregister("gone")


def _label_texts(db: DuckDBPyConnection, job: Job) -> Iterator[str]:
    queries = ["SELECT DISTINCT unnest(terms) FROM images"]
    if "names" in job.inputs:
        folder = in_sql(job.inputs["names"])
        queries += [f"SELECT DISTINCT {of} FROM '{folder}/{file}.parquet'" for file, of in NAMED]
    for query in queries:
        yield from (text for (text,) in db.execute(query).fetchall() if text)
