"""What screens have in common: what they need, what they return, and the bound that makes them safe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import squared_lengths

FEATURES_PER_BLOCK = 4096
"""Features multiplied at once: with 1,024 images a block of 16 MB."""
SINGLE = 2.0**-24
"""Largest relative error of rounding to float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """What is to be found: products of inputs with the rows of a matrix that are large enough."""

    weights: NDArray[np.float32]
    """(feature, dimension)."""
    product: NDArray[np.float64]
    """(feature,) what the product must exceed for the feature to fire."""
    lengths: NDArray[np.float64]
    """(feature,) lengths of the rows of weights."""

    def some(self, features: NDArray[np.int64]) -> Needs:
        """Return the same of fewer features."""
        return Needs(self.weights[features], self.product[features], self.lengths[features])


@dataclass(frozen=True, slots=True)
class Pairs:
    """What could fire in one block of features, ordered by row."""

    first: int
    """First feature of the block."""
    rows: NDArray[np.int64]
    """(pair,)."""
    columns: NDArray[np.int64]
    """(pair,) features, counted from first."""
    named: int
    """Pairs that the fast product named, before a float32 product of each struck some out."""


class Screen(Protocol):
    """One way to find the features that could fire."""

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield, for each block of features, every pair of (row of x, feature) that could fire."""
        ...


def float32_bound(width: int) -> float:
    """Return by how much a float32 product may be off, over the product of both lengths.

    |error| <= d u |x||w| for any order of summation; doubled, with the bias and its sum.
    """
    # Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: gamma_d = d u / (1 - d u).
    return (width + 4) * 2 * SINGLE


def below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32, never up; -inf and NaN stay."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    # The cast rounds to nearest, so one step down is below the value whichever way it went.
    return np.nextafter(rounded, np.float32(-np.inf), dtype=np.float32)


def unlike(bytes_: NDArray[np.uint8], quiet: int) -> NDArray[np.int64]:
    """Return the places in a flat array whose byte is not the quiet one, eight looked at at once."""
    if bytes_.size % 8:
        return np.flatnonzero(bytes_ != quiet)
    words = np.flatnonzero(bytes_.view(np.uint64) != np.uint64(quiet * 0x0101010101010101))
    word, byte = np.nonzero(bytes_.reshape(-1, 8)[words] != quiet)
    found: NDArray[np.int64] = words[word] * 8 + byte
    return found


def feature_blocks(n_features: int) -> Iterator[slice]:
    """Yield the features FEATURES_PER_BLOCK at a time: a block of products fits the cache."""
    for first in range(0, n_features, FEATURES_PER_BLOCK):
        yield slice(first, min(first + FEATURES_PER_BLOCK, n_features))


def longest(x: NDArray[np.float32]) -> float:
    """Return the length of the longest row (row, dimension)."""
    return float(np.sqrt(squared_lengths(x).max(initial=0.0)))
