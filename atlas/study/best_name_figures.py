"""Figures of the names that texts bear out, each beside its null, and how they hold tenth by tenth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from atlas.study.best_names import BestName, enough, share_of
from atlas.study.caption_names import FEWEST_STRONG, HOLDS, STRONG, Pool, choose_words
from atlas.study.grading import TENTHS, matched_shuffle
from atlas.study.intervals import wilson
from atlas.study.name_figures import NameFigure
from atlas.study.naming import Side

SHUFFLED = "names of other features of like density"
RANDOM_SETS = 256
"""Sets of random images on which the same choice is made."""


def best_name_figures(
    names: Sequence[BestName],
    pool: Pool,
    near: Mapping[int, NDArray[np.int64]],
    counts: NDArray[np.int64],
    seed: int,
) -> list[NameFigure]:
    """Return how many features have a name, on how many it is right, and how it does on near misses.

    Args:
        names: The names that were judged.
        pool: The images.
        near: Feature -> its near misses.
        counts: (feature,) images on which each fires.
        seed: Seed of the nulls.
    """
    judged = [name for name in names if name.strong is not None]
    live = int((counts > 0).sum())
    if not judged or not live:
        return []
    holders = pool.texts.holders({name.label for name in judged})
    other = matched_shuffle(counts[[name.feature for name in judged]], seed)
    dealt = [holders[judged[at].label] for at in other.tolist()]
    own = [holders[name.label] for name in judged]
    low, high = wilson(len(names), live)
    return [
        NameFigure("names_share", len(names) / live, "share", live,
                   _named_by_chance(pool, seed), f"the same choice on {STRONG} random images",
                   note=f"95 %: {low:.3f} to {high:.3f}; live features with a name; the others' best guesses are borne out too poorly"),
        _right("names_right", judged, own, dealt, pool, pool.choose, live,
               "of the images that chose it"),
        _right("names_right_unseen", judged, own, dealt, pool, pool.judge, live,
               "of the images that had no say in it, where only more general words can hold"),
        *_against_near_misses(judged, own, dealt, pool, near),
    ]  # fmt: skip


def _right(
    figure: str,
    names: Sequence[BestName],
    own: Sequence[NDArray[np.int64]],
    dealt: Sequence[NDArray[np.int64]],
    pool: Pool,
    side: Side,
    live: int,
    which: str,
) -> NameFigure:
    strong = [pool.strongest(name.feature, side)[:STRONG] for name in names]
    right, null = (
        sum((enough(images, held) or 0.0) >= HOLDS for images, held in zip(strong, lists, strict=True))
        for lists in (own, dealt)
    )  # fmt: skip
    low, high = wilson(right, live)
    note = f"95 %: {low:.3f} to {high:.3f}; live features whose name is in the caption or tags of half or more of their {STRONG} strongest images, {which}"
    return NameFigure(figure, right / live, "share", live, null / live, SHUFFLED, note=note)


def _named_by_chance(pool: Pool, seed: int) -> float:
    """Return the share of sets of random images that get a name by the same choice."""
    side = pool.own(pool.choose)
    rng = np.random.default_rng(seed)
    if len(side.images) < FEWEST_STRONG:
        return 0.0
    size = min(STRONG, len(side.images))
    sets = {n: rng.choice(side.images, size, replace=False) for n in range(RANDOM_SETS)}
    words = choose_words(pool, sets).values()
    return sum(any(word.good for word in found) for found in words) / RANDOM_SETS


def _against_near_misses(
    names: Sequence[BestName],
    own: Sequence[NDArray[np.int64]],
    dealt: Sequence[NDArray[np.int64]],
    pool: Pool,
    near: Mapping[int, NDArray[np.int64]],
) -> list[NameFigure]:
    values, nulls = [], []
    for name, held, other in zip(names, own, dealt, strict=True):
        strong = pool.strongest(name.feature, pool.judge)[:STRONG]
        missed = near.get(name.feature, np.empty(0, np.int64))
        if len(strong) and len(missed):
            values.append(_told(strong, missed, held))
            nulls.append(_told(strong, missed, other))
    if not values:
        return []
    return [
        NameFigure(
            "names_tell_near_misses", float(np.mean(values)), "AUROC", len(values),
            float(np.mean(nulls)), SHUFFLED,
            note="how often the name is in the text of a strong image and not in that of a near miss, ties counted half; 0.5 is chance; strong images that had no say in the name, mean over names",
        )
    ]  # fmt: skip


def _told(strong: NDArray[np.int64], near: NDArray[np.int64], held: NDArray[np.int64]) -> float:
    return 0.5 + ((share_of(strong, held) or 0.0) - (share_of(near, held) or 0.0)) / 2


def held_by_tenth(
    names: Sequence[BestName], pool: Pool, counts: NDArray[np.int64], seed: int
) -> list[dict[str, float | int]]:
    """Return for each tenth of the judging half's firings, weakest first, how often names hold."""
    judged = [name for name in names if name.strong is not None]
    if not judged:
        return []
    holders = pool.texts.holders({name.label for name in judged})
    other = matched_shuffle(counts[[name.feature for name in judged]], seed).tolist()
    sums = np.zeros((TENTHS, 3))
    for name, dealt in zip(judged, other, strict=True):
        fires = pool.strongest(name.feature, pool.judge)[::-1]
        if len(fires) < TENTHS:
            continue
        lists = holders[name.label], holders[judged[dealt].label]
        for tenth, images in enumerate(np.array_split(fires, TENTHS)):
            sums[tenth] += [1, *(np.isin(images, held).mean() for held in lists)]
    return [
        {"quantile": tenth, "features": int(n), "held": own / n, "held_shuffled": null / n}
        for tenth, (n, own, null) in enumerate(sums.tolist())
        if n
    ]
