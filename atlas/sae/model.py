"""The sparse autoencoder in the one form that every checkpoint format is read into.

The record is plain numpy. Torch is loaded only where vectors are encoded or decoded.
A feature fires where its activation is greater than 0; nothing here is ever negative.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import CheckError, InputError
from atlas.base.float64 import inner_products, squared_lengths
from atlas.sae.float_screens import Float32Screen, make_float32
from atlas.sae.screening import Needs, Screen, float32_bound
from atlas.sae.screens import MANY_IMAGES, make_screen
from atlas.settings.runtime import ScreenKind

if TYPE_CHECKING:
    import torch

ActivationKind = Literal["relu", "topk", "batchtopk", "jumprelu"]
InputKind = Literal["raw", "unit", "affine", "layernorm"]

ACTIVATION_KINDS: tuple[ActivationKind, ...] = ("relu", "topk", "batchtopk", "jumprelu")
INPUT_KINDS: tuple[InputKind, ...] = ("raw", "unit", "affine", "layernorm")
TOPK_ROWS = 128
"""Rows whose products with all features are held at once, where a top-k is wanted."""
WIDE_ROWS = 512
"""Features whose weights are widened to float64 at once: few enough to stay in the cache."""
PAIRS_ON_DEVICE = 65_536
"""Pairs of rows multiplied at once on a GPU."""


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


@dataclass(frozen=True, eq=False)
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
        return self._digest

    @cached_property
    def _digest(self) -> str:
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
    named: int = 0
    """Pairs of image and feature that the screen named; says how good it was, and nothing else."""


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
        return _as_single(x)  # a copy: torch refuses read-only memory
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


def _as_single(x: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return x as float32, never the same memory."""
    if x.dtype != np.float16:
        return x.astype(np.float32)
    import torch  # widens float16 in a sixth of numpy's time

    wide: NDArray[np.float32] = torch.from_numpy(np.array(x)).float().numpy()
    return wide


