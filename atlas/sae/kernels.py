"""The triton kernels that list a screen's candidates on a GPU; used where triton is installed, and runs.

It reads a block of products once, while they are still in the card's cache, where torch would
write a mask and read that several times.
"""

from __future__ import annotations

from subprocess import CalledProcessError
from typing import Any

import torch
import triton
import triton.language as tl
from triton.errors import TritonError

FAILURES = (TritonError, CalledProcessError, OSError, RuntimeError)
"""What a kernel raises that can't be compiled for this card, or on this machine."""
VALUES_A_PROGRAM = 2048
"""Products that one program of the kernel looks at."""


def _list_places(
    product: Any,
    least: Any,
    n_columns: int,
    n_values: int,
    count: Any,
    places: Any,
    size: tl.constexpr,
) -> None:
    """Append the places of products that are not less than their column's least, in any order."""
    at = tl.program_id(0) * size + tl.arange(0, size)
    there = at < n_values
    value = tl.load(product + at, mask=there, other=0.0).to(tl.float32)
    limit = tl.load(least + at % n_columns, mask=there, other=0.0).to(tl.float32)
    found = ((value < limit) == 0) & there
    ones = found.to(tl.int32)
    n_found = tl.sum(ones, axis=0)
    if n_found > 0:
        first = tl.atomic_add(count, n_found)
        tl.store(places + first + tl.cumsum(ones, axis=0) - 1, at, mask=found)


_kernel: Any = triton.jit(_list_places)


def _append_places(
    product: Any,
    least: Any,
    n_columns: int,
    n_values: int,
    before: int,
    n_features: int,
    room: int,
    count: Any,
    places: Any,
    size: tl.constexpr,
) -> None:
    """Do as _list_places does, for one block of many: places count on, and only so many have room."""
    at = tl.program_id(0) * size + tl.arange(0, size)
    there = at < n_values
    value = tl.load(product + at, mask=there, other=0.0).to(tl.float32)
    limit = tl.load(least + at % n_columns, mask=there, other=0.0).to(tl.float32)
    found = ((value < limit) == 0) & there
    ones = found.to(tl.int32)
    n_found = tl.sum(ones, axis=0)
    if n_found > 0:
        first = tl.atomic_add(count, n_found.to(tl.int64))
        slot = first + tl.cumsum(ones, axis=0) - 1
        row = (at // n_columns).to(tl.int64)
        place = row * n_features + at % n_columns + before
        tl.store(places + slot, place, mask=found & (slot < room))


_append_kernel: Any = triton.jit(_append_places)


def append(
    product: torch.Tensor,
    least: torch.Tensor,
    where: tuple[int, int],
    places: torch.Tensor,
    counts: torch.Tensor,
) -> None:
    """Append what atlas.sae.candidates.append does, in any order; no block is short of room.

    Args:
        product: (row, feature), bfloat16 or float32, contiguous.
        least: (feature,) of the same type.
        where: Place of the block's first product, and features in a row.
        places: (room + 1,) int64.
        counts: (2,) int64; the first is raised.
    """
    n_values = product.numel()
    assert product.is_contiguous(), product.stride()
    assert n_values < 2**31, n_values
    programs = (triton.cdiv(n_values, VALUES_A_PROGRAM),)
    _append_kernel[programs](
        *(product, least, product.shape[1], n_values, *where, len(places) - 1, counts, places),
        size=VALUES_A_PROGRAM,
    )


def not_less(product: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Return (found,) places in product, flattened, that are not less: ascending, int32.

    Args:
        product: (row, feature), bfloat16 or float32, contiguous; NaN is not less than anything.
        least: (feature,) of the same type.
    """
    n_values = product.numel()
    assert product.is_contiguous(), product.stride()
    assert n_values < 2**31, n_values
    count = torch.zeros(1, dtype=torch.int32, device=product.device)
    places = torch.empty(n_values, dtype=torch.int32, device=product.device)
    programs = (triton.cdiv(n_values, VALUES_A_PROGRAM),)
    _kernel[programs](
        product, least, product.shape[1], n_values, count, places, size=VALUES_A_PROGRAM
    )
    return places[: int(count)].sort().values
