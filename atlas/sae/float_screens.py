"""Screens by float32 and bfloat16 products."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import squared_lengths
from atlas.sae.screening import (
    FEATURES_PER_BLOCK,
    Needs,
    Pairs,
    below,
    feature_blocks,
    float32_bound,
    longest,
    unlike,
)

if TYPE_CHECKING:
    import torch

HALF = 2.0**-8
"""Twice the largest relative error of rounding to bfloat16."""


@dataclass(frozen=True, slots=True, eq=False)
class Float32Screen:
    """Products in float32, on any device."""

    needs: Needs
    device: str
    weights: torch.Tensor
    """The matrix, on the device."""
    numpy: bool
    """True multiplies by numpy's BLAS, which on some processors is twice as fast as torch's."""

    def products(self, x: NDArray[np.float32]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first feature, (row, feature of the block) products without any bias)."""
        import torch

        inputs = torch.from_numpy(x).to(self.device)
        out = np.empty((len(x), FEATURES_PER_BLOCK), np.float32) if self.numpy else None
        for block in feature_blocks(len(self.weights)):
            if out is not None:
                room = out.reshape(-1)[: len(x) * (block.stop - block.start)].reshape(len(x), -1)
                np.matmul(x, self.needs.weights[block].T, out=room)
                yield block.start, torch.from_numpy(room)
            else:
                with torch.no_grad():
                    yield block.start, inputs @ self.weights[block].T

    def limits(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x (row, dimension), and the (feature,) least products that could fire, on the device."""
        import torch

        bound = float32_bound(x.shape[1])
        product, lengths = (
            torch.from_numpy(one).to(x.device) for one in (self.needs.product, self.needs.lengths)
        )
        least = product - bound * _longest(x) * lengths - 1e-37
        return x, torch.nextafter(least.float(), torch.tensor(-torch.inf, device=x.device))

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield every pair that could fire, block after block."""
        import torch

        margin = float32_bound(self.needs.weights.shape[1]) * longest(x) * self.needs.lengths
        least = torch.from_numpy(below(self.needs.product - margin - 1e-37)).to(self.device)
        room = np.empty(len(x) * FEATURES_PER_BLOCK, bool)
        for first, product in self.products(x):
            rows, columns = _not_less(product, least[first : first + product.shape[1]], room)
            yield Pairs(first, rows, columns, len(rows))


def _not_less(
    product: torch.Tensor, least: torch.Tensor, room: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the (rows, columns) where a product is not less than its column's least, by row.

    "Not less" instead of "at least": NaN, from an overflow, must be looked at, too.

    Args:
        product: (row, feature) float32 or bfloat16, on any device.
        least: (feature,) of the same type on the same device.
        room: Used again for every block on a CPU; for each product one, or more.
    """
    import torch

    if _on_card(product):
        kernels = find_kernels(product.device)
        find = _not_less_by_torch if kernels is None else kernels.not_less
        flat = find(product, least).cpu().numpy().astype(np.int64)
    else:
        quiet = room[: product.numel()].reshape(product.shape)
        if product.dtype == torch.float32:  # numpy's comparison takes two thirds of torch's time
            np.less(product.numpy(), least.numpy(), out=quiet)
        else:
            torch.lt(product, least, out=torch.from_numpy(quiet))
        flat = unlike(quiet.reshape(-1).view(np.uint8), 1)
    rows, columns = np.divmod(flat, max(product.shape[1], 1))
    return rows, columns


def _longest(x: torch.Tensor) -> torch.Tensor:
    """Return the length of the longest row (row, dimension), in float64, where x lies."""
    import torch

    if not len(x):
        return torch.zeros((), dtype=torch.float64, device=x.device)
    return x.double().square().sum(1).max().sqrt()


def _on_card(product: torch.Tensor) -> bool:
    return product.device.type != "cpu"


def _not_less_by_torch(product: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Return (found,) the places in product, flattened, that are not less, ascending."""
    return (product < least).logical_not().view(-1).nonzero().view(-1)


@cache
def find_kernels(device: torch.device) -> ModuleType | None:
    """Return atlas.sae.kernels, if its kernels run on this device and find what torch does.

    They are tried before they are trusted: they need a compiler beside them, and a card that it knows.
    """
    import torch

    try:
        kernels = import_module("atlas.sae.kernels")
    except ImportError:  # no triton, as beside a torch without CUDA
        return None
    product = torch.arange(-9000.0, 9000.0, device=device).sin().reshape(60, 300)
    least = product[7].clone()
    places = torch.empty(18_001, dtype=torch.int64, device=device)
    counts = torch.zeros(2, dtype=torch.int64, device=device)
    try:
        found = kernels.not_less(product, least)
        kernels.append(product, least, (5, 300), places, counts)
        listed = places[: int(counts[0])].sort().values
    except kernels.FAILURES:
        return None
    true = _not_less_by_torch(product, least)
    right = torch.equal(found.long(), true) and torch.equal(listed, true + 5)
    return kernels if right else None


@dataclass(frozen=True, slots=True, eq=False)
class Bf16Screen:
    """Products of operands rounded to bfloat16, on any device."""

    needs: Needs
    device: str
    weights: torch.Tensor
    """(feature, dimension) bfloat16, on the device."""
    off: torch.Tensor
    """(feature,) float64 lengths of what rounding took from the weights, on the device."""
    product: torch.Tensor
    """(feature,) float64 what the product must exceed, on the device."""
    lengths: torch.Tensor
    """(feature,) float64 lengths of the weights, on the device."""

    def limits(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x (row, dimension) and the (feature,) least products that could fire, in bfloat16."""
        import torch

        rounded = x.bfloat16()
        off, long = _longest(x - rounded.float()), _longest(rounded.float())
        # x w - x' w' = (x - x') w + x' (w - w'); then the sum of products in float32.
        summing = 2 * float32_bound(x.shape[1]) * long * (self.lengths + self.off)
        margin = off * self.lengths + long * self.off + summing
        least = self.product - margin - 1e-37
        # The product itself is rounded: never below the largest bfloat16 not above the need.
        limit = least - least.abs() * HALF - 1e-37
        return rounded, torch.where(limit.isfinite(), limit, -torch.inf).bfloat16()

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield every pair that could fire, block after block."""
        import torch

        inputs, limit = self.limits(torch.from_numpy(x).to(self.device))
        lengths = np.sqrt(squared_lengths(x))
        room = np.empty(len(x) * FEATURES_PER_BLOCK, bool)
        for block in feature_blocks(len(self.weights)):
            with torch.no_grad():
                product = inputs @ self.weights[block].T
            found = _not_less(product, limit[block], room)
            yield checked_pairs(self.needs, x, lengths, block, *found)


def checked_pairs(
    needs: Needs,
    x: NDArray[np.float32],
    lengths: NDArray[np.float64],
    block: slice,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> Pairs:
    """Return the pairs of one block that a float32 product of their own leaves possible."""
    import torch

    starts = np.searchsorted(rows, np.arange(len(x) + 1))
    shape = (len(x), block.stop - block.start)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that sparse tensors are in beta
        pairs = torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(columns),
            torch.zeros(len(rows)),
            size=shape,
            check_invariants=False,
        )
        right = torch.from_numpy(needs.weights[block]).T
        product = torch.sparse.sampled_addmm(pairs, torch.from_numpy(x), right, beta=0.0).values()
    margin = float32_bound(x.shape[1]) * lengths[rows] * needs.lengths[block][columns] + 1e-37
    kept = ~(product.numpy() < needs.product[block][columns] - margin)
    return Pairs(block.start, rows[kept], columns[kept], len(rows))


def make_float32(needs: Needs, device: str, *, numpy: bool) -> Float32Screen:
    """Return a float32 screen on a torch device."""
    import torch

    if device.startswith("cuda"):
        # TensorFloat-32, should anybody have turned it on, would break the bound.
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    return Float32Screen(needs, device, torch.from_numpy(needs.weights).to(device), numpy)


def make_bf16(needs: Needs, device: str) -> Bf16Screen:
    """Return a bfloat16 screen on a torch device."""
    import torch

    if device.startswith("cuda"):
        # Partial sums in bfloat16 would break the bound.
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    weights = torch.from_numpy(needs.weights)
    rounded = weights.bfloat16()
    off = [
        np.sqrt(squared_lengths((weights[block] - rounded[block].float()).numpy()))
        for block in feature_blocks(len(weights))
    ]
    held = np.concatenate(off), needs.product, needs.lengths
    return Bf16Screen(
        needs, device, rounded.to(device), *(torch.from_numpy(one).to(device) for one in held)
    )
