"""dictionary_learning: ae.pt, and config.json that names its class.

Its loader scales the standard SAE so that decoder rows have length 1; activations here are those
that it then gives.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.sae.formats.weights import (
    Found,
    Weights,
    constant,
    finish,
    make_weights,
    measure_by_decoder,
    open_gate,
    told_input,
)
from atlas.sae.model import SAE, Activation

LINEAR = ("encoder.weight", "decoder.weight")
READS = "AutoEncoder, AutoEncoderNew, GatedAutoEncoder, AutoEncoderTopK, BatchTopKSAE and MatryoshkaBatchTopKSAE (by their threshold), JumpReluAutoEncoder"
REFUSES = "top-k and batch top-k without config.json, which hold the same tensors, unless `sae.k` or `sae.threshold` is set; a batch top-k whose threshold was never set"


def is_dictionary_learning(found: Found) -> bool:
    """Return whether the tensors are those of one of its classes."""
    linear = found.has(*LINEAR) and (
        found.has("bias", "encoder.bias")
        or found.has("b_dec", "encoder.bias")
        or found.has("encoder.bias", "decoder.bias")
        or found.has("r_mag", "gate_bias")
    )
    jump = found.has("W_enc", "b_enc", "W_dec", "b_dec", "threshold") and not found.stored.header
    return linear or (jump and found.stored.path.suffix != ".safetensors")


def read_dictionary_learning(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: It is not known which class the tensors are of, or one is missing.
    """
    if found.has("W_enc"):
        weights = make_weights(
            found,
            found.take("W_enc").T.copy(),
            found.take("b_enc"),
            found.take("W_dec"),
            found.take("b_dec"),
            subtracts=False,
        )
        activation = Activation("jumprelu", None, np.maximum(found.take("threshold"), 0))
    else:
        weights, activation = _linear(found)
    return finish(found, weights, activation, told_input(found, weights.W_enc.shape[1]))


def _linear(found: Found) -> tuple[Weights, Activation]:
    encoder, decoder = found.take("encoder.weight"), found.take("decoder.weight").T.copy()
    if found.has("r_mag"):
        gate = found.take("gate_bias")
        weights = make_weights(
            found, encoder, gate, decoder, found.take("decoder_bias"), subtracts=True
        )
        weights, threshold = open_gate(weights, found.take("r_mag"), gate, found.take("mag_bias"))
        return weights, Activation("jumprelu", None, threshold)
    bias = found.take("encoder.bias")
    if found.has("bias"):
        weights = make_weights(found, encoder, bias, decoder, found.take("bias"), subtracts=True)
        return measure_by_decoder(weights), Activation("relu")
    if found.has("decoder.bias"):
        b_dec = found.take("decoder.bias")
        return make_weights(found, encoder, bias, decoder, b_dec, subtracts=False), Activation(
            "relu"
        )
    weights = make_weights(found, encoder, bias, decoder, found.take("b_dec"), subtracts=True)
    return weights, _sparse(found, weights)


def _sparse(found: Found, weights: Weights) -> Activation:
    """Return the activation of a top-k or batch top-k, whose tensors have the same names."""
    if found.settings.k is not None:
        return Activation("topk", found.settings.k)
    if found.settings.threshold is not None:
        return Activation("batchtopk", None, constant(found, weights, found.settings.threshold))
    trainer: Any = found.config.get("trainer")
    name = str(trainer.get("dict_class", "")) if isinstance(trainer, dict) else ""
    if name == "AutoEncoderTopK":
        return Activation("topk", found.whole("k", found.stored.tensors.get("k")))
    threshold = float(found.take("threshold").reshape(-1)[0]) if found.has("threshold") else -1.0
    if "BatchTopK" in name and threshold >= 0:
        return Activation("batchtopk", None, constant(found, weights, threshold))
    if "BatchTopK" in name:
        raise found.refuse(
            f"its batch top-k threshold is {threshold}: never set", "set sae.threshold"
        )
    raise found.refuse(
        "top-k and batch top-k hold the same tensors, and no config.json names trainer.dict_class",
        "set sae.k for a top-k of each image, or sae.threshold for a batch top-k",
    )
