"""Figures of the icons, each beside its null."""

from __future__ import annotations

from typing import Any

from atlas.icons.judging import Judged
from atlas.icons.roundtrip import MOST_RANK
from atlas.icons.second_encoder import SecondJudgment
from atlas.icons.subjects import Subjects
from atlas.run.stage import Job

COMMAND = "atlas build CONFIG icons"


def icon_figures(
    job: Job, subjects: Subjects, found: Judged, look: SecondJudgment | None
) -> list[dict[str, Any]]:
    """Return the figures for the report, each beside its baseline."""
    n, m = len(subjects.features), len(subjects.sample)
    circular = "the same encoder conditions and judges: never proof that an icon shows its feature"
    swapped = "each feature judged by another one's icon"
    trips, others = found.trips, found.swapped
    rows: list[tuple[str, float, int, float, str, str]] = []
    if n:
        rows += [
            ("icons_round_trip_shown", (found.verdict == "shown").mean(), n,
             (others.verdict == "shown").mean(), swapped, circular),
            ("icons_feature_among_ten_strongest", (trips.rank <= MOST_RANK).mean(), n,
             (others.rank <= MOST_RANK).mean(), swapped, circular),
            ("icons_feature_fires", (trips.activation > 0).mean(), n,
             (others.activation > 0).mean(), swapped, circular),
        ]  # fmt: skip
    if m:
        strong = "as strong as the feature's median firing and among its picture's ten strongest"
        random = "pictures of random directions of the same length"
        rows += [
            ("icons_strong", trips.strong[subjects.sample].mean(), m,
             found.random.strong.mean(), random, strong),
            ("nearest_pictures_strong", found.nearest_trips.strong.mean(), m,
             found.random.strong.mean(), random,
             f"{strong}; the image nearest to the icon's embedding in the icon's place"),
            ("icons_shown_in_every_seed", (found.verdict[subjects.sample] == "shown").mean(), m,
             (others.verdict[subjects.sample] == "shown").mean(), swapped,
             f"{1 + len(found.replicates)} seeds"),
        ]  # fmt: skip
    if look is not None:
        asked = "a second encoder's features of icon and top images, cosine; it did not draw them"
        if job.settings.second_layer == "trunk":
            asked += "; its network is the first encoder's, without the trained last map"
        rows += [
            ("icons_two_choice", look.two_choice, m, look.null_two_choice,
             "icons shuffled among the features",
             f"which of two icons belongs to one feature's top images: {asked}"),
            ("nearest_pictures_two_choice", look.nearest_two_choice, m, look.null_two_choice,
             "icons shuffled among the features",
             f"the same with the nearest image in each icon's place: {asked}"),
            ("icons_auc", look.auc, m, look.null_auc, "icons shuffled among the features",
             f"icon to its own against another feature's top images: {asked}"),
        ]  # fmt: skip
    return [
        {
            "name": name,
            "value": float(value),
            "unit": "share",
            "n": count,
            "null_value": float(null),
            "null_name": null_name,
            "command": COMMAND,
            "note": note,
        }
        for name, value, count, null, null_name, note in rows
    ]
