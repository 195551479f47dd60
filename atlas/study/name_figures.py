"""Figures of all names, each beside its null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.study import naming
from atlas.study.feature_names import Named, NamingInputs
from atlas.study.grading import TENTHS
from atlas.study.intervals import median_interval, wilson
from atlas.study.near_miss_names import name_holds, place_of

if TYPE_CHECKING:
    import pyarrow as pa

COMMAND = "atlas report"
RELIABLE = 0.85
"""The median AUROC that names are meant to reach."""


@dataclass(frozen=True, slots=True)
class NameFigure:
    """One figure of the report; fields as in the table metrics."""

    name: str
    value: float
    unit: str
    n: int
    null_value: float | None
    null_name: str
    command: str = COMMAND
    note: str = ""


SHUFFLED = "names of other features of like density"


def name_figures(named: Named) -> list[NameFigure]:
    """Return the figures of all names, medians over the features that get one."""
    kept = named.kept
    n = int(kept.sum())
    features = len(kept)
    if not n:
        return [NameFigure("names_share", 0.0, "share", features, None, "")]
    low, high = wilson(n, features)
    whole, shuffled = named.grades[-1], named.shuffled
    figures = [
        NameFigure(
            "names_share", n / features, "share", features, None, "",
            note=f"95 %: {low:.3f} to {high:.3f}; of the features that fire {naming.FEWEST_FIRINGS} times or more; the others' words tell their images from others too poorly",
        ),
        _median("names_auroc", named.grades[0].auroc[kept], shuffled[0].auroc[kept], SHUFFLED,
                "the first word alone, on images that did not choose it; 0.5 is chance"),
        _median("names_auroc_three_words", whole.auroc[kept], shuffled[1].auroc[kept], SHUFFLED,
                "the three words together; the second and third were chosen to separate images, which flatters them"),
        _median("names_auroc_of_all", named.grades[0].auroc, shuffled[0].auroc, SHUFFLED,
                "the first word of every feature, those without a name included"),
        _median("names_auroc_beside_random_images", named.grades[0].auroc[kept], named.random[0].auroc[kept],
                "the first word that as many random images choose", "the first word alone"),
        _median("names_auroc_three_words_beside_random_images", whole.auroc[kept], named.random[1].auroc[kept],
                "the three words that as many random images choose", "the three words together"),
        _median("names_auroc_beside_like_words", named.grades[0].auroc[kept], named.matched.auroc[kept],
                "a word of like frequency", "the first word alone"),
        NameFigure(
            "names_agree_with_cosine", float((named.chosen.cosine_ranks[kept] <= 10).mean()), "share", n,
            None, "", note="first words that are among the ten nearest by centered cosine alone",
        ),
    ]  # fmt: skip
    return [figure for figure in figures if not np.isnan(figure.value)]


def _median(
    name: str, values: NDArray[np.float64], null: NDArray[np.float64], null_name: str, what: str
) -> NameFigure:
    middle, low, high = median_interval(values)
    n = int((~np.isnan(values)).sum())
    note = f"median over features; 95 %: {low:.3f} to {high:.3f}; {what}"
    return NameFigure(name, middle, "AUROC", n, median_interval(null)[0], null_name, note=note)


def auroc_by_tenth(named: Named) -> list[dict[str, float | int]]:
    """Return the median AUROC of names for each tenth of their features' firings, weakest first."""
    kept = named.kept
    rows = []
    for tenth in range(TENTHS):
        values = named.grades[-1].tenths[kept, tenth]
        middle, low, high = median_interval(values)
        if not np.isnan(middle):
            null = median_interval(named.shuffled[1].tenths[kept, tenth])[0]
            first = median_interval(named.grades[0].tenths[kept, tenth])[0]
            n = int((~np.isnan(values)).sum())
            rows.append({"quantile": tenth, "features": n, "auroc": middle, "auroc_low": low,
                         "auroc_high": high, "first_word": first, "shuffled": null})  # fmt: skip
    return rows


def reliability_table(rows: Sequence[dict[str, float | int]]) -> pa.Table:
    """Return rows as the table name_reliability."""
    import pyarrow as pa

    shares = ("auroc", "auroc_low", "auroc_high", "first_word", "shuffled", "held", "held_shuffled")
    schema = pa.schema(
        [("quantile", pa.int32()), ("features", pa.int64())]
        + [(name, pa.float64()) for name in shares]
    )
    return pa.Table.from_pylist(list(rows), schema=schema)


def caption_figures(inputs: NamingInputs, named: Named) -> list[NameFigure]:
    """Return how often the judging side's own captions bear a name out."""
    kept = np.flatnonzero(named.kept)
    words = inputs.rows[named.chosen.words[kept, 0]] if len(kept) else np.empty(0, np.int64)
    base = inputs.captions.counts(inputs.judge, len(inputs.vocabulary.words)) / len(
        inputs.judge.images
    )
    shares, usual = [], []
    for at, word in zip(kept.tolist(), words.tolist(), strict=True):
        images = named.exam.firing[at][named.exam.places[at] < 1 / TENTHS]
        if len(images):
            shares.append(inputs.captions.has(images, np.full(len(images), word)).mean())
            usual.append(base[word])
    if not shares:
        return []
    return [
        NameFigure(
            "names_in_captions", float(np.mean(shares)), "share", len(shares), float(np.mean(usual)),
            "all images of the same side",
            note="images of the strongest tenth whose caption or tags hold the very word, mean over names; captions that trained nothing",
        )
    ]  # fmt: skip


def near_miss_figures(inputs: NamingInputs, named: Named, judged: pa.Table) -> list[NameFigure]:
    """Return how often a name holds where its feature stays silent, and who fires instead."""
    verdicts = np.array(judged["verdict"].to_pylist(), object)
    known = verdicts != None  # noqa: E711 - element by element
    if not known.any():
        return []
    missed = known & (verdicts != "negative")
    feature = np.asarray(judged["feature"]).astype(np.int64)[known]
    drawn = np.random.default_rng(inputs.settings.seed).integers(
        0, len(inputs.vectors), len(feature)
    )
    _, chance = name_holds(inputs, named, place_of(named, feature), drawn)
    n, n_missed = int(known.sum()), int(missed.sum())
    low, high = wilson(n_missed, n)
    suspects = int((verdicts == "absorption suspect").sum())
    figures = [
        NameFigure(
            "near_misses_where_name_holds", n_missed / n, "share", n, float(chance.mean()), "random images",
            note=f"95 %: {low:.3f} to {high:.3f}; recall that the feature misses, not counterexamples to its name",
        )
    ]  # fmt: skip
    if n_missed:
        low, high = wilson(suspects, n_missed)
        figures.append(
            NameFigure(
                "near_misses_absorption_suspect", suspects / n_missed, "share", n_missed, None, "",
                note=f"95 %: {low:.3f} to {high:.3f}; of those, a feature of like decoder direction fires instead",
            )
        )  # fmt: skip
    return figures
