"""Grading words: how well a word tells a feature's images from silent ones, on images that did not choose it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.sae.activations import FeatureActivations
from atlas.study.naming import DECIMALS, Side, blocks_of_features, strongest
from atlas.study.units import Units, unit_products

TENTHS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Grades:
    """How well names tell firing images from silent ones."""

    auroc: NDArray[np.float64]
    """(feature,) 0 to 1, 0.5 by chance; nan where there are too few images."""
    tenths: NDArray[np.float64]
    """(feature, 10) the same for each tenth of the firings, weakest first; nan where empty."""
    firing: NDArray[np.int64]
    """(feature,) images that fire and were graded."""
    silent: NDArray[np.int64]
    """(feature,) images that do not, and were."""


@dataclass(frozen=True, slots=True, eq=False)
class Exam:
    """The images on which the names of some features are graded."""

    features: NDArray[np.int64]
    firing: tuple[NDArray[np.int64], ...]
    """Of each feature images that fire, strongest first, evenly spaced by rank."""
    places: tuple[NDArray[np.float64], ...]
    """Of each of them its place among all firings of the side: 0 strongest, below 1."""
    others: NDArray[np.int64]
    """(image,) drawn from the side; those on which a feature fires are left out for it."""
    silent: tuple[NDArray[np.bool_], ...]
    """Of each feature which of the others do not fire."""


def make_exam(
    by_feature: FeatureActivations,
    features: NDArray[np.int64],
    side: Side,
    most_firing: int,
    most_silent: int,
    seed: int,
) -> Exam:
    """Draw the images that grade each feature's name: firing ones evenly, silent ones at random."""
    drawn = np.random.default_rng(seed).permutation(side.images)[:most_silent]
    others = np.sort(drawn)
    firing, places, silent = [], [], []
    for feature in features.tolist():
        ranked = strongest(by_feature, feature, side)
        kept = min(most_firing, len(ranked))
        at = (np.arange(kept) * len(ranked)) // max(kept, 1)
        firing.append(ranked[at])
        places.append(at / max(len(ranked), 1))
        silent.append(~np.isin(others, by_feature[feature][0], kind="sort"))
    return Exam(features, tuple(firing), tuple(places), others, tuple(silent))


def grade(exam: Exam, vectors: Units, directions: NDArray[np.float32]) -> Grades:
    """Grade names: how often a firing image scores above a silent one, ties counted half.

    Args:
        exam: Images of each feature.
        vectors: (image, d) centered unit embeddings.
        directions: (feature, d) of each name, in the exam's order.
    """
    n = len(exam.features)
    auroc, tenths = np.full(n, np.nan), np.full((n, TENTHS), np.nan)
    others = vectors[exam.others].astype(np.float64)
    for block in blocks_of_features(np.arange(n)):
        table = np.round(others @ directions[block].astype(np.float64).T, DECIMALS)
        firing = [exam.firing[row] for row in block.tolist()]
        ends = np.cumsum([0, *(len(images) for images in firing)])
        images = np.concatenate(firing or [np.empty(0, np.int64)])
        products = unit_products(vectors, images, directions, np.repeat(block, np.diff(ends)))
        for column, row in enumerate(block.tolist()):
            scores = np.round(products[ends[column] : ends[column + 1]], DECIMALS)
            silent = np.sort(table[exam.silent[row], column])
            if not len(scores) or not len(silent):
                continue
            above = _share_below(silent, scores)
            auroc[row] = above.mean()
            tenths[row] = _by_tenth(above, exam.places[row])
    counts = [np.array([len(a) for a in exam.firing]), np.array([a.sum() for a in exam.silent])]
    return Grades(auroc, tenths, *(c.astype(np.int64) for c in counts))


def _share_below(silent: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each score the share of ascending silent ones below it, ties counted half."""
    low = np.searchsorted(silent, scores, side="left")
    high = np.searchsorted(silent, scores, side="right")
    found: NDArray[np.float64] = (low + high) / (2 * len(silent))
    return found


def _by_tenth(above: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each tenth of the firings, weakest first."""
    tenth = TENTHS - 1 - np.minimum((places * TENTHS).astype(np.int64), TENTHS - 1)
    held = np.bincount(tenth, minlength=TENTHS)
    sums = np.bincount(tenth, weights=above, minlength=TENTHS)
    return np.where(held > 0, sums / np.maximum(held, 1), np.nan)


def matched_shuffle(counts: NDArray[np.int64], seed: int, group: int = 20) -> NDArray[np.int64]:
    """Return for each feature a random other one of like density, whose name it is given.

    Features are sorted by count and cut into groups; each group is turned round by a random
    step, so that no feature keeps its own name (a last one alone keeps it).
    """
    order = np.lexsort((np.arange(len(counts)), counts))
    rng = np.random.default_rng(seed)
    found = np.empty(len(counts), np.int64)
    for start in range(0, len(order), group):
        members = order[start : start + group]
        step = int(rng.integers(1, len(members))) if len(members) > 1 else 0
        found[members] = np.roll(members, step)
    return found


def matched_words(
    words: NDArray[np.int64], n_words: int, seed: int, reach: int = 50
) -> NDArray[np.int64]:
    """Return for each word another within so many places of it: words lie by frequency."""
    rng = np.random.default_rng(seed)
    step = rng.integers(1, reach + 1, words.shape) * rng.choice([-1, 1], words.shape)
    other = np.abs(words + step)
    other = np.where(other >= n_words, 2 * (n_words - 1) - other, other)
    found: NDArray[np.int64] = np.where(words < 0, -1, np.clip(other, 0, n_words - 1))
    return found
