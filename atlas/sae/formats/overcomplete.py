"""Overcomplete: the state dict of an SAE with the linear encoder, without an output bias.

The number k and the threshold of a batch top-k are attributes, not in the state dict: they
are asked for, never guessed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.sae.formats.weights import Found, Weights, constant, finish, make_weights, told_input
from atlas.sae.model import SAE, Activation

ENCODER = "encoder.final_block.0.weight"
BIAS = "encoder.final_block.0.bias"
TIEABLE = "encoder.weight"
ROWS = "dictionary._weights"
READS = "SAE, TopKSAE with `sae.k`, BatchTopKSAE with `sae.threshold`, JumpSAE; linear or tieable encoders; dictionary normalized (l2) times exp(multiplier)"
REFUSES = "plain state dicts without `sae.activation`, `sae.k` or `sae.threshold`: the file doesn't say which; encoders with norms or several blocks; archetypal dictionaries; pickled modules"


def is_overcomplete(found: Found) -> bool:
    """Return whether it has Overcomplete's dictionary."""
    return found.has(ROWS)


def read_overcomplete(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: The encoder is not linear, or the activation is neither in the file nor in the settings.
    """
    names = set(found.stored.tensors)
    known = {ENCODER, BIAS, TIEABLE, "encoder.bias", ROWS, "dictionary.multiplier", "thresholds"}
    known |= {"dictionary._fused_dictionary"}
    if names - known:
        extra = sorted(names - known)[0]
        raise found.refuse(
            f"{extra} belongs to no linear SAE", "use a linear encoder, an l2 dictionary"
        )
    encoder = found.take(ENCODER if found.has(ENCODER) else TIEABLE)
    name = BIAS if found.has(ENCODER) else "encoder.bias"
    bias = found.take(name) if found.has(name) else np.zeros(len(encoder), np.float32)
    rows = _dictionary(found)
    weights = make_weights(
        found, encoder, bias, rows, np.zeros(rows.shape[1], np.float32), subtracts=False
    )
    convention = told_input(found, weights.W_enc.shape[1])
    return finish(found, weights, _activation(found, weights), convention)


def _dictionary(found: Found) -> NDArray[np.float32]:
    rows = found.take(ROWS).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True) if rows.ndim == 2 else np.zeros(1)
    if not lengths.all():
        raise found.refuse(f"a row of {ROWS} has no length", "copy it again")
    grown = np.exp(float(found.take("dictionary.multiplier").reshape(-1)[0]))
    with np.errstate(over="ignore"):
        dictionary: NDArray[np.float32] = (rows / lengths * grown).astype(np.float32)
    return dictionary


def _activation(found: Found, weights: Weights) -> Activation:
    if found.has("thresholds"):
        with np.errstate(over="ignore"):
            return Activation("jumprelu", None, np.exp(found.take("thresholds")))
    if found.settings.k is not None:
        return Activation("topk", found.settings.k)
    if found.settings.threshold is not None:
        threshold = constant(found, weights, found.settings.threshold)
        # Theirs keeps what is at least the threshold, ours what is above it.
        return Activation("batchtopk", None, np.maximum(np.nextafter(threshold, np.float32(-1)), 0))
    if found.settings.activation == "relu":
        return Activation("relu")
    raise found.refuse(
        "Overcomplete's state dict does not say how activations are chosen",
        "set sae.k (TopKSAE), sae.threshold to its running_threshold (BatchTopKSAE), "
        'or sae.activation = "relu" (SAE)',
    )
