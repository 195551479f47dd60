"""The screen by int8 products: embeddings and weights rotated, quantized and packed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import squared_lengths
from atlas.sae.float_screens import Float32Screen, checked_pairs, make_float32
from atlas.sae.screening import SINGLE, Needs, Pairs, feature_blocks, float32_bound, unlike

if TYPE_CHECKING:
    import torch

LARGEST_BYTES, SAFE_BYTES = (127, 127), (85, 95)
"""Greatest magnitudes of a quantized input and weight; and where the processor adds two products
in 16 bits, in which (2 * 85 + 1) * 95 * 2 just fits."""
HEADROOM = 1.01
"""By how much an input's length may exceed the sample's before its row is screened in float32."""
LARGEST_HADAMARD = 256


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
class PackedBlock:
    """One block of the matrix as oneDNN multiplies it."""

    weights: torch.Tensor
    """(padded dimension, feature) int8, in the kernel's own order."""
    step: torch.Tensor
    """(feature,) float32, what one unit of a weight stands for."""
    zeros: torch.Tensor
    """(feature,) int64: no weight is shifted."""
    added: torch.Tensor
    """(feature,) float32, what is added to the product."""
    unit: float
    """What one unit of the output byte stands for."""

    def multiply(self, given: torch.Tensor, step: float, zero: int) -> torch.Tensor:
        """Return (row, feature) bytes, 0 where the product and what is added are negative.

        Args:
            given: (row, padded dimension) uint8.
            step: What one unit of it stands for.
            zero: The byte that stands for 0.
        """
        import torch

        found: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(given, step, zero, self.weights, self.step, self.zeros, self.added),
            *(self.unit, 0, torch.uint8, "relu", [], ""),
        )
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Int8Screen:
    """Products of bytes, after a rotation that makes them good enough. CPU only."""

    needs: Needs
    bytes: Bytes
    most_lost: NDArray[np.float64]
    """(2,) as quantize gives it: rows that lose more are screened in float32."""
    packed: list[PackedBlock]
    """Of each block of features."""
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
        given = torch.from_numpy(quantized[at] if odd.any() else quantized)
        lengths = np.sqrt(squared_lengths(inputs))
        for block, packed in zip(feature_blocks(len(self.needs.weights)), self.packed, strict=True):
            product = packed.multiply(given, self.bytes.step, self.bytes.largest + 1)
            rows, columns = np.divmod(unlike(product.numpy().reshape(-1), 0), product.shape[1])
            found = checked_pairs(self.needs, inputs, lengths, block, rows, columns)
            yield replace(found, rows=at[found.rows])


def make_int8(needs: Needs, sample: NDArray[np.float32]) -> Int8Screen:
    """Return an int8 screen for inputs like the sample (row, dimension)."""
    rotation = make_rotation(sample, needs.weights)
    largest = _largest_bytes(len(sample), *needs.weights.shape)
    reading = _choose_step(rotation, largest, sample)
    lost = reading.quantize(sample)[1].max(axis=0) * HEADROOM
    packed = [
        _pack_block(_quantize_weights(needs, block, reading), reading, lost)
        for block in feature_blocks(len(needs.weights))
    ]
    return Int8Screen(needs, reading, lost, packed, make_float32(needs, "cpu", numpy=False))


def _pack_block(weights: _ByteWeights, reading: Bytes, lost: NDArray[np.float64]) -> PackedBlock:
    added, reach = _to_add(weights, reading, lost)
    unit = float(reach.max()) / 2**20 or 1.0
    # The output byte is rounded: two units more, and whatever is positive rounds to 1 at least.
    return _pack(weights.units, weights.step, added + 2 * unit, unit)


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


def _pack(
    units: NDArray[np.int8], step: NDArray[np.float64], added: NDArray[np.float64], unit: float
) -> PackedBlock:
    import torch

    return PackedBlock(
        torch.ops.onednn.qlinear_prepack(torch.from_numpy(units), None),
        torch.from_numpy(step.astype(np.float32)),
        torch.zeros(len(step), dtype=torch.int64),
        torch.from_numpy(added.astype(np.float32)),
        unit,
    )


@cache
def has_int8() -> bool:
    """Return whether this build of torch multiplies bytes by oneDNN, and rightly."""
    try:
        return _multiplies(SAFE_BYTES, 2, 64, 64)
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False


@lru_cache
def _largest_bytes(n_rows: int, n_features: int, width: int) -> tuple[int, int]:
    """Return how large the bytes of inputs and of weights may be on this processor.

    Those without 8-bit dot products add pairs of products in 16 bits, which large bytes exceed
    without a word; so products of the largest ones are tried.
    """
    import torch

    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        return SAFE_BYTES
    blocks = {block.stop - block.start for block in feature_blocks(n_features)}
    large = all(_multiplies(LARGEST_BYTES, n_rows, columns, width) for columns in blocks)
    return LARGEST_BYTES if large else SAFE_BYTES


def _multiplies(largest: tuple[int, int], n_rows: int, n_features: int, width: int) -> bool:
    """Return whether products of the largest bytes come out right in this shape."""
    import torch

    rows = np.full((n_rows, width), 2 * largest[0] + 1, np.uint8)
    units = np.full((n_features, width), largest[1], np.int8)
    true = float(rows[0, 0]) * largest[1] * width
    packed = _pack(units, np.ones(n_features), np.zeros(n_features), true / 100)
    return bool((packed.multiply(torch.from_numpy(rows), 1.0, 0) == 100).all())
