"""The sparse autoencoder in the one form that every checkpoint format is read into.

The record is plain numpy. Torch is loaded only where vectors are encoded or decoded.
A feature fires where its activation is greater than 0; nothing here is ever negative.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.embeddings import inner_products, squared_lengths
from atlas.errors import InputError

if TYPE_CHECKING:
    import torch

ActivationKind = Literal["relu", "topk", "batchtopk", "jumprelu"]
InputKind = Literal["raw", "unit", "affine", "layernorm"]

ACTIVATION_KINDS: tuple[ActivationKind, ...] = ("relu", "topk", "batchtopk", "jumprelu")
INPUT_KINDS: tuple[InputKind, ...] = ("raw", "unit", "affine", "layernorm")
FEATURES_PER_BLOCK = 4096
"""Features multiplied at once: with 1,024 images a block of 16 MB."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What becomes of a pre-activation z.

    relu: max(z, 0). jumprelu, batchtopk: z where z > threshold, else 0; the threshold is what
    training a batch top-k leaves behind. topk: the k largest z of an image that are greater
    than 0, of equal ones those with the lower feature number.
    """

    kind: ActivationKind = "relu"
    k: int | None = None
    """Features that may fire on an image, for topk."""
    threshold: NDArray[np.float32] | None = None
    """(feature,) at least 0, for jumprelu and batchtopk."""


@dataclass(frozen=True, slots=True)
class InputConvention:
    """What the SAE does to an embedding x before it reads it.

    raw: nothing. unit: x / |x|. affine: (x - mean) * scale. layernorm: x minus the mean of its
    own dimensions, over their standard deviation.
    """

    kind: InputKind = "raw"
    mean: NDArray[np.float32] | None = None
    """(dimension,), for affine."""
    scale: NDArray[np.float32] | None = None
    """(dimension,), for affine."""


@dataclass(frozen=True, slots=True, eq=False)
class SAE:
    """One sparse autoencoder: z = W_enc (input - b_pre) + b_enc, a = activation(z), W_dec' a + b_dec.

    Raises:
        InputError: Shapes disagree, a number is not finite, or a parameter is impossible.
    """

    W_enc: NDArray[np.float32]
    """(feature, dimension)."""
    b_enc: NDArray[np.float32]
    """(feature,)."""
    W_dec: NDArray[np.float32]
    """(feature, dimension): each row the direction that the feature writes."""
    b_dec: NDArray[np.float32]
    """(dimension,)."""
    b_pre: NDArray[np.float32]
    """(dimension,) subtracted from the input; zeros where the SAE subtracts nothing."""
    activation: Activation = field(default_factory=Activation)
    soft_cap: float | None = None
    """c of c * tanh(z / c), applied to pre-activations before the activation; None for none."""
    input: InputConvention = field(default_factory=InputConvention)
    tied: bool = False
    """True where W_dec is W_enc."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from and how it was trained; JSON values. No part of the digest."""

    def __post_init__(self) -> None:
        """Refuse a record that can't be right."""
        _check_shapes(self)
        _check_numbers(self)
        _check_parameters(self)

    @property
    def n_features(self) -> int:
        """Number of features, dead ones included."""
        return int(self.W_enc.shape[0])

    @property
    def width(self) -> int:
        """Dimensions of an embedding."""
        return int(self.W_enc.shape[1])

    def digest(self) -> str:
        """Return the SHA-256 of all that decides an activation or a reconstruction."""
        facts = {
            "kind": self.activation.kind,
            "k": self.activation.k,
            "soft_cap": self.soft_cap,
            "input": self.input.kind,
            "shape": [self.n_features, self.width],
        }
        found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for name, array in _arrays(self):
            found.update(name.encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Firings:
    """The activations greater than 0 of some images, ordered by image, then feature."""

    image: NDArray[np.int64]
    """(firing,) row of the image in what was encoded."""
    feature: NDArray[np.int64]
    """(firing,)."""
    activation: NDArray[np.float32]
    """(firing,) greater than 0, finite, unitless."""


def limit_threads(threads: int) -> None:
    """Let torch use so many threads; 0 leaves it to torch."""
    import torch

    if threads:
        torch.set_num_threads(threads)


def decoder_norms(sae: SAE) -> NDArray[np.float32]:
    """Return each feature's decoder length (feature,)."""
    return np.sqrt(squared_lengths(sae.W_dec)).astype(np.float32)


def unit_directions(sae: SAE) -> NDArray[np.float32]:
    """Return the decoder rows scaled to length 1, (feature, dimension)."""
    lengths = np.sqrt(squared_lengths(sae.W_dec))
    return (sae.W_dec / lengths[:, None]).astype(np.float32)


def prepare(sae: SAE, x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return what the SAE reads: embeddings (row, dimension) under its input convention.

    Raises:
        InputError: The embeddings have another width than the SAE.
    """
    if x.ndim != 2 or x.shape[1] != sae.width:
        raise InputError(
            f"embeddings have shape {x.shape}, the SAE expects (rows, {sae.width}); "
            "use embeddings of the encoder that the SAE was trained on"
        )
    if sae.input.kind == "raw":
        return x.astype(np.float32)  # a copy: torch refuses read-only memory
    wide = x.astype(np.float64)
    if sae.input.kind == "affine":
        assert sae.input.mean is not None
        assert sae.input.scale is not None
        wide = (wide - sae.input.mean) * sae.input.scale
    else:
        if sae.input.kind == "layernorm":
            wide = wide - wide.mean(axis=1, keepdims=True)
        length = np.sqrt(np.einsum("rd,rd->r", wide, wide))[:, None]
        if not length.all():
            raise InputError(
                f"row {int(np.argmin(length))} has no direction left after {sae.input.kind}; "
                "drop that image"
            )
        unit = 1.0 if sae.input.kind == "unit" else np.sqrt(sae.width)
        wide = wide / length * unit
    return wide.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """An SAE made ready to encode many batches on one device."""

    sae: SAE
    device: str
    weights: torch.Tensor
    """W_enc, (feature, dimension), on the device."""
    bias: NDArray[np.float64]
    """(feature,) b_enc with the pre-bias folded in."""
    lengths: NDArray[np.float64]
    """(feature,) lengths of the rows of W_enc."""

    def fire(self, x: NDArray[np.floating[Any]]) -> Firings:
        """Encode embeddings exactly, whatever the device, threads or number of rows.

        A float32 matrix product finds every feature that could fire, with a margin that its
        rounding can't exceed; those are computed again in float64 and rounded once.

        Args:
            x: (row, dimension) embeddings.

        Raises:
            InputError: The embeddings have another width, or an activation exceeds float32.
        """
        inputs = prepare(self.sae, x)
        if self.sae.activation.kind == "topk":
            rows, features = self._topk_candidates(inputs)
        else:
            rows, features = self._candidates(inputs)
        pre = inner_products(inputs, rows, self.sae.W_enc, features) + self.bias[features]
        return _activate(self.sae, rows, features, _to_single(pre))

    def _margins(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return, per feature, more than a float32 product of these inputs can be off by."""
        longest = float(np.sqrt(squared_lengths(inputs).max(initial=0.0)))
        # |error| <= d u |x||w| for any order of summation; doubled, with the bias and its sum.
        unit = (self.sae.width + 4) * 2.0**-23
        margins = unit * (longest * self.lengths + np.abs(self.bias)) + 1e-37
        return _to_single(margins)

    def _blocks(self, inputs: NDArray[np.float32]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first feature, float32 pre-activations (row, feature of the block))."""
        import torch

        x = torch.from_numpy(inputs).to(self.device)
        bias = torch.from_numpy(_to_single(self.bias)).to(self.device)
        for first in range(0, self.sae.n_features, FEATURES_PER_BLOCK):
            block = slice(first, first + FEATURES_PER_BLOCK)
            with torch.no_grad():
                yield first, torch.addmm(bias[block], x, self.weights[block].T)

    def _candidates(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (rows, features) that include every firing, ordered by row, then feature."""
        import torch

        floor = -self._margins(inputs)
        if self.sae.activation.threshold is not None and self.sae.soft_cap is None:
            floor = floor + self.sae.activation.threshold * np.float32(1 - 2.0**-20)
        floors = torch.from_numpy(floor).to(self.device)
        found = []
        for first, pre in self._blocks(inputs):
            # Not "pre > floor": a NaN from an overflow must be looked at again, too.
            hits = torch.nonzero(~(pre <= floors[first : first + pre.shape[1]])).cpu().numpy()
            found.append(hits + np.array([[0, first]]))
        pairs = np.concatenate(found)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        return pairs[order, 0], pairs[order, 1]

    def _topk_candidates(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (rows, features) that include the k largest of every row, ordered."""
        import torch

        assert self.sae.activation.k is not None
        pre = torch.cat([block for _, block in self._blocks(inputs)], dim=1)
        margins = torch.from_numpy(self._margins(inputs)).to(self.device)
        lowest = torch.topk(pre - margins, self.sae.activation.k, dim=1).values[:, -1:]
        possible = ~(pre + margins < torch.clamp(lowest, min=0.0))
        hits = torch.nonzero(possible).cpu().numpy()
        return hits[:, 0], hits[:, 1]


def make_encoder(sae: SAE, device: str = "cpu") -> Encoder:
    """Return the SAE ready to encode on a torch device."""
    import torch

    return Encoder(
        sae=sae,
        device=device,
        weights=torch.from_numpy(sae.W_enc).to(device),
        bias=_folded_bias(sae, np.arange(sae.n_features)),
        lengths=np.sqrt(squared_lengths(sae.W_enc)),
    )


def fire(sae: SAE, x: NDArray[np.floating[Any]], device: str = "cpu") -> Firings:
    """Return all that fires on embeddings x (row, dimension); see Encoder.fire."""
    return make_encoder(sae, device).fire(x)


def _to_single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32; what lies beyond becomes infinite, for the caller to refuse."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _folded_bias(sae: SAE, features: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return b_enc minus what the pre-bias contributes, of chosen features."""
    before = inner_products(sae.W_enc, features, sae.b_pre[None], np.zeros_like(features))
    return sae.b_enc[features] - before


def pre_activations(
    sae: SAE,
    x: NDArray[np.floating[Any]],
    rows: NDArray[np.int64],
    features: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return z of chosen (row of x, feature) pairs, before soft cap and activation."""
    pre = inner_products(prepare(sae, x), rows, sae.W_enc, features)
    pre += _folded_bias(sae, features)
    return _to_single(pre)


def encode(sae: SAE, x: NDArray[np.floating[Any]], device: str = "cpu") -> NDArray[np.float32]:
    """Return the (row, feature) activations of embeddings (row, dimension), as fire() has them."""
    firings = fire(sae, x, device)
    dense = np.zeros((len(x), sae.n_features), np.float32)
    dense[firings.image, firings.feature] = firings.activation
    return dense


def decode(sae: SAE, codes: NDArray[np.float32], device: str = "cpu") -> NDArray[np.float32]:
    """Return reconstructions (row, dimension) of activations (row, feature).

    They lie in the space that the SAE reads, that is after its input convention.
    """
    import torch

    weights = torch.from_numpy(sae.W_dec).to(device)
    bias = torch.from_numpy(sae.b_dec).to(device)
    with torch.no_grad():
        found = torch.addmm(bias, torch.from_numpy(codes).to(device), weights)
    array: NDArray[np.float32] = found.cpu().numpy()
    return array


def reconstruct(
    sae: SAE, firings: Firings, n_images: int, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return reconstructions (image, dimension) from sparse activations.

    Each image is summed by itself in the order of its features, so that the result does not
    depend on which images are decoded together.
    """
    import torch

    starts = np.searchsorted(firings.image, np.arange(n_images))
    with torch.no_grad():
        sums = torch.nn.functional.embedding_bag(
            torch.from_numpy(firings.feature).to(device),
            torch.from_numpy(sae.W_dec).to(device),
            torch.from_numpy(starts).to(device),
            mode="sum",
            per_sample_weights=torch.from_numpy(firings.activation).to(device),
        )
    found: NDArray[np.float32] = sums.cpu().numpy() + sae.b_dec
    return found


def _activate(
    sae: SAE, rows: NDArray[np.int64], features: NDArray[np.int64], pre: NDArray[np.float32]
) -> Firings:
    """Return what fires among candidates that are ordered by row, then feature."""
    value = pre
    if sae.soft_cap is not None:
        value = (sae.soft_cap * np.tanh(pre.astype(np.float64) / sae.soft_cap)).astype(np.float32)
    fires = value > 0
    if sae.activation.threshold is not None:
        fires &= value > sae.activation.threshold[features]
    if sae.activation.kind == "topk":
        assert sae.activation.k is not None
        fires &= _rank_in_row(rows, features, pre) < sae.activation.k
    kept = value[fires]
    if not np.isfinite(kept).all():
        raise InputError(
            f"feature {int(features[fires][np.argmax(~np.isfinite(kept))])} activates beyond "
            "float32; check the scale of the embeddings against what the SAE was trained on"
        )
    return Firings(rows[fires], features[fires], kept)


def _rank_in_row(
    rows: NDArray[np.int64], features: NDArray[np.int64], pre: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return each candidate's place in its row, 0 for the largest; ties by feature."""
    order = np.lexsort((features, -pre, rows))
    starts = np.searchsorted(rows, rows)  # rows are sorted, and so stay under order
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - starts
    return ranks


def _arrays(sae: SAE) -> list[tuple[str, NDArray[np.float32]]]:
    named = [
        ("W_enc", sae.W_enc),
        ("b_enc", sae.b_enc),
        ("W_dec", sae.W_dec),
        ("b_dec", sae.b_dec),
        ("b_pre", sae.b_pre),
        ("threshold", sae.activation.threshold),
        ("input_mean", sae.input.mean),
        ("input_scale", sae.input.scale),
    ]
    return [(name, array) for name, array in named if array is not None]


def _check_shapes(sae: SAE) -> None:
    if sae.W_enc.ndim != 2 or 0 in sae.W_enc.shape:
        raise InputError(
            f"the SAE's W_enc has shape {sae.W_enc.shape}, expected (features, dimensions)"
        )
    n_features, width = sae.W_enc.shape
    shapes = {2: (n_features, width), 1: (width,)}
    for name, array in _arrays(sae):
        expected = shapes[2 if name.startswith("W_") else 1]
        if name in ("b_enc", "threshold"):
            expected = (n_features,)
        if array.shape != expected:
            raise InputError(f"the SAE's {name} has shape {array.shape}, expected {expected}")
        if array.dtype != np.float32:
            raise InputError(f"the SAE's {name} holds {array.dtype}, expected float32")


def _check_numbers(sae: SAE) -> None:
    for name, array in _arrays(sae):
        finite = np.isfinite(array)
        if not finite.all():
            where = tuple(int(index) for index in np.argwhere(~finite)[0])
            raise InputError(
                f"the SAE's {name} has {array[where]} at row {where[0]}, expected a finite "
                "number; the checkpoint is damaged"
            )
    zero = ~sae.W_dec.any(axis=1)
    if zero.any():
        raise InputError(
            f"the SAE's W_dec has length 0 at row {int(np.argmax(zero))}, expected a direction; "
            "the checkpoint is damaged, or this feature was removed"
        )


def _check_parameters(sae: SAE) -> None:
    if sae.soft_cap is not None and not 0 < sae.soft_cap < np.inf:
        raise InputError(f"the SAE's soft cap is {sae.soft_cap}, expected more than 0")
    if sae.tied and not np.array_equal(sae.W_enc, sae.W_dec):
        raise InputError("the SAE says tied, but W_dec is not W_enc; the checkpoint is damaged")
    _check_activation(sae)
    _check_input(sae.input)


def _check_activation(sae: SAE) -> None:
    activation = sae.activation
    if activation.kind not in ACTIVATION_KINDS:
        raise InputError(f"the SAE's activation is {activation.kind!r}, known: {ACTIVATION_KINDS}")
    needs_k = activation.kind == "topk"
    needs_threshold = activation.kind in ("jumprelu", "batchtopk")
    if needs_k != (activation.k is not None):
        raise InputError(f"activation {activation.kind} with k = {activation.k}; only topk has k")
    if needs_threshold != (activation.threshold is not None):
        raise InputError(
            f"activation {activation.kind} {'lacks' if needs_threshold else 'has'} a threshold; "
            "jumprelu and batchtopk have one, the others none"
        )
    if activation.k is not None and not 1 <= activation.k <= sae.n_features:
        raise InputError(
            f"the SAE's k is {activation.k}, expected 1 to {sae.n_features}, its features"
        )
    if activation.threshold is not None and (activation.threshold < 0).any():
        feature = int(np.argmax(activation.threshold < 0))
        raise InputError(
            f"the SAE's threshold is {activation.threshold[feature]} at feature {feature}, expected "
            "at least 0; SAEs with negative activations are not supported"
        )


def _check_input(convention: InputConvention) -> None:
    if convention.kind not in INPUT_KINDS:
        raise InputError(f"the SAE's input is {convention.kind!r}, known: {INPUT_KINDS}")
    given = (convention.mean is not None, convention.scale is not None)
    expected = (True, True) if convention.kind == "affine" else (False, False)
    if given != expected:
        raise InputError(f"input {convention.kind} with (mean, scale) {given}, expected {expected}")
    if convention.scale is not None and (convention.scale <= 0).any():
        raise InputError("the SAE's input scale must be greater than 0 in every dimension")
