"""Clusters of features at three levels, and the words that tell one cluster from the rest.

The finest level is spherical k-means of the decoder directions; each coarser one groups the
centers of the one below, so that every cluster lies whole in its parent. Cosines are rounded
before they decide, so that the last bit, which depends on threads, never does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.base.text import plain_words

LEVELS = 3
"""0 the coarsest."""
MOST_ROUNDS = 30
DIGITS = 9
"""Decimals of a cosine that count."""
ROWS_PER_BLOCK = 8192
SHORTEST_WORD = 3
EMPTY_WORDS = frozenset({"and", "for", "from", "the", "with"})
LABEL_WORDS = 2
FEWEST_NAMED = 2
"""Members that must have a word before it speaks for the cluster."""
WORD_SHARE = 0.1
"""Members that each word must add, as a share."""


def cluster_levels(directions: NDArray[np.float32], seed: int) -> list[NDArray[np.int64]]:
    """Return each direction's cluster at every level, the coarsest first.

    n directions make about n^(1/4), n^(2/4) and n^(3/4) clusters: each level divides the one
    above by the same factor. Clusters are numbered by size, the largest first.

    Args:
        directions: (feature, d) of length 1.
        seed: Of the centers that each level begins with.
    """
    n = len(directions)
    counts = [max(1, round(n ** (level / 4))) for level in (3, 2, 1)]
    points: NDArray[np.float64] = directions.astype(np.float64)
    weights = np.ones(n)
    labels = np.arange(n)
    levels = []
    for count in counts:
        found, centers = spherical_k_means(points, weights, count, np.random.default_rng(seed))
        labels = found[labels]
        levels.append(_by_size(labels))
        points = centers
        weights = np.bincount(found, weights, len(centers)).astype(np.float64)
    return levels[::-1]


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Renumber clusters: the largest first, of equal ones the one with the first member."""
    _, first, inverse, counts = np.unique(
        labels, return_index=True, return_inverse=True, return_counts=True
    )
    place = np.empty(len(counts), np.int64)
    place[np.lexsort((first, -counts))] = np.arange(len(counts))
    return place[inverse]


def spherical_k_means(
    points: NDArray[np.float64], weights: NDArray[np.float64], k: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (cluster of each point, (cluster, d) centers of length 1); no cluster is empty.

    Args:
        points: (point, d) of length 1.
        weights: (point,) greater than 0.
        k: Clusters; fewer where there are fewer different points.
        random: Draws the first centers (k-means++).
    """
    centers = points[_first_centers(points, weights, k, random)]
    labels = np.full(len(points), -1)
    for _ in range(MOST_ROUNDS):
        found = _nearest(points, centers)
        if (found == labels).all():
            break
        labels = found
        sums = np.zeros_like(centers)
        np.add.at(sums, labels, weights[:, None] * points)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centers = np.where(lengths > 0, sums / np.maximum(lengths, 1e-30), centers)
    kept, labels = np.unique(labels, return_inverse=True)
    return labels, centers[kept]


def _nearest(points: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.int64]:
    labels = np.empty(len(points), np.int64)
    for start in range(0, len(points), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        labels[rows] = np.round(points[rows] @ centers.T, DIGITS).argmax(axis=1)
    return labels


def _first_centers(
    points: NDArray[np.float64], weights: NDArray[np.float64], k: int, random: np.random.Generator
) -> list[int]:
    chosen: list[int] = []
    far = np.ones(len(points))
    while len(chosen) < min(k, len(points)):
        worth = np.cumsum(weights * far)
        if worth[-1] <= 0:  # every other point equals a chosen one
            break
        chosen.append(int(np.searchsorted(worth, random.random() * worth[-1], side="right")))
        far = np.minimum(far, np.maximum(1 - np.round(points @ points[chosen[-1]], DIGITS), 0))
        far[chosen] = 0
    return chosen


@dataclass(frozen=True, slots=True)
class ClusterName:
    """Words that speak for a cluster."""

    label: str
    """Empty where no word does."""
    share: float
    """Of the members, those with one of the words in a label, 0 to 1."""
    null_share: float
    """The same of all features."""


def name_cluster(
    members: Sequence[int], words: Mapping[int, frozenset[str]], common: Mapping[str, int]
) -> ClusterName:
    """Return the words that many members have and few other features.

    The first word has the largest share times log of share over everybody's share; a further
    one must do the same among the members that are still without.

    Args:
        members: Features of the cluster.
        words: Feature -> the words that speak for it; features without any may be left out.
        common: Word -> how many features have it.
    """
    chosen: list[str] = []
    left = [words.get(feature, frozenset()) for feature in members]
    everyone = max(len(words), 1)
    while len(chosen) < LABEL_WORDS:
        counts = Counter(word for held in left for word in held)
        fewest = max(FEWEST_NAMED, WORD_SHARE * len(members))
        worth = {
            word: count / len(members) * np.log(count / len(members) * everyone / common[word])
            for word, count in counts.items()
            if count >= fewest and count * everyone > common[word] * len(members)
        }
        if not worth:
            break
        chosen.append(min(worth, key=lambda word: (-round(worth[word], DIGITS), word)))
        left = [held for held in left if chosen[-1] not in held]
    held_by_all = sum(any(word in held for word in chosen) for held in words.values())
    return ClusterName(
        ", ".join(chosen),
        1 - len(left) / len(members) if chosen else 0.0,
        held_by_all / everyone if chosen else 0.0,
    )


def label_words(label: str) -> frozenset[str]:
    """Return the words of a label that may speak for a cluster."""
    return frozenset(
        word
        for word in plain_words(label)
        if len(word) >= SHORTEST_WORD and not word.isdigit() and word not in EMPTY_WORDS
    )
