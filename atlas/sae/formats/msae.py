"""MSAE: a .pt with 'model', 'mean_center' and 'scaling_factor'; the file's name holds the activation.

(x - mean) * scale, minus pre_bias, times the encoder, plus a bias, softly capped at 30.
"""

from __future__ import annotations

import re

import numpy as np

from atlas.base.errors import InputError
from atlas.sae.formats.weights import Found, Weights, finish, make_weights
from atlas.sae.model import SAE, Activation, InputConvention

SOFT_CAP = 30.0
READS = "ReLU, TopKReLU and JumpReLU; centered and scaled input; the soft cap of 30"
REFUSES = "TopK of absolute values, TopK that keeps negative numbers; a top-k whose k is neither in the file's name nor in `sae.k`; batch top-k without `sae.threshold`"


def is_msae(found: Found) -> bool:
    """Return whether it has MSAE's tensors."""
    return found.has("model.pre_bias", "model.latent_bias", "model.encoder")


def read_msae(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: The name does not say the activation, or it is not supported.
    """
    bias = found.take("model.latent_bias")
    encoder = found.take("model.encoder")
    if encoder.ndim == 2 and len(encoder) != len(bias):
        encoder = encoder.T.copy()
    decoder = found.take("model.decoder") if found.has("model.decoder") else encoder
    weights = make_weights(
        found, encoder, bias, decoder, found.take("model.pre_bias"), subtracts=True
    )
    activation = _activation(found, weights)
    return finish(found, weights, activation, _input(found, weights), SOFT_CAP)


def _input(found: Found, weights: Weights) -> InputConvention:
    width = weights.W_enc.shape[1]
    mean = np.broadcast_to(_number(found, "mean_center", 0.0), (width,)).astype(np.float32)
    scale = np.broadcast_to(_number(found, "scaling_factor", 1.0), (width,)).astype(np.float32)
    return InputConvention("affine", mean, scale)


def _number(
    found: Found, name: str, default: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if found.has(name):
        return found.take(name).reshape(-1)
    value = found.stored.values.get(name, default)
    if type(value) not in (int, float):
        raise InputError(f"{found.stored.path}: {name} is no number; copy it again")
    return np.full(1, value, np.float32)


def _activation(found: Found, weights: Weights) -> Activation:
    name = found.stored.path.stem.lower()
    if found.has("model.activation.log_threshold"):
        threshold = np.exp(found.take("model.activation.log_threshold")).reshape(-1)
        return Activation("jumprelu", None, np.broadcast_to(threshold, weights.b_enc.shape).copy())
    if found.settings.k is not None:
        return Activation("topk", found.settings.k)
    if found.settings.threshold is not None:
        return Activation(
            "batchtopk", None, np.full(len(weights.b_enc), found.settings.threshold, np.float32)
        )
    top = re.match(r"topkrelu_(\d+)_", name)
    if top:
        return Activation("topk", int(top.group(1)))
    if name.startswith("relu"):
        return Activation("relu")
    raise found.refuse(
        "MSAE names the activation in the file's name, and this one says none that is read",
        "rename it as it was (ReLU_..., TopKReLU_64_..., JumpReLU_...), or set sae.k or sae.threshold",
    )
