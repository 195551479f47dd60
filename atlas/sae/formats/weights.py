"""From a family's own arrays to the record of atlas.sae.model, by identities that change no activation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.npy import map_npy
from atlas.sae.formats.tensors import Stored
from atlas.sae.model import SAE, Activation, InputConvention
from atlas.settings.sae import SaeSettings


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint whose format is not known yet."""

    stored: Stored
    """What its file of weights holds."""
    config: dict[str, Any]
    """The JSON beside the weights (cfg.json, config.json); empty where there is none."""
    settings: SaeSettings
    """What the user says of it."""

    def take(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32.

        Raises:
            InputError: The file lacks it, or it holds whole numbers.
        """
        array = self.stored.tensors.get(name)
        if array is None:
            names = ", ".join(sorted(self.stored.tensors)[:12])
            raise InputError(f"{self.stored.path} lacks {name}; it has {names}")
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{self.stored.path}: {name} holds {array.dtype}, expected floats")
        with np.errstate(over="ignore"):  # what lies beyond becomes infinite, and is refused
            return np.array(array, np.float32, order="C")  # a copy: a file's bytes are read-only

    def has(self, *names: str) -> bool:
        """Return whether the file holds all these tensors."""
        return all(name in self.stored.tensors for name in names)

    def whole(self, name: str, value: Any) -> int:
        """Return a whole number that a file says.

        Raises:
            InputError: It is none.
        """
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if type(value) is not int:
            raise self.refuse(
                f"{name} is {str(value)[:40]!r}, expected a whole number", "set sae.k"
            )
        return value

    def refuse(self, what: str, then: str) -> InputError:
        """Return the error that says what of this checkpoint can't be honored, and what next."""
        return InputError(f"{self.stored.path}: {what}; {then}")


@dataclass(frozen=True, slots=True)
class Weights:
    """The matrices and vectors of an SAE, each (feature, dimension), (feature,) or (dimension,)."""

    W_enc: NDArray[np.float32]
    b_enc: NDArray[np.float32]
    W_dec: NDArray[np.float32]
    b_dec: NDArray[np.float32]
    b_pre: NDArray[np.float32]


def make_weights(
    found: Found,
    encoder: NDArray[np.float32],
    bias: NDArray[np.float32],
    decoder: NDArray[np.float32],
    b_dec: NDArray[np.float32],
    *,
    subtracts: bool,
) -> Weights:
    """Return weights whose shapes agree.

    Args:
        found: For its name in an error.
        encoder: (feature, dimension).
        bias: (feature,).
        decoder: (feature, dimension).
        b_dec: (dimension,).
        subtracts: Whether b_dec is subtracted from the input before it is encoded.

    Raises:
        InputError: Shapes disagree.
    """
    shapes = [array.shape for array in (encoder, bias, decoder, b_dec)]
    f, d = encoder.shape if encoder.ndim == 2 else (-1, -1)
    if shapes != [(f, d), (f,), (f, d), (d,)]:
        said = ", ".join(str(shape) for shape in shapes)
        raise found.refuse(
            f"encoder, its bias, decoder and its bias have shapes {said}, which don't fit",
            "copy it again, or name its format in sae.format",
        )
    return Weights(encoder, bias, decoder, b_dec, b_dec if subtracts else np.zeros_like(b_dec))


def scale_input(weights: Weights, factor: float) -> Weights:
    """Return weights for inputs that are a factor shorter than those the SAE was trained on."""
    return replace(
        weights,
        W_enc=_single(weights.W_enc * np.float64(factor)),
        W_dec=_single(weights.W_dec / np.float64(factor)),
        b_dec=_single(weights.b_dec / np.float64(factor)),
        b_pre=_single(weights.b_pre / np.float64(factor)),
    )


def measure_by_decoder(weights: Weights) -> Weights:
    """Return weights whose activations are those before, times the decoder row's length."""
    lengths = np.linalg.norm(weights.W_dec.astype(np.float64), axis=1)
    if not lengths.all():
        raise InputError(
            f"the SAE's W_dec has length 0 at row {int(np.argmin(lengths))}, expected a direction; "
            "the checkpoint is damaged"
        )
    return replace(
        weights,
        W_enc=_single(weights.W_enc * lengths[:, None]),
        b_enc=_single(weights.b_enc * lengths),
        W_dec=_single(weights.W_dec / lengths[:, None]),
    )


def open_gate(
    weights: Weights,
    r_mag: NDArray[np.float32],
    b_gate: NDArray[np.float32],
    b_mag: NDArray[np.float32],
) -> tuple[Weights, NDArray[np.float32]]:
    """Return the jumprelu SAE that a gated one is, and its thresholds (feature,).

    With tied gates, p + b_gate > 0 is the same as e^r p + b_mag > b_mag - e^r b_gate. A negative
    threshold never matters, as the magnitude must be above 0 as well.
    """
    grown = np.exp(r_mag.astype(np.float64))
    threshold = b_mag - grown * b_gate
    opened = replace(weights, W_enc=_single(weights.W_enc * grown[:, None]), b_enc=b_mag)
    return opened, _single(np.maximum(threshold, 0))


def read_norm(found: Found, weights: Weights, kind: str) -> tuple[Weights, InputConvention]:
    """Return the weights and the convention of SAELens' and ViT-Prisma's names for them.

    Raises:
        InputError: The name is not one that can be honored.
    """
    width = weights.W_enc.shape[1]
    if kind == "constant_norm_rescale":
        return scale_input(weights, math.sqrt(width)), InputConvention("unit")
    if kind == "layer_norm":
        # Theirs divides by the deviation of n - 1, ours by that of n.
        return scale_input(weights, math.sqrt((width - 1) / width)), InputConvention("layernorm")
    if kind in ("none", "None", ""):
        return weights, InputConvention("raw")
    raise found.refuse(
        f"it normalizes its input by {str(kind)[:60]!r}, which is not read",
        "fold the factor into the weights with its own library, and save it again",
    )


def told_input(found: Found, width: int) -> InputConvention:
    """Return the convention that the user names: affine where sae.input_mean or _scale is set.

    Raises:
        InputError: The mean is no vector of numbers.
    """
    settings = found.settings
    if settings.input_mean is None and settings.input_scale is None:
        return InputConvention("raw")
    mean = _told_mean(found)
    center = np.zeros(width, np.float32) if mean is None else mean
    scale = 1.0 if settings.input_scale is None else settings.input_scale
    return InputConvention("affine", center, np.full(width, scale, np.float32))


def _told_mean(found: Found) -> NDArray[np.float32] | None:
    path = found.settings.input_mean
    if path is None:
        return None
    try:
        mean = map_npy(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no .npy file of numbers; see sae.input_mean") from error
    return np.asarray(mean, np.float32).reshape(-1)


def finish(
    found: Found,
    weights: Weights,
    activation: Activation,
    convention: InputConvention | None = None,
    soft_cap: float | None = None,
) -> SAE:
    """Return the record, with what the checkpoint says of itself as its provenance."""
    known = {**found.stored.values, **found.stored.header, **found.config}
    return SAE(
        W_enc=weights.W_enc,
        b_enc=weights.b_enc,
        W_dec=weights.W_dec,
        b_dec=weights.b_dec,
        b_pre=weights.b_pre,
        activation=activation,
        soft_cap=soft_cap,
        input=convention or InputConvention("raw"),
        tied=np.array_equal(weights.W_enc, weights.W_dec),
        provenance={"file": found.stored.path.name, "config": _plain(known)},
    )


def _plain(value: Any, depth: int = 0) -> Any:
    """Return JSON values: what is none is named by its type."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if depth < 4 and isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if depth < 4 and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value[:100]]
    return type(value).__name__


def constant(found: Found, weights: Weights, value: float) -> NDArray[np.float32]:
    """Return one threshold for all features (feature,), at least 0."""
    if not math.isfinite(value):
        raise found.refuse(f"its threshold is {value}", "set sae.threshold")
    return np.full(len(weights.b_enc), max(value, 0.0), np.float32)


def told_activation(found: Found, weights: Weights, default: Activation) -> Activation:
    """Return the activation that the user names by sae.k or sae.threshold, else the default."""
    if found.settings.k is not None:
        return Activation("topk", found.settings.k)
    if found.settings.threshold is not None:
        return Activation("jumprelu", None, constant(found, weights, found.settings.threshold))
    return default


def _single(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
