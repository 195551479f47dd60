"""The stage's tables: icons, replicates, side effects and strips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from atlas.base.largest import largest
from atlas.icons.drawing import DrawingModels
from atlas.icons.judging import Judged, collect, on_intended, percentiles
from atlas.icons.roundtrip import Natural, own_activations
from atlas.icons.subjects import GAINS, OTHER_GAINS, Subjects
from atlas.run.stage import Job

if TYPE_CHECKING:
    import pyarrow as pa

SIDE_EFFECTS = 6


def webps_of(tables: Sequence[pa.Table]) -> list[bytes]:
    """Return the pictures of all sheets, one after the other."""
    return [webp for table in tables for webp in table["webp"].to_pylist()]


def icon_table(
    job: Job,
    models: DrawingModels,
    subjects: Subjects,
    drawn: dict[str, list[pa.Table]],
    found: Judged,
) -> pa.Table:
    """Return the table icons: each icon with its round trip."""
    import pyarrow as pa

    trips = found.trips
    return pa.table(
        {
            "feature": pa.array(subjects.features, pa.int32()),
            "webp": pa.array(webps_of(drawn["icons"]), pa.binary()),
            "strength": subjects.strengths,
            "moved": subjects.moved.astype(np.float32),
            "on_template": found.on_template,
            "on_intended": on_intended(models.sae, subjects),
            "on_icon": trips.activation,
            "percentile": percentiles(job, subjects.features, trips.activation),
            "icon_rank": trips.rank.astype(np.int32),
            "p": trips.p,
            "passes": trips.passes,
            "seeds": found.seeds,
            "verdict": pa.array(found.verdict.tolist(), pa.string()),
        }
    )


def replicate_table(
    subjects: Subjects, drawn: dict[str, list[pa.Table]], found: Judged
) -> pa.Table:
    """Return the table of what the sample is held against: other seeds, random directions, near pictures."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "feature": pa.int32(),
            "seed": pa.int32(),
            "webp": pa.binary(),
            "on_icon": pa.float32(),
            "icon_rank": pa.int32(),
            "p": pa.float64(),
            "verdict": pa.string(),
        }
    )
    parts = [
        pa.table(
            [
                pa.array(subjects.features[subjects.sample], pa.int32()),
                pa.array(np.full(len(subjects.sample), seed), pa.int32()),
                pa.array(webps_of(drawn[f"seed-{seed}"]), pa.binary()),
                pa.array(trips.activation),
                pa.array(trips.rank, pa.int32()),
                pa.array(trips.p),
                pa.array(trips.verdict.tolist(), pa.string()),
            ],
            schema=schema,
        )
        for seed, trips in found.replicates.items()
    ]
    return pa.concat_tables([schema.empty_table(), *parts])


def side_effects(subjects: Subjects, found: Judged, natural: Natural) -> pa.Table:
    """Return for each icon the other features whose activation changed most against the template.

    The change is in units of the other feature's 99th percentile, so that features compare.
    """
    import pyarrow as pa

    on_template = found.on_template
    feature, rank, other, on_icon = [], [], [], []
    starts = np.searchsorted(found.fired.icon, np.arange(len(subjects.features) + 1))
    for place in range(len(subjects.features)):
        span = slice(*starts[place : place + 2])
        here = np.zeros(len(on_template), np.float32)
        here[found.fired.feature[span]] = found.fired.activation[span]
        change = (here - on_template) / natural.q99
        change[place] = 0
        order = largest(np.abs(change), SIDE_EFFECTS)
        order = order[change[order] != 0]
        feature.append(np.full(len(order), subjects.features[place]))
        rank.append(np.arange(len(order)))
        other.append(order)
        on_icon.append(here[order])
    places = np.concatenate([np.zeros(0, np.int64), *other])
    return pa.table(
        {
            "feature": pa.array(np.concatenate([np.zeros(0, np.int64), *feature]), pa.int32()),
            "rank": pa.array(np.concatenate([np.zeros(0, np.int64), *rank]), pa.int32()),
            "other": pa.array(subjects.features[places], pa.int32()),
            "on_icon": np.concatenate([np.zeros(0, np.float32), *on_icon]),
            "on_template": on_template[places],
        }
    )


def strip_table(subjects: Subjects, drawn: dict[str, list[pa.Table]], found: Judged) -> pa.Table:
    """Return the table strips: each strip step with its picture and what it activates."""
    import pyarrow as pa

    fired = collect(drawn["strips"], subjects.features)
    whose = np.repeat(subjects.strips, len(OTHER_GAINS))
    own = own_activations(fired, whose)
    icons, others = webps_of(drawn["icons"]), iter(zip(own, webps_of(drawn["strips"]), strict=True))
    rows = []
    for place in subjects.strips:
        for step, gain in enumerate(GAINS):
            itself = (found.trips.activation[place], icons[place])
            on_icon, webp = itself if gain == 1 else next(others)
            rows.append(
                {
                    "feature": subjects.features[place],
                    "step": step,
                    "strength": subjects.strengths[place] * np.float32(gain),
                    "on_icon": on_icon,
                    "webp": webp,
                }
            )
    schema = pa.schema(
        {
            "feature": pa.int32(),
            "step": pa.int32(),
            "strength": pa.float32(),
            "on_icon": pa.float32(),
            "webp": pa.binary(),
        }
    )
    return pa.Table.from_pylist(rows, schema)
