"""Loops compiled by numba; taken through atlas.base.compiled where there may be none.

They don't look whether the rows that they are given exist: callers do. The compiled form is
kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy.typing import NDArray

from atlas.base.float64 import LANES

IMAGES_AHEAD = 8
"""Images between the one that is counted and the one whose features are fetched from memory."""
CACHE_LINE = 16
"""Features (int32) that the processor fetches together."""
Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(function: Loop) -> Loop:
    """Return the function, compiled when it is first called; the compiled form is kept on disk."""
    made: Any = numba.njit(cache=True, nogil=True)(function)
    return cast(Loop, made)


@intrinsic
def _fetch(_typing: Any, array: Any, entry: Any) -> Any:
    """Ask for an array's entry (C order) to be in the cache soon, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.bitcast(builder.gep(data, [given[1]]), byte)
        to_read, to_keep, data_not_code = number(0), number(3), number(1)
        builder.call(prefetch, [place, to_read, to_keep, data_not_code])
        return context.get_dummy_value()

    return numba.types.void(array, entry), generate


@compiled
def count_features(
    starts: NDArray[np.int64],
    features: NDArray[np.int32],
    images: NDArray[np.int64],
    counts: NDArray[np.int32],
) -> None:
    """Add to counts (feature,) on how many of the images each feature fires.

    Memory is what it would wait for: an image's features lie together, the next image's far off.

    Args:
        starts: (image + 1,) where each image begins in features, and its end.
        features: (firing,).
        images: (chosen,) rows.
        counts: (feature,).
    """
    for place in range(len(images)):
        ahead = images[min(place + IMAGES_AHEAD, len(images) - 1)]
        for entry in range(starts[ahead], starts[ahead + 1], CACHE_LINE):
            _fetch(features, entry)  # type: ignore[call-arg]  # numba adds the first
        for entry in range(starts[images[place]], starts[images[place] + 1]):
            # Unsigned: numba would look at each whether it counts from the end.
            counts[np.uint32(features[entry])] += np.int32(1)


@compiled
def fill_products(
    left: NDArray[np.float32],
    left_rows: NDArray[np.int64],
    right: NDArray[np.float32],
    right_rows: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    """Fill found (pair,) with inner products of rows, added in the order of atlas.base.float64."""
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
