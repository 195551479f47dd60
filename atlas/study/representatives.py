"""Who stands for a part of the map: at each zoom level one feature for each cell of a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def representatives(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    rank: NDArray[np.int64],
    columns: int,
    rows: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells that hold a point, ascending, and the point that stands for each.

    Of a cell's points of the best rank it is the one nearest to the mean of all its points; ties keep
    the order given.

    Args:
        x: (point,) 0 to 1, from left to right.
        y: (point,) 0 to 1, from top to bottom.
        rank: (point,) the lower, the better; points with negative ranks stand for none.
        columns: Cells side by side.
        rows: Cells above each other.

    Returns:
        Two arrays (occupied cell,): row * columns + column, and the number of a point.
    """
    column, row = np.minimum(x * columns, columns - 1), np.minimum(y * rows, rows - 1)
    cell = row.astype(np.int64) * columns + column.astype(np.int64)
    size = np.maximum(np.bincount(cell, minlength=columns * rows), 1)
    far = np.zeros(len(x))
    for axis, scale in ((x, columns), (y, rows)):
        mean = np.bincount(cell, axis, columns * rows) / size
        far += ((axis - mean[cell]) * scale) ** 2
    wanted = np.flatnonzero(rank >= 0)
    order = wanted[np.lexsort((far[wanted], rank[wanted], cell[wanted]))]
    cells, first = np.unique(cell[order], return_index=True)
    return cells, order[first]
