"""Screens: fast products that name every feature that could fire, and some that don't.

A screen never decides anything. Its product is inexact, by less than a bound that follows from
the rounding errors themselves; a feature is named where the product plus that bound exceeds
what it needs to fire. What is named is computed again, so every screen leads to the same bytes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.base.float64 import squared_lengths
from atlas.settings.runtime import ScreenKind

if TYPE_CHECKING:
    import torch

FEATURES_PER_BLOCK = 4096
"""Features multiplied at once: with 1,024 images a block of 16 MB."""
SINGLE = 2.0**-24
"""Largest relative error of rounding to float32."""
HALF = 2.0**-8
"""Twice the largest relative error of rounding to bfloat16."""
TRIAL_IMAGES, TRIAL_FEATURES = 256, 1024
WORTH_TRYING = 5e10
"""Multiplications in a scan below which it is not worth trying which screen is fastest."""
LARGEST_BYTES, SAFE_BYTES = (127, 127), (85, 95)
"""Greatest magnitudes of a quantized input and weight; and where the processor adds two products
in 16 bits, in which (2 * 85 + 1) * 95 * 2 just fits."""
HEADROOM = 1.01
"""By how much an input's length may exceed the sample's before its row is screened in float32."""
LARGEST_HADAMARD = 256
MANY_IMAGES = 1 << 40
"""Images to come where nobody says how many: fitting a screen then costs nothing beside them."""


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """What is to be found: products of inputs with the rows of a matrix that are large enough."""

    weights: NDArray[np.float32]
    """(feature, dimension)."""
    product: NDArray[np.float64]
    """(feature,) what the product must exceed for the feature to fire."""
    lengths: NDArray[np.float64]
    """(feature,) lengths of the rows of weights."""

    def some(self, features: NDArray[np.int64]) -> Needs:
        """Return the same of fewer features."""
        return Needs(self.weights[features], self.product[features], self.lengths[features])


@dataclass(frozen=True, slots=True)
class Pairs:
    """What could fire in one block of features, ordered by row."""

    first: int
    """First feature of the block."""
    rows: NDArray[np.int64]
    """(pair,)."""
    columns: NDArray[np.int64]
    """(pair,) features, counted from first."""
    named: int
    """Pairs that the fast product named, before a float32 product of each struck some out."""


class Screen(Protocol):
    """One way to find the features that could fire."""

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield, for each block of features, every pair of (row of x, feature) that could fire."""
        ...


def float32_bound(width: int) -> float:
    """Return by how much a float32 product may be off, over the product of both lengths.

    |error| <= d u |x||w| for any order of summation; doubled, with the bias and its sum.
    """
    return (width + 4) * 2 * SINGLE


def below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32, never up; -inf and NaN stay."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    return np.nextafter(rounded, np.float32(-np.inf), dtype=np.float32)


def unlike(bytes_: NDArray[np.uint8], quiet: int) -> NDArray[np.int64]:
    """Return the places in a flat array whose byte is not the quiet one, eight looked at at once."""
    if bytes_.size % 8:
        return np.flatnonzero(bytes_ != quiet)
    words = np.flatnonzero(bytes_.view(np.uint64) != np.uint64(quiet * 0x0101010101010101))
    word, byte = np.nonzero(bytes_.reshape(-1, 8)[words] != quiet)
    found: NDArray[np.int64] = words[word] * 8 + byte
    return found


def _blocks(n_features: int) -> Iterator[slice]:
    for first in range(0, n_features, FEATURES_PER_BLOCK):
        yield slice(first, min(first + FEATURES_PER_BLOCK, n_features))


def _longest(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(squared_lengths(x).max(initial=0.0)))


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
        for block in _blocks(len(self.weights)):
            if out is not None:
                room = out.reshape(-1)[: len(x) * (block.stop - block.start)].reshape(len(x), -1)
                np.matmul(x, self.needs.weights[block].T, out=room)
                yield block.start, torch.from_numpy(room)
            else:
                with torch.no_grad():
                    yield block.start, inputs @ self.weights[block].T

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield every pair that could fire, block after block."""
        import torch

        margin = float32_bound(self.needs.weights.shape[1]) * _longest(x) * self.needs.lengths
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
        find = _find_kernel(product.device) or _not_less_by_torch
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


def _on_card(product: torch.Tensor) -> bool:
    return product.device.type != "cpu"


def _not_less_by_torch(product: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Return (found,) the places in product, flattened, that are not less, ascending."""
    return (product < least).logical_not().view(-1).nonzero().view(-1)


