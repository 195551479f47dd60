"""The sparse autoencoder in the one form that every checkpoint format is read into.

The record is plain numpy. A feature fires where its activation is greater than 0; nothing
here is ever negative.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.float64 import squared_lengths

if TYPE_CHECKING:
    pass

ActivationKind = Literal["relu", "topk", "batchtopk", "jumprelu"]
InputKind = Literal["raw", "unit", "affine", "layernorm"]
ACTIVATION_KINDS: tuple[ActivationKind, ...] = ("relu", "topk", "batchtopk", "jumprelu")
INPUT_KINDS: tuple[InputKind, ...] = ("raw", "unit", "affine", "layernorm")


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
