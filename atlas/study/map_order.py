"""The order of the wall: features that are near on the map are near on the page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CURVE_ORDER = 10
"""The curve visits 2^10 by 2^10 cells."""


def map_order(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order in which a Hilbert curve over the map meets the points.

    Ties keep the order given. The curve runs over ranks, not places, so that a crowded map
    spreads evenly.

    Args:
        x: (point,) 0 to 1.
        y: (point,) 0 to 1.
    """
    side = 1 << CURVE_ORDER
    cells = [_ranks(axis) * side // max(len(axis), 1) for axis in (x, y)]
    return np.argsort(_along_curve(*cells), kind="stable")


def _ranks(values: NDArray[np.float32]) -> NDArray[np.int64]:
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _along_curve(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each cell's distance along the Hilbert curve (Skilling's walk, one bit a step)."""
    x, y = x.copy(), y.copy()
    distance = np.zeros_like(x)
    step = 1 << (CURVE_ORDER - 1)
    while step:
        right, up = (x & step) > 0, (y & step) > 0
        distance += step * step * ((3 * right) ^ up)
        flip = ~up & right
        x, y = (
            np.where(flip, 2 * step - 1 - (x & (2 * step - 1)), x),
            np.where(flip, 2 * step - 1 - (y & (2 * step - 1)), y),
        )
        x, y = np.where(~up, y, x), np.where(~up, x, y)
        step >>= 1
    return distance


def wall(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    worth: NDArray[np.float64],
    columns: int,
    rows: int,
) -> list[int]:
    """Return the points for a wall, row by row: the best of each cell of the map.

    The map is cut into columns with equally many points, and each column into rows.

    Args:
        x: (point,) from left to right.
        y: (point,) from top to bottom.
        worth: (point,) how much one would like to see it; points at or below 0 are left out.
        columns: Icons side by side.
        rows: Icons above each other.
    """
    wanted = np.flatnonzero(worth > 0)
    if not len(wanted):
        return []
    if len(wanted) < columns * rows:
        columns, rows = len(wanted), 1
    by_x = wanted[np.argsort(x[wanted], kind="stable")]
    chosen = [
        [int(cell[np.argmax(worth[cell])]) for cell in np.array_split(column, rows)]
        for column in (
            strip[np.argsort(y[strip], kind="stable")] for strip in np.array_split(by_x, columns)
        )
        if len(column)
    ]
    return [column[row] for row in range(rows) for column in chosen]
