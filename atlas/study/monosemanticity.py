"""Monosemanticity: how similar the images of one feature are to another encoder.

The published score (Pach et al., arXiv 2504.02821): the mean cosine over all pairs of images,
each pair weighted by the product of the two activations. Over vectors e of length 1 and
activations a it needs no pairs: (|sum a e|^2 - sum a^2) / ((sum a)^2 - sum a^2). A factor on
all activations changes nothing, so scaling them to 0 .. 1 first, as published, is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from atlas.study.units import Units

DIRECTIONS_PER_BLOCK = 16
RESAMPLES = 1000
DIGEST_BYTES = 16


def monosemanticity(vectors: NDArray[np.float32], activations: NDArray[np.float64]) -> float:
    """Return the mean cosine of pairs of images, weighted by both activations; -1 to 1.

    Args:
        vectors: (image, d) of length 1.
        activations: (image,) at least 0.

    Returns:
        NaN where fewer than two images are activated: they make no pair.
    """
    squares = float(activations @ activations)
    weight = float(activations.sum()) ** 2 - squares
    if (activations > 0).sum() < 2:
        return float("nan")
    total = np.einsum("i,id->d", activations, vectors, dtype=np.float64)
    return (float(total @ total) - squares) / weight


def first_copies(blocks: Iterable[NDArray[np.generic]]) -> NDArray[np.bool_]:
    """Return (row,) whether a row is the first of all that are equal to it, byte by byte.

    Args:
        blocks: (row, d) each, one after the other.
    """
    digests = [
        hashlib.blake2b(row.tobytes(), digest_size=DIGEST_BYTES).digest()
        for block in blocks
        for row in block
    ]
    keys = np.frombuffer(b"".join(digests), np.dtype((np.void, DIGEST_BYTES)))
    _, first = np.unique(keys, return_index=True)
    found = np.zeros(len(keys), bool)
    found[first] = True
    return found


def score_features(
    firings: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    vectors: Units,
    counted: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the score of every feature; NaN where it has no pair of images.

    Args:
        firings: (images, activations) of each feature.
        vectors: (image, d) of length 1, in the other encoder.
        counted: (image,) false where an image is a copy of an earlier one.
    """
    found = []
    for images, activations in firings:
        kept = counted[images]
        found.append(monosemanticity(vectors[images[kept]], activations[kept].astype(np.float64)))
    return np.array(found, np.float64)


def cut_at_density(
    values: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (images ascending, how far above the rest) of the so many largest values."""
    order = np.lexsort((np.arange(len(values)), -values))
    rest = values[order[count]] if count < len(values) else values[order[-1]]
    images = np.sort(order[:count])
    return images, values[images] - rest


def random_directions(
    centered: NDArray[np.float32], counts: NDArray[np.int64], seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield what random directions would fire on, each on as many images as a feature does.

    Args:
        centered: (image, d) embeddings without their mean.
        counts: (direction,) images of each.
        seed: Of the directions.
    """
    random = np.random.default_rng(seed)
    for start in range(0, len(counts), DIRECTIONS_PER_BLOCK):
        some = counts[start : start + DIRECTIONS_PER_BLOCK]
        directions = random.standard_normal((len(some), centered.shape[1]), np.float32)
        for values, count in zip((centered @ directions.T).T, some.tolist(), strict=True):
            yield cut_at_density(values, count)


def raw_dimensions(
    centered: NDArray[np.float32], counts: NDArray[np.int64], seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield what the embedding's own dimensions would fire on, each side of each as a neuron.

    Args:
        centered: (image, d) embeddings without their mean.
        counts: (neuron,) images of each; neurons beyond 2 d begin again.
        seed: Of the order in which neurons are taken.
    """
    order = np.random.default_rng(seed).permutation(2 * centered.shape[1])
    for place, count in enumerate(counts.tolist()):
        neuron = int(order[place % len(order)])
        side = np.float32(1 - 2 * (neuron % 2))
        yield cut_at_density(side * centered[:, neuron // 2], count)


def interval_of_mean(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean: bootstrap over the values given."""
    random = np.random.default_rng(seed)
    n = len(values)
    means = [values[random.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