@cache
def _find_kernel(
    device: torch.device,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
    """Return a kernel that finds what _not_less_by_torch does, if there is one that runs here.

    It is tried before it is trusted: it needs a compiler beside it, and a card that it knows.
    """
    import torch

    try:
        from atlas.sae.kernels import FAILURES, not_less
    except ImportError:  # no triton, as beside a torch without CUDA
        return None
    product = torch.arange(-9000.0, 9000.0, device=device).sin().reshape(60, 300)
    least = product[7].clone()
    try:
        found = not_less(product, least)
    except FAILURES:
        return None
    return not_less if torch.equal(found.long(), _not_less_by_torch(product, least)) else None


@dataclass(frozen=True, slots=True, eq=False)
class Bf16Screen:
    """Products of operands rounded to bfloat16, on any device."""

    needs: Needs
    device: str
    weights: torch.Tensor
    """(feature, dimension) bfloat16, on the device."""
    off: NDArray[np.float64]
    """(feature,) lengths of what rounding took from the weights."""

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield every pair that could fire, block after block."""
        import torch

        single = torch.from_numpy(x)
        rounded = single.bfloat16()
        off = _longest((single - rounded.float()).numpy())
        long = _longest(rounded.float().numpy())
        # x w - x' w' = (x - x') w + x' (w - w'); then the sum of products in float32.
        summing = 2 * float32_bound(x.shape[1]) * long * (self.needs.lengths + self.off)
        margin = off * self.needs.lengths + long * self.off + summing
        least = torch.from_numpy(self.needs.product - margin - 1e-37).to(self.device)
        # The product itself is rounded: never below the largest bfloat16 not above the need.
        limit = least - least.abs() * HALF - 1e-37
        limit = torch.where(limit.isfinite(), limit, -torch.inf).bfloat16()
        inputs = rounded.to(self.device)
        lengths = np.sqrt(squared_lengths(x))
        room = np.empty(len(x) * FEATURES_PER_BLOCK, bool)
        for block in _blocks(len(self.weights)):
            with torch.no_grad():
                product = inputs @ self.weights[block].T
            found = _not_less(product, limit[block], room)
            yield _checked(self.needs, x, lengths, block, *found)


def _checked(
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


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """A change of coordinates that keeps products and spreads a few large dimensions over many."""

    center: NDArray[np.float32]
    """(dimension,) taken off the inputs."""
    scale: NDArray[np.float32]
    """(dimension,) plus or minus a power of two, from the weights to the inputs: exact."""
    order: NDArray[np.int64]
    """(dimension,) a shuffle."""
    hadamard: NDArray[np.float32]
    """(n, n) orthogonal, of plus and minus 1 / sqrt(n), a power of two."""

    @property
    def bound(self) -> float:
        """By how much float32 changes the turned vector, over its length."""
        n = len(self.hadamard)
        return float(np.sqrt(n) * (n + 4) * SINGLE * 1.1)

    def turn(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (row, padded dimension) of rows that are centered and scaled."""
        n = len(self.hadamard)
        width = -(-rows.shape[1] // n) * n
        room = np.zeros((len(rows), width), np.float32)
        room[:, : rows.shape[1]] = rows[:, self.order]
        turned: NDArray[np.float32] = room.reshape(-1, n) @ self.hadamard
        return turned.reshape(len(rows), width)


def make_rotation(sample: NDArray[np.float32], weights: NDArray[np.float32]) -> Rotation:
    """Return a rotation that suits inputs (row, dimension) like these, the same every time."""
    rng = np.random.default_rng(0)
    width = sample.shape[1]
    center = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = np.abs(sample - center).max(axis=0, initial=0.0)
    reach = np.abs(weights[:: max(1, len(weights) // 4096)]).max(axis=0, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = np.log2(spread / reach) / 2
    exponent = np.clip(np.rint(np.nan_to_num(halves, posinf=0, neginf=0)), -30, 30)
    signs = np.where(rng.random(width) < 0.5, -1.0, 1.0)
    matrix = np.ones((1, 1))
    while 4 * len(matrix) <= min(width, LARGEST_HADAMARD):
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]]))
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]]))
    return Rotation(
        center=center,
        scale=(signs * 2.0**exponent).astype(np.float32),
        order=rng.permutation(width),
        hadamard=(matrix / np.sqrt(len(matrix))).astype(np.float32),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Bytes:
    """Inputs as 8-bit numbers, and how far those can be off."""

    rotation: Rotation
    step: float
    """What one unit of a byte stands for."""
    largest: int
    """Greatest magnitude of an input's byte."""
    largest_weight: int
    """Greatest magnitude of a weight's byte."""

    def quantize(self, x: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Return ((row, padded dimension) bytes around largest + 1, (row, 2) what was lost).

        Lost are, in lengths: what separates the turned input from its bytes, and the bytes' own.
        """
        with np.errstate(all="ignore"):  # a row that overflows is lost: NaN
            scaled = (x - self.rotation.center) / self.rotation.scale
            turned = self.rotation.turn(scaled)
            units = np.rint(turned * np.float32(1 / self.step))
            np.clip(units, -self.largest, self.largest, out=units)
            shifted = np.nan_to_num(units) + np.float32(self.largest + 1)
            off = np.sqrt(np.einsum("rd,rd->r", *[turned - units * np.float32(self.step)] * 2))
            long = np.sqrt(np.einsum("rd,rd->r", units, units)) * self.step
            length = np.sqrt(np.einsum("rd,rd->r", scaled, scaled))
        off = off + (self.rotation.bound + 4 * SINGLE) * length
        summing = 1 + float32_bound(turned.shape[1])  # these lengths are float32 sums
        return shifted.astype(np.uint8), np.stack([off, long], axis=1).astype(float) * summing


@dataclass(frozen=True, slots=True, eq=False)
class Int8Screen:
    """Products of bytes, after a rotation that makes them good enough. CPU only."""

    needs: Needs
    bytes: Bytes
    most_lost: NDArray[np.float64]
    """(2,) as quantize gives it: rows that lose more are screened in float32."""
    packed: list[tuple[Any, float]]
    """Of each block, torch's packed weights with what must be added to the product, and the step
    of the output byte."""
    exact: Float32Screen

    def search(self, x: NDArray[np.float32]) -> Iterator[Pairs]:
        """Yield every pair that could fire, block after block; of some blocks twice."""
        import torch

        quantized, lost = self.bytes.quantize(x)
        odd = ~(lost <= self.most_lost).all(axis=1)
        if odd.any():
            at = np.flatnonzero(odd)
            for found in self.exact.search(x[at]):
                yield replace(found, rows=at[found.rows])
        at = np.flatnonzero(~odd)
        if not len(at):
            return
        inputs = x[at] if odd.any() else x
        given = torch._make_per_tensor_quantized_tensor(
            torch.from_numpy(quantized[at]), self.bytes.step, self.bytes.largest + 1
        )
        lengths = np.sqrt(squared_lengths(inputs))
        for block, (packed, unit) in zip(
            _blocks(len(self.needs.weights)), self.packed, strict=True
        ):
            product = torch.ops.quantized.linear_relu(given, packed, unit, 0).int_repr()
            rows, columns = np.divmod(unlike(product.numpy().reshape(-1), 0), product.shape[1])
            found = _checked(self.needs, inputs, lengths, block, rows, columns)
            yield replace(found, rows=at[found.rows])


def make_int8(needs: Needs, sample: NDArray[np.float32]) -> Int8Screen:
    """Return an int8 screen for inputs like the sample (row, dimension)."""
    rotation = make_rotation(sample, needs.weights)
    largest = _largest_bytes(len(sample), *needs.weights.shape)
    reading = _choose_step(rotation, largest, sample)
    lost = reading.quantize(sample)[1].max(axis=0) * HEADROOM
    packed = [
        _pack_block(_quantize_weights(needs, block, reading), reading, lost)
        for block in _blocks(len(needs.weights))
    ]
    return Int8Screen(needs, reading, lost, packed, make_float32(needs, "cpu", numpy=False))


def _pack_block(
    weights: _ByteWeights, reading: Bytes, lost: NDArray[np.float64]
) -> tuple[Any, float]:
    added, reach = _to_add(weights, reading, lost)
    unit = float(reach.max()) / 2**20 or 1.0
    # The output byte is rounded: two units more, and whatever is positive rounds to 1 at least.
    return _pack(weights, added + 2 * unit), unit


def _choose_step(
    rotation: Rotation, largest: tuple[int, int], sample: NDArray[np.float32]
) -> Bytes:
    """Return the step that loses least of the sample: a larger one rounds, a smaller one cuts."""
    scaled = rotation.turn((sample - rotation.center) / rotation.scale)
    typical = float(np.sqrt(np.mean(scaled.astype(np.float64) ** 2))) or 1.0
    reaches = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0)
    steps = [float(np.float32(typical * reach / largest[0])) for reach in reaches]
    choices = [Bytes(rotation, step, *largest) for step in steps]
    return min(choices, key=lambda one: float(one.quantize(sample)[1][:, 0].max()))


@dataclass(frozen=True, slots=True, eq=False)
class _ByteWeights:
    """One block of the matrix as bytes."""

    units: NDArray[np.int8]
    """(feature, padded dimension)."""
    step: NDArray[np.float64]
    """(feature,) what one unit stands for."""
    off: NDArray[np.float64]
    """(feature,) length of what separates the turned weights from their bytes, at most."""
    length: NDArray[np.float64]
    """(feature,) of the scaled weights."""
    need: NDArray[np.float64]
    """(feature,) what the product with centered inputs must exceed."""


def _quantize_weights(needs: Needs, block: slice, reading: Bytes) -> _ByteWeights:
    weights, rotation = needs.weights[block], reading.rotation
    scaled = weights * rotation.scale
    turned = rotation.turn(scaled).astype(np.float64)
    largest = np.abs(turned).max(axis=1)
    # float32, as the kernels have it: what they multiply by is then what was rounded with.
    step = np.where(largest > 0, largest, 1.0) / reading.largest_weight
    step = step.astype(np.float32).astype(np.float64)
    limit = reading.largest_weight
    units = np.clip(np.rint(turned / step[:, None]), -limit, limit)
    length = np.sqrt(squared_lengths(scaled))
    off = np.sqrt(np.einsum("rd,rd->r", *[turned - units * step[:, None]] * 2))
    centered = needs.product[block] - weights.astype(np.float64) @ rotation.center.astype(float)
    return _ByteWeights(
        units.astype(np.int8), step, off * 1.001 + rotation.bound * length, length, centered
    )


def _to_add(
    weights: _ByteWeights, reading: Bytes, lost: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (feature,) what to add so that the sum is positive wherever it could fire; its reach.

    x w - x' w' = (x - x') w + x' (w - w'), each at most the product of two lengths.
    """
    off, long = lost
    margin = off * weights.length + long * weights.off
    reach = long * (weights.length + weights.off)
    # The kernels round scales and sums to float32, some of them the added number to one unit.
    slack = 2.0**-18 * (reach + np.abs(weights.need)) + 2 * reading.step * weights.step
    added = margin + slack - weights.need
    # Beyond twice the reach nothing changes, and an integer kernel could overflow.
    limit = 2 * reach + 4 * slack + 1e-30
    return np.clip(added, -limit, limit), reach + np.clip(added, 0, limit)


def _pack(weights: _ByteWeights, added: NDArray[np.float64]) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that quantized tensors are to move to another package
        quantized = torch._make_per_channel_quantized_tensor(
            torch.from_numpy(weights.units),
            torch.from_numpy(weights.step),
            torch.zeros(len(weights.step), dtype=torch.int64),
            0,
        )
        return torch.ops.quantized.linear_prepack(
            quantized, torch.from_numpy(added.astype(np.float32))
        )


@lru_cache
def _largest_bytes(n_rows: int, n_features: int, width: int) -> tuple[int, int]:
    """Return how large the bytes of inputs and of weights may be on this processor.

    Those without 8-bit dot products add pairs of products in 16 bits, which large bytes exceed
    without a word; so products of the largest ones are tried.
    """
    import torch

    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        return SAFE_BYTES
    rows = np.full((n_rows, width), 2 * LARGEST_BYTES[0] + 1, np.uint8)
    given = torch._make_per_tensor_quantized_tensor(torch.from_numpy(rows), 1.0, 0)
    for block in _blocks(n_features):
        ones = np.ones(block.stop - block.start)
        units = np.full((len(ones), width), LARGEST_BYTES[1], np.int8)
        true = float(rows[0, 0]) * LARGEST_BYTES[1] * width
        packed = _pack(_ByteWeights(units, ones, ones, ones, ones), 0 * ones)
        found = torch.ops.quantized.linear_relu(given, packed, true / 100, 0).int_repr()
        if not bool((found == 100).all()):
            return SAFE_BYTES
    return LARGEST_BYTES


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
        for block in _blocks(len(weights))
    ]
    return Bf16Screen(needs, device, rounded.to(device), np.concatenate(off))


def make_screen(
    needs: Needs,
    device: str,
    kind: ScreenKind,
    sample: NDArray[np.float32] | None = None,
    n_images: int = MANY_IMAGES,
) -> Screen:
    """Return a screen of the given kind.

    Args:
        needs: What is to be found.
        device: Torch device.
        kind: auto tries all that can run and takes the fastest.
        sample: (row, dimension) inputs like those to come; for auto and int8.
        n_images: How many are to come, for auto: a few are not worth fitting a screen.

    Raises:
        ConfigError: int8 was asked for on a device that is no CPU.
    """
    on_cpu = device.startswith("cpu")
    if kind == "int8" and not on_cpu:
        raise ConfigError(f"runtime.screen int8 runs on the CPU only, not on {device}; use bf16")
    if kind == "auto":
        kind = "float32" if sample is None else choose_screen(needs, device, sample, n_images)
    if kind == "bf16":
        return make_bf16(needs, device)
    if kind == "int8":
        assert sample is not None
        return make_int8(needs, sample)
    return make_float32(needs, device, numpy=on_cpu and _numpy_is_faster(needs, sample))


def choose_screen(
    needs: Needs, device: str, sample: NDArray[np.float32], n_images: int = MANY_IMAGES
) -> ScreenKind:
    """Return the kind that takes least time, its fitting included, for so many such inputs.

    Tried are some of the features with some of the sample; both costs grow with the features.
    """
    import torch

    if not device.startswith("cpu"):
        return "bf16"
    n_features = len(needs.weights)
    few = needs.some(np.arange(0, n_features, max(1, n_features // TRIAL_FEATURES)))
    makers: dict[ScreenKind, Callable[[], Screen]] = {
        "float32": partial(make_float32, few, device, numpy=_numpy_is_faster(few, sample)),
        "int8": lambda: make_int8(few, sample),
    }
    if torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2"):
        makers["bf16"] = lambda: make_bf16(few, device)
    rows = sample[:TRIAL_IMAGES]
    took = {kind: _time_scan(make, rows, n_images) for kind, make in makers.items()}
    return min(took, key=lambda kind: took[kind])


def _time_scan(make: Callable[[], Screen], rows: NDArray[np.float32], n_images: int) -> float:
    """Return the seconds to make a screen and to search so many images with it."""
    began = time.perf_counter()
    screen = make()
    fitting = time.perf_counter() - began
    return fitting + _time_search(screen, rows) * n_images / max(len(rows), 1)


def _numpy_is_faster(needs: Needs, sample: NDArray[np.float32] | None) -> bool:
    if sample is None:
        return False
    few = needs.some(np.arange(min(TRIAL_FEATURES, len(needs.weights))))
    took = [
        _time_search(make_float32(few, "cpu", numpy=numpy), sample[:TRIAL_IMAGES])
        for numpy in (False, True)
    ]
    return took[1] < took[0]


def _time_search(screen: Screen, rows: NDArray[np.float32]) -> float:
    """Return the least of some times, in seconds, that a search takes."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        for _pair in screen.search(rows):
            pass
        took.append(time.perf_counter() - began)
    return min(took)
