"""Recurring concepts: groups of different images with similar centers.

A concept's center is the unit sum of its features' unit decoder directions times their
activations. A recurring concept is a direction to which the centers of many images' concepts
lie close.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.base.largest import largest

ROWS_AT_ONCE = 1024


def concept_centers(
    directions: NDArray[np.float32],
    features: NDArray[np.int64],
    activations: NDArray[np.float32],
    concepts: NDArray[np.int64],
    n_concepts: int,
) -> NDArray[np.float32]:
    """Return the unit center of each concept (concept, d).

    Args:
        directions: (feature, d) unit decoder directions of the whole SAE.
        features: (firing,) which feature fires.
        activations: (firing,) how strongly.
        concepts: (firing,) which concept it is in, 0 to n_concepts - 1, none without any.
        n_concepts: How many there are.
    """
    order = np.argsort(concepts, kind="stable")
    starts = np.searchsorted(concepts[order], np.arange(n_concepts + 1))
    found = np.empty((n_concepts, directions.shape[1]), np.float32)
    for first in range(0, n_concepts, ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, n_concepts)
        mine = order[starts[first] : starts[last]]
        rows = directions[features[mine]] * activations[mine, None]
        found[first:last] = np.add.reduceat(rows, starts[first:last] - starts[first], axis=0)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    found /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def find_recurring(
    centers: NDArray[np.float32], images: NDArray[np.int64], cosine: float, most: int
) -> NDArray[np.float32]:
    """Return (recurring, d) the unit directions near which most images have a concept.

    The concepts are gone through in order; each that is near no earlier one founds a direction.
    Those of two or more images are kept, and each is moved to the mean of the concepts that are
    nearest to it. The direction of the most images comes first.

    Args:
        centers: (concept, d) unit.
        images: (concept,) which image each is of.
        cosine: Least cosine at which a concept is near a direction.
        most: Directions kept.
    """
    founders = _founders(centers, cosine)
    nearest, _ = match(centers, centers[founders], cosine)
    near = nearest >= 0
    pairs = np.unique(np.stack([nearest[near], images[near]]), axis=1)
    n_images = np.bincount(pairs[0], minlength=len(founders))
    kept = np.argsort(-n_images, kind="stable")[:most]
    kept = kept[n_images[kept] >= 2]
    found = (
        np.stack([centers[nearest == k].sum(axis=0, dtype=np.float64) for k in kept])
        if len(kept)
        else np.empty((0, centers.shape[1]))
    )
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (found / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _founders(centers: NDArray[np.float32], cosine: float) -> NDArray[np.int64]:
    """Return the concepts, in order, that lie near none of those before them."""
    found: list[int] = []
    for first in range(0, len(centers), ROWS_AT_ONCE):
        block = centers[first : first + ROWS_AT_ONCE]
        new = np.arange(len(block))
        if found:
            new = new[(block @ centers[found].T).max(axis=1) < cosine]
        among = block[new] @ block[new].T
        alone = np.ones(len(new), bool)
        for i in range(len(new)):
            if alone[i]:
                alone[i + 1 :] &= among[i, i + 1 :] < cosine
        found += (first + new[alone]).tolist()
    return np.array(found, np.int64)


def match(
    centers: NDArray[np.float32], recurring: NDArray[np.float32], cosine: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each concept's nearest recurring one, or -1 where none is near, and the cosine."""
    nearest = np.full(len(centers), -1)
    similar = np.zeros(len(centers), np.float32)
    if not len(recurring):
        return nearest, similar
    for first in range(0, len(centers), ROWS_AT_ONCE):
        cosines = centers[first : first + ROWS_AT_ONCE] @ recurring.T
        best = cosines.argmax(axis=1)
        span = slice(first, first + len(best))
        similar[span] = cosines[np.arange(len(best)), best]
        nearest[span] = np.where(similar[span] >= cosine, best, -1)
    return nearest, similar


def nearest_elsewhere(
    centers: NDArray[np.float32],
    images: NDArray[np.int64],
    others: NDArray[np.float32],
    other_images: NDArray[np.int64],
    n: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (concept, n) the nearest concepts of other images, -1 where none is left, and cosines."""
    n = min(n, len(others))
    found = np.empty((len(centers), n), np.int64)
    similar = np.empty((len(centers), n), np.float32)
    for first in range(0, len(centers), ROWS_AT_ONCE // 8):
        span = slice(first, first + ROWS_AT_ONCE // 8)
        cosines = centers[span] @ others.T
        cosines[images[span, None] == other_images] = -2
        near = np.stack([largest(row, n) for row in cosines])
        similar[span] = np.take_along_axis(cosines, near, axis=1)
        found[span] = np.where(similar[span] < -1.5, -1, near)
    return found, similar


def cover(
    starts: NDArray[np.int64],
    features: NDArray[np.int64],
    shares: NDArray[np.float64],
    n_features: int,
    n: int,
) -> list[int]:
    """Return up to n images that together show as many features as strongly as possible.

    Greedy: each next one adds most to the sum over features of the greatest share so far; of
    equal ones the first.

    Args:
        starts: (image + 1,) where each image begins in the arrays below; none is empty.
        features: (firing,) which feature fires.
        shares: (firing,) its activation over its largest anywhere, 0 to 1.
        n_features: Features of the SAE.
        n: Images wanted.
    """
    shown = np.zeros(n_features)
    chosen: list[int] = []
    for _ in range(min(n, len(starts) - 1)):
        gains = np.add.reduceat(np.maximum(shares - shown[features], 0), starts[:-1])
        gains[chosen] = -1
        best = int(gains.argmax())
        chosen.append(best)
        mine = slice(starts[best], starts[best + 1])
        np.maximum.at(shown, features[mine], shares[mine])
    return chosen
