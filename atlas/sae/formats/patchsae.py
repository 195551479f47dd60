"""PatchSAE, and Hugo Fry's before it: a .pt with state_dict; relu((x - b_dec) W + b).

As published the file holds a configuration object too, which would have to be run: only a
file that holds the state dict alone is read.
"""

from __future__ import annotations

from atlas.sae.formats.weights import (
    Found,
    finish,
    make_weights,
    open_gate,
    told_activation,
    told_input,
)
from atlas.sae.model import SAE, Activation

READS = "relu and gated, of a .pt or .safetensors with the state dict alone (with or without its `state_dict` key), where `sae.format` names it"
REFUSES = "the file as published, whose `cfg` is a Python object (the error says how to save the state dict)"


def is_patchsae(_: Found) -> bool:
    """Return False: other families use the same names in other ways, so this format must be named."""
    return False


def _prefix(found: Found) -> str | None:
    for prefix in ("state_dict.", ""):
        if found.has(f"{prefix}W_enc", f"{prefix}W_dec", f"{prefix}b_dec"):
            return prefix
    return None


def read_patchsae(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: A tensor is missing or has the wrong shape.
    """
    prefix = _prefix(found) or ""
    gated = found.has(f"{prefix}r_mag")
    bias = f"{prefix}{'b_gate' if gated else 'b_enc'}"
    weights = make_weights(
        found,
        found.take(f"{prefix}W_enc").T.copy(),
        found.take(bias),
        found.take(f"{prefix}W_dec"),
        found.take(f"{prefix}b_dec"),
        subtracts=found.settings.pre_bias is not False,
    )
    activation = told_activation(found, weights, Activation("relu"))
    if gated:
        r_mag, b_mag = found.take(f"{prefix}r_mag"), found.take(f"{prefix}b_mag")
        weights, threshold = open_gate(weights, r_mag, found.take(bias), b_mag)
        activation = Activation("jumprelu", None, threshold)
    return finish(found, weights, activation, told_input(found, weights.W_enc.shape[1]))