@dataclass(frozen=True, slots=True, eq=False)
class Encoder:
    """An SAE made ready to encode many batches on one device."""

    sae: SAE
    device: str
    bias: NDArray[np.float64]
    """(feature,) b_enc with the pre-bias folded in."""
    screen: Screen
    """Finds what could fire."""
    exact: Float32Screen
    """The products that a top-k is found in."""

    def fire(self, x: NDArray[np.floating[Any]]) -> Firings:
        """Encode embeddings (row, dimension); see fire_prepared.

        Raises:
            InputError: The embeddings have another width, or an activation exceeds float32.
        """
        return self.fire_prepared(prepare(self.sae, x))

    def fire_prepared(self, inputs: NDArray[np.float32]) -> Firings:
        """Encode exactly, whatever the screen, threads or number of rows.

        The screen finds every feature that could fire, with a margin that its rounding can't
        exceed; those are computed again in float64 and rounded once. On a CUDA device the
        float64 sums are taken there, in another order: the last bit may differ from the CPU's.

        Args:
            inputs: (row, dimension) what prepare() gives.

        Raises:
            InputError: An activation exceeds float32.
        """
        if self.sae.activation.kind == "topk":
            rows, features = self._topk_candidates(inputs)
            named = len(rows)
        else:
            rows, features, named = self._candidates(inputs)
        pre = self._products(inputs, rows, features) + self.bias[features]
        return replace(_activate(self.sae, rows, features, _to_single(pre)), named=named)

    def _products(
        self, inputs: NDArray[np.float32], rows: NDArray[np.int64], features: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return (pair,) inner products in float64, each summed by itself."""
        if not self.device.startswith("cuda"):
            return inner_products(inputs, rows, self.sae.W_enc, features)
        return products_on_device(inputs, rows, self.exact.weights, features)

    def _candidates(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Return (rows, features) that include every firing, ordered, and how many were named."""
        found = list(self.screen.search(inputs))
        rows = np.concatenate([pairs.rows for pairs in found])
        features = np.concatenate([pairs.columns + pairs.first for pairs in found])
        order = np.argsort(rows * self.sae.n_features + features, kind="stable")
        return rows[order], features[order], sum(pairs.named for pairs in found)

    def _topk_candidates(
        self, inputs: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (rows, features) that include the k largest of every row, ordered."""
        found = [
            (rows + start, features)
            for start in range(0, len(inputs), TOPK_ROWS)
            for rows, features in [self._topk_of(inputs[start : start + TOPK_ROWS])]
        ]
        return np.concatenate([pair[0] for pair in found]), np.concatenate(
            [pair[1] for pair in found]
        )

    def _topk_of(self, inputs: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        import torch

        assert self.sae.activation.k is not None
        single = torch.from_numpy(_to_single(self.bias)).to(self.device)
        pre = torch.cat([block.clone() for _, block in self.exact.products(inputs)], dim=1) + single
        longest = float(np.sqrt(squared_lengths(inputs).max(initial=0.0)))
        needs = self.exact.needs
        margin = float32_bound(self.sae.width) * (longest * needs.lengths + np.abs(self.bias))
        margins = torch.from_numpy(_to_single(margin + 1e-37)).to(self.device)
        lowest = torch.topk(pre - margins, self.sae.activation.k, dim=1).values[:, -1:]
        # Not "at least": a NaN from an overflow must be looked at again, too.
        possible = ~(pre + margins < torch.clamp(lowest, min=0.0))
        hits = torch.nonzero(possible).cpu().numpy()
        return hits[:, 0], hits[:, 1]


def check_firings(encoder: Encoder, x: NDArray[np.floating[Any]], firings: Firings) -> None:
    """Compare firings of some embeddings (row, dimension) with a dense product in float64.

    Raises:
        CheckError: An activation is missing, too many, or wrong.
    """
    sae = encoder.sae
    inputs = prepare(sae, x).astype(np.float64)
    found = np.zeros((len(x), sae.n_features), np.float32)
    found[firings.image, firings.feature] = firings.activation
    true = np.empty(found.shape, np.float64)
    room = np.empty((WIDE_ROWS, sae.width))
    for first in range(0, sae.n_features, WIDE_ROWS):
        weights = sae.W_enc[first : first + WIDE_ROWS]
        wide = room[: len(weights)]
        wide[...] = weights
        true[:, first : first + len(wide)] = inputs @ wide.T
    true += encoder.bias
    if sae.soft_cap is not None:
        true = sae.soft_cap * np.tanh(true / sae.soft_cap)
    least = np.zeros((1, 1)) if sae.activation.threshold is None else sae.activation.threshold[None]
    if sae.activation.k is not None:
        least = np.maximum(np.sort(true, axis=1)[:, [-sae.activation.k]], 0)
    lengths = np.sqrt(np.einsum("rd,rd->r", inputs, inputs))[:, None] * encoder.exact.needs.lengths
    # Sums in another order, and values that were rounded to float32 before they were compared.
    slack = 1e-9 * (lengths + np.abs(encoder.bias)) + 2.0**-22 * np.maximum(np.abs(true), least)
    wrong = (found == 0) & (true > least + slack)
    wrong |= (found > 0) & ((np.abs(found - true) > slack) | (true < least - slack))
    if wrong.any():
        row, feature = (int(index) for index in np.argwhere(wrong)[0])
        raise CheckError(
            f"feature {feature} has activation {found[row, feature]:.9g} on an image, float64 says "
            f"{true[row, feature]:.9g}; set runtime.screen to float32, and report this processor"
        )


def products_on_device(
    inputs: NDArray[np.float32],
    rows: NDArray[np.int64],
    weights: torch.Tensor,
    features: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return inner_products(inputs, rows, weights, features), taken where the weights lie."""
    import torch

    device = weights.device
    left = torch.from_numpy(inputs).to(device)
    at, of = (torch.from_numpy(index).to(device) for index in (rows, features))
    found = [
        (left[at[pairs]].double() * weights[of[pairs]].double()).sum(dim=1)
        for start in range(0, len(rows), PAIRS_ON_DEVICE)
        for pairs in [slice(start, start + PAIRS_ON_DEVICE)]
    ]
    if not found:
        return np.empty(0, np.float64)
    whole: NDArray[np.float64] = torch.cat(found).cpu().numpy()
    return whole


def make_encoder(
    sae: SAE,
    device: str = "cpu",
    screen: ScreenKind = "float32",
    sample: NDArray[np.floating[Any]] | None = None,
    n_images: int = MANY_IMAGES,
) -> Encoder:
    """Return the SAE ready to encode on a torch device.

    Args:
        sae: What encodes.
        device: Torch device.
        screen: How candidates are found; changes no activation.
        sample: (row, dimension) embeddings like those to come, for screens that need some.
        n_images: How many are to come; decides which screen auto takes.
    """
    bias = _folded_bias(sae, np.arange(sae.n_features))
    floor: NDArray[np.floating[Any]] = np.zeros(sae.n_features)
    if sae.activation.threshold is not None and sae.soft_cap is None:
        floor = sae.activation.threshold * (1 - 2.0**-20)
    rounding = 2.0**-22 * (np.abs(bias) + np.abs(floor))
    needs = Needs(sae.W_enc, floor - bias - rounding, np.sqrt(squared_lengths(sae.W_enc)))
    inputs = None if sample is None else prepare(sae, sample)
    exact = make_float32(needs, device, numpy=False)
    if sae.activation.kind == "topk" or inputs is None:
        found: Screen = exact
    else:
        found = make_screen(needs, device, screen, inputs, n_images)
    return Encoder(sae=sae, device=device, bias=bias, screen=found, exact=exact)


def fire(sae: SAE, x: NDArray[np.floating[Any]], device: str = "cpu") -> Firings:
    """Return all that fires on embeddings x (row, dimension); see Encoder.fire."""
    return make_encoder(sae, device).fire(x)


def _to_single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round to float32; what lies beyond becomes infinite, for the caller to refuse."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _folded_bias(sae: SAE, features: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return b_enc minus what the pre-bias contributes, of chosen features."""
    if not sae.b_pre.any():
        return sae.b_enc[features].astype(np.float64)
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
