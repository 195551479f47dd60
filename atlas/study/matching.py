"""Best matches between the features of two SAEs, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLOSE = 0.7
"""Cosine or correlation from which a mutual pair counts as the same feature."""
ROWS_PER_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Best:
    """The best match of every feature of each side, and how good it is."""

    of_a: NDArray[np.int64]
    value_a: NDArray[np.float64]
    of_b: NDArray[np.int64]
    value_b: NDArray[np.float64]

    def mutual(self) -> NDArray[np.bool_]:
        """Return (feature of A,) whether its best match has it as its own."""
        found: NDArray[np.bool_] = self.of_b[self.of_a] == np.arange(len(self.of_a))
        return found


def best_by_direction(a: NDArray[np.float32], b: NDArray[np.float32]) -> Best:
    """Return the best matches by inner product; of equal ones the first.

    Args:
        a: (feature, d) of length 1.
        b: (feature, d) of length 1.
    """
    tracker = Tracker(len(a), len(b))
    for start in range(0, len(a), ROWS_PER_BLOCK):
        tracker.see(start, (a[start : start + ROWS_PER_BLOCK] @ b.T).astype(np.float64))
    return tracker.best()


class Tracker:
    """Keeps the best match of every row and column while blocks of a table pass by."""

    def __init__(self, rows: int, columns: int) -> None:
        self._of_a = np.zeros(rows, np.int64)
        self._value_a = np.full(rows, -np.inf)
        self._of_b = np.zeros(columns, np.int64)
        self._value_b = np.full(columns, -np.inf)

    def see(self, start: int, block: NDArray[np.float64]) -> None:
        """Take in the rows from start on."""
        rows = np.arange(start, start + len(block))
        self._of_a[rows] = block.argmax(axis=1)
        self._value_a[rows] = block.max(axis=1)
        highest = block.max(axis=0)
        better = highest > self._value_b
        self._of_b[better] = start + block.argmax(axis=0)[better]
        self._value_b[better] = highest[better]

    def best(self) -> Best:
        """Return what was found."""
        return Best(self._of_a, self._value_a, self._of_b, self._value_b)
