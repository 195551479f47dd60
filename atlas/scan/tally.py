"""What some images say about every feature: counts, sums, histograms and top images, which can be added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.base.tables import BINS_AN_OCTAVE, LOWEST_OCTAVE, OCTAVES

LAST_IMAGE = 0xFFFFFFFF
"""Greatest image number that a key can hold."""
BINS = OCTAVES * BINS_AN_OCTAVE + 2
"""Histogram bins: one below 2^-16, four in each octave up to 2^16, one above."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What some images say about every feature; tallies of other images can be added."""

    count: NDArray[np.int64]
    """(feature,) images on which it fires."""
    sum: NDArray[np.float64]
    """(feature,) of its activations."""
    sum_squares: NDArray[np.float64]
    """(feature,) of its activations' squares."""
    histogram_cell: NDArray[np.int64]
    """(few,) feature * BINS + bin of each nonempty bin, ascending."""
    histogram_count: NDArray[np.int64]
    """(few,) activations in that bin."""
    top_key: NDArray[np.int64]
    """Keys of each feature's top images, features in turn, largest key first."""


def tally(
    n_features: int,
    feature: NDArray[np.int64],
    image: NDArray[np.int64],
    activation: NDArray[np.float32],
    top_images: int,
) -> Tally:
    """Return the aggregates of some firings.

    Args:
        n_features: Features there are.
        feature: (firing,).
        image: (firing,) ascending: it decides the order in which sums are taken.
        activation: (firing,) greater than 0.
        top_images: Images to keep of each feature.
    """
    # float64: a billion small activations lose digits in float32.
    wide = activation.astype(np.float64)
    cells, cell_counts = np.unique(feature * BINS + histogram_bins(activation), return_counts=True)
    key = top_keys(activation, image)
    _, top_key = _cut(feature, key, top_images)
    return Tally(
        count=np.bincount(feature, minlength=n_features).astype(np.int64),
        sum=sums(feature, wide, n_features),
        sum_squares=sums(feature, wide * wide, n_features),
        histogram_cell=cells,
        histogram_count=cell_counts.astype(np.int64),
        top_key=top_key,
    )


def top_keys(activation: NDArray[np.float32], image: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number per firing that orders by activation, then by lower image."""
    # Positive IEEE floats order as their bits read as integers, so one sort serves both.
    return (activation.view(np.int32).astype(np.int64) << np.int64(32)) | (LAST_IMAGE - image)


def read_keys(key: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (activation, image) of keys."""
    # The inverse of top_keys: the upper half holds the float's bits, the lower one the image.
    return (key >> np.int64(32)).astype(np.int32).view(np.float32), LAST_IMAGE - (key & LAST_IMAGE)


def histogram_bins(activation: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the bin of each activation, from its float32 bits: exact, no logarithm.

    Within an octave the four bins are equally wide: 1 to 1.25, 1.5, 1.75 and 2 times its power.
    """
    # Of a float32, 8 bits of exponent and the first 2 of the mantissa: the octave and its quarter.
    quarter = (activation.view(np.int32) >> 21).astype(np.int64)
    lowest = (127 + LOWEST_OCTAVE) * BINS_AN_OCTAVE
    found: NDArray[np.int64] = np.clip(quarter - lowest + 1, 0, BINS - 1)
    return found


def bin_edges() -> NDArray[np.float64]:
    """Return (BINS + 1,) the lower edge of each bin, then infinity; bins are closed below."""
    octave = np.repeat(np.arange(LOWEST_OCTAVE, LOWEST_OCTAVE + OCTAVES), BINS_AN_OCTAVE)
    quarter = np.tile(np.arange(BINS_AN_OCTAVE), OCTAVES)
    inner = 2.0**octave * (1 + quarter / BINS_AN_OCTAVE)
    return np.concatenate([[0.0], inner, [2.0 ** (LOWEST_OCTAVE + OCTAVES), np.inf]])


def merge(tallies: Sequence[Tally], top_images: int) -> Tally:
    """Return the tally of all their images together.

    Counts, histograms and top images do not depend on order or grouping. Sums are taken from
    left to right, so that equal lists give equal bytes.
    """
    n_features = len(tallies[0].count)
    cells, inverse = np.unique(
        np.concatenate([one.histogram_cell for one in tallies]), return_inverse=True
    )
    counts = np.zeros(len(cells), np.int64)
    np.add.at(counts, inverse, np.concatenate([one.histogram_count for one in tallies]))
    every = np.arange(n_features)
    owner = np.concatenate([np.repeat(every, np.minimum(one.count, top_images)) for one in tallies])
    _, top_key = _cut(owner, np.concatenate([one.top_key for one in tallies]), top_images)
    count, total, squares = tallies[0].count, tallies[0].sum, tallies[0].sum_squares
    # In the order of the shards: floating-point addition is not associative.
    for one in tallies[1:]:
        count, total, squares = count + one.count, total + one.sum, squares + one.sum_squares
    return Tally(count, total, squares, cells, counts, top_key)


def _cut(
    feature: NDArray[np.int64], key: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (feature, key) ordered by feature, then largest key, at most so many a feature."""
    order = np.lexsort((-key, feature))
    feature, key = feature[order], key[order]
    kept = places_in_groups(feature) < most
    return feature[kept], key[kept]


def places_in_groups(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each entry's place, from 0, in its run of equal group numbers."""
    places = np.arange(len(group), dtype=np.int64)
    if not len(group):
        return places
    begins = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    return places - np.repeat(begins, np.diff(begins, append=len(group)))


def sums(
    group: NDArray[np.int64], values: NDArray[np.float64], n_groups: int
) -> NDArray[np.float64]:
    """Return the sum of each group's values, added in their order."""
    return np.bincount(group, weights=values, minlength=n_groups).astype(np.float64)
