"""Products of rows in float64, each by itself and in one order.

So none depends on the processor, on threads, or on what else is multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

LANES = 64
"""Sums that an inner product is taken in. Never a setting: it decides the last digits."""
NUMBERS_PER_BLOCK = 81_920
"""Numbers on each side of rows that are multiplied together: few enough to stay in the cache."""
WORTH_COMPILING = 30_000_000
"""Multiplications from which on a compiled loop is worth its start, most of a second."""
Fill = Callable[
    [
        NDArray[np.float32],
        NDArray[np.int64],
        NDArray[np.float32],
        NDArray[np.int64],
        NDArray[np.float64],
    ],
    None,
]
"""Takes what inner_products takes and fills the last, (pair,)."""


def inner_products(
    left: NDArray[np.float32],
    left_rows: NDArray[np.int64],
    right: NDArray[np.float32],
    right_rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the inner products of chosen pairs of rows.

    Every product of two float32 is exact in float64. LANES sums take the dimensions in turn;
    then the upper half of the sums is added to the lower until one is left.

    Args:
        left: (row, dimension).
        left_rows: (pair,) rows of left.
        right: (row, dimension).
        right_rows: (pair,) rows of right.

    Returns:
        (pair,) inner products.
    """
    found = np.empty(len(left_rows), np.float64)
    fill: Fill = _fill
    if len(found) * left.shape[1] >= WORTH_COMPILING:
        for rows, given in ((left_rows, left), (right_rows, right)):
            assert 0 <= rows.min() <= rows.max() < len(given), (rows.max(), len(given))
        fill = _compiled() or _fill
    fill(left, left_rows, right, right_rows, found)
    return found


def _fill(
    left: NDArray[np.float32],
    left_rows: NDArray[np.int64],
    right: NDArray[np.float32],
    right_rows: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    columns = -(-left.shape[1] // LANES)
    step = max(1, NUMBERS_PER_BLOCK // (LANES * max(columns, 1)))
    # Rooms used again: fresh memory would cost more than the sums.
    rooms = np.zeros((2, min(step, len(found)), LANES * columns), np.float64)
    for start in range(0, len(found), step):
        pairs = slice(start, start + step)
        wide = rooms[:, : len(found[pairs])]
        wide[0, :, : left.shape[1]] = left[left_rows[pairs]]
        wide[1, :, : left.shape[1]] = right[right_rows[pairs]]
        one, other = wide.reshape(2, -1, columns, LANES)
        sums = np.einsum("pkl,pkl->pl", one, other)
        while sums.shape[1] > 1:
            half = sums.shape[1] // 2
            sums = sums[:, :half] + sums[:, half:]
        found[pairs] = sums[:, 0]


@cache
def _compiled() -> Fill | None:
    """Return _fill as a compiled loop, several times as fast; None where numba is missing.

    It adds the same numbers in the same order. It does not look whether rows exist.
    """
    try:
        import numba
    except ImportError:
        return None

    @numba.njit(cache=True, nogil=True)
    def fill(
        left: NDArray[np.float32],
        left_rows: NDArray[np.int64],
        right: NDArray[np.float32],
        right_rows: NDArray[np.int64],
        found: NDArray[np.float64],
    ) -> None:
        width = left.shape[1]
        whole = width // LANES * LANES
        sums = np.empty(LANES)
        for pair in range(len(found)):
            one, other = left[left_rows[pair]], right[right_rows[pair]]
            sums[:] = 0.0
            for start in range(0, whole, LANES):
                for lane in range(LANES):
                    sums[lane] += np.float64(one[start + lane]) * np.float64(other[start + lane])
            for lane in range(width - whole):
                sums[lane] += np.float64(one[whole + lane]) * np.float64(other[whole + lane])
            half = LANES // 2
            while half:
                for lane in range(half):
                    sums[lane] += sums[lane + half]
                half //= 2
            found[pair] = sums[0]

    made: Fill = fill
    return made


def squared_lengths(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return each row's squared length (row,), summed in float64."""
    found = np.empty(len(block), np.float64)
    step = max(1, NUMBERS_PER_BLOCK // max(block.shape[1], 1))
    for start in range(0, len(block), step):
        wide = block[start : start + step].astype(np.float64)
        np.einsum("rd,rd->r", wide, wide, out=found[start : start + step])
    return found
