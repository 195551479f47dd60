"""Embeddings at unit length, less their mean, at unit length again: what names are judged by.

A small set is held in memory; of a large one, rows are read and centered whenever they are asked
for, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import inner_products
from atlas.inputs.embeddings import EmbeddingSet

HELD_ROWS = 200_000
"""Images up to which all are held: 1 GB at a width of 1,280."""
ROWS_PER_BLOCK = 8192


Center = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Units(Protocol):
    """(image, d) centered unit embeddings: an array, or what reads its rows when asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images and dimensions."""

    def __len__(self) -> int:
        """Images."""

    def __getitem__(self, images: NDArray[np.int64], /) -> NDArray[np.float32]:
        """Return the rows of some images."""


def center_units(embeddings: EmbeddingSet, images: NDArray[np.int64]) -> Units:
    """Return all embeddings at unit length, less the mean of some images', at unit length again.

    Args:
        embeddings: All images.
        images: Ascending; their mean is taken off.
    """
    mean = _mean_of_units(embeddings, images)

    def center(block: NDArray[np.float32]) -> NDArray[np.float32]:
        off = _unit(block) - mean
        return _unit_or_zero(off)

    return _held_or_on_disk(embeddings, center)


def center_directions(embeddings: EmbeddingSet) -> Units:
    """Return all embeddings less their mean, at unit length; their own lengths count in the mean."""
    total = np.zeros((1, embeddings.width))
    for _, block in embeddings.blocks():
        total = np.concatenate([total, block]).sum(axis=0, keepdims=True)
    mean = total[0] / embeddings.rows

    def center(block: NDArray[np.float32]) -> NDArray[np.float32]:
        off = block.astype(np.float64) - mean
        return _unit_or_zero(off)

    return _held_or_on_disk(embeddings, center)


def _held_or_on_disk(embeddings: EmbeddingSet, center: Center) -> Units:
    if embeddings.rows > HELD_ROWS:
        return UnitsOnDisk(embeddings, center)
    held = np.empty((embeddings.rows, embeddings.width), np.float32)
    for first, block in embeddings.blocks():
        held[first : first + len(block)] = center(block)
    return held


class UnitsOnDisk:
    """Rows of the embeddings, centered when they are asked for."""

    def __init__(self, embeddings: EmbeddingSet, center: Center) -> None:
        """Hold where they are, and how rows are centered."""
        self._embeddings = embeddings
        self._center = center
        self.shape = (embeddings.rows, embeddings.width)

    def __len__(self) -> int:
        """Return how many images there are."""
        return self._embeddings.rows

    def __getitem__(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows of some images, (image, d)."""
        return self._center(self._embeddings.take(images))


def _unit_or_zero(block: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (block / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit


def _unit(block: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return unit


def _mean_of_units(embeddings: EmbeddingSet, images: NDArray[np.int64]) -> NDArray[np.float32]:
    total = np.zeros((1, embeddings.width))
    for first, block in embeddings.blocks():
        low, high = np.searchsorted(images, [first, first + len(block)])
        units = _unit(block)[images[low:high] - first]
        # Row by row from the first image on, so that no cut into blocks changes the sum.
        total = np.concatenate([total, units]).sum(axis=0, keepdims=True, dtype=np.float64)
    mean: NDArray[np.float32] = (total[0] / len(images)).astype(np.float32)
    return mean


def unit_products(
    units: Units,
    images: NDArray[np.int64],
    directions: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the inner products of pairs, (pair,): an image's unit and a row of directions."""
    found = np.empty(len(images), np.float64)
    for start in range(0, len(images), ROWS_PER_BLOCK):
        some = slice(start, start + ROWS_PER_BLOCK)
        block = units[images[some]]
        found[some] = inner_products(block, np.arange(len(block)), directions, rows[some])
    return found
