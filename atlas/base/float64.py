"""Inner products in float64, summed in a fixed order.

Each is computed by itself, so its bits don't depend on the processor, on the number of threads, or
on what else is multiplied, as those of a BLAS do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.base.compiled import find_loops

LANES = 64
"""Partial sums of an inner product. Not a setting, because it decides the last digits."""
NUMBERS_PER_BLOCK = 81_920
"""Numbers of each operand that are multiplied at once: few enough to stay in the cache."""
WORTH_COMPILING = 30_000_000
"""Multiplications above which the compiled loop pays off: importing numba takes most of a second."""


def inner_products(
    left: NDArray[np.float32],
    left_rows: NDArray[np.int64],
    right: NDArray[np.float32],
    right_rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the inner products of pairs of rows.

    A product of two float32 is exact in float64 (48 of 53 bits), so only the sums round: dimension
    i is added to partial sum i % LANES, in ascending order; then the upper half of the partial sums
    is added to the lower until one is left.

    Args:
        left: (row, dimension).
        left_rows: (pair,) rows of left.
        right: (row, dimension).
        right_rows: (pair,) rows of right.

    Returns:
        (pair,) inner products.
    """
    found = np.empty(len(left_rows), np.float64)
    loops = find_loops() if len(found) * left.shape[1] >= WORTH_COMPILING else None
    if loops is None:
        _fill(left, left_rows, right, right_rows, found)
    else:
        for rows, given in ((left_rows, left), (right_rows, right)):
            assert 0 <= rows.min() <= rows.max() < len(given), (rows.max(), len(given))
        loops.fill_products(left, left_rows, right, right_rows, found)
    return found


def _fill(
    left: NDArray[np.float32],
    left_rows: NDArray[np.int64],
    right: NDArray[np.float32],
    right_rows: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    """Fill found (pair,) as loops.fill_products does, with numpy."""
    columns = -(-left.shape[1] // LANES)
    step = max(1, NUMBERS_PER_BLOCK // (LANES * max(columns, 1)))
    # Buffers are reused: fresh memory would cost more than the sums.
    buffers = np.zeros((2, min(step, len(found)), LANES * columns), np.float64)
    for start in range(0, len(found), step):
        pairs = slice(start, start + step)
        wide = buffers[:, : len(found[pairs])]
        wide[0, :, : left.shape[1]] = left[left_rows[pairs]]
        wide[1, :, : left.shape[1]] = right[right_rows[pairs]]
        one, other = wide.reshape(2, -1, columns, LANES)
        sums = np.einsum("pkl,pkl->pl", one, other)
        while sums.shape[1] > 1:
            half = sums.shape[1] // 2
            sums = sums[:, :half] + sums[:, half:]
        found[pairs] = sums[:, 0]


def squared_lengths(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared length of each row (row,), summed in float64."""
    found = np.empty(len(block), np.float64)
    step = max(1, NUMBERS_PER_BLOCK // max(block.shape[1], 1))
    for start in range(0, len(block), step):
        wide = block[start : start + step].astype(np.float64)
        np.einsum("rd,rd->r", wide, wide, out=found[start : start + step])
    return found
