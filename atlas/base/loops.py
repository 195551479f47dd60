"""Loops compiled by numba.

Code that must run without numba gets this module from atlas.base.compiled.find_loops. The loops
don't check bounds: callers make sure that the rows they pass exist.
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
"""How many images ahead of the one being counted features are prefetched."""
CACHE_LINE = 16
"""Features (int32) in a cache line of 64 bytes."""
Loop = TypeVar("Loop", bound=Callable[..., Any])


def jit(function: Loop) -> Loop:
    """Decorate a function to be compiled when it is first called, and cached on disk.

    It runs without the GIL, so threads can run it side by side.
    """
    return cast(Loop, numba.njit(cache=True, nogil=True)(function))


@intrinsic
def _prefetch(_typing: Any, array: Any, entry: Any) -> Any:
    """Start loading an array's entry (C order) into the cache, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, given[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        place = builder.bitcast(builder.gep(data, [given[1]]), byte)
        # Arguments of llvm.prefetch: read, not write; keep in all levels; data, not code.
        to_read, to_keep, data_not_code = number(0), number(3), number(1)
        builder.call(prefetch, [place, to_read, to_keep, data_not_code])
        return context.get_dummy_value()

    return numba.types.void(array, entry), generate


@jit
def count_features(
    starts: NDArray[np.int64],
    features: NDArray[np.int32],
    images: NDArray[np.int64],
    counts: NDArray[np.int32],
) -> None:
    """Add to counts (feature,) on how many of the images each feature fires.

    Prefetches, because memory latency bounds it: the features of an image are contiguous, but
    those of the next image are far away.

    Args:
        starts: (image + 1,) where each image begins in features, and its end.
        features: (firing,).
        images: (chosen,) rows.
        counts: (feature,).
    """
    for place in range(len(images)):
        ahead = images[min(place + IMAGES_AHEAD, len(images) - 1)]
        for entry in range(starts[ahead], starts[ahead + 1], CACHE_LINE):
            _prefetch(features, entry)  # type: ignore[call-arg]  # numba adds the first
        for entry in range(starts[images[place]], starts[images[place] + 1]):
            # Unsigned, or numba would test each index for being negative (counted from the end).
            counts[np.uint32(features[entry])] += np.int32(1)


@jit
def fill_products(
    left: NDArray[np.float32],
    left_rows: NDArray[np.int64],
    right: NDArray[np.float32],
    right_rows: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    """Fill found (pair,) with inner products of rows, summed in the order of atlas.base.float64.

    Args:
        left: (row, dimension).
        left_rows: (pair,) rows of left.
        right: (row, dimension).
        right_rows: (pair,) rows of right.
        found: (pair,) overwritten.
    """
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
