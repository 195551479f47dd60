"""ViT-Prisma: config.json beside a .pt of W_enc, b_enc, W_dec, b_dec, or with both in one dictionary.

b_dec is subtracted after the input is normalized, by default by a layer norm.
"""

from __future__ import annotations

from typing import Any

from atlas.sae.formats.weights import (
    Found,
    Weights,
    finish,
    make_weights,
    open_gate,
    read_norm,
)
from atlas.sae.model import SAE, Activation

READS = "standard (relu, topk) and gated; `normalize_activations` none, constant_norm_rescale, layer_norm (without the 1e-5 that is added to the deviation)"
REFUSES = "pickled configurations (only the state dict is read, with config.json beside it); transcoders; expected_average_only_in"


def is_prisma(found: Found) -> bool:
    """Return whether it has the four tensors and a configuration in ViT-Prisma's words."""
    named = found.has("W_enc", "W_dec", "b_dec")
    return named and "normalize_activations" in found.config and "activation_fn_str" in found.config


def read_prisma(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: It is an architecture or a convention that can't be honored.
    """
    config = found.config
    if config.get("is_transcoder"):
        raise found.refuse("it is a transcoder: it writes another layer", "use an SAE")
    gated = found.has("r_mag")
    weights = make_weights(
        found,
        found.take("W_enc").T.copy(),
        found.take("b_gate" if gated else "b_enc"),
        found.take("W_dec"),
        found.take("b_dec"),
        subtracts=True,
    )
    weights, activation = _activation(found, weights, gated=gated)
    weights, convention = read_norm(found, weights, str(config["normalize_activations"]))
    return finish(found, weights, activation, convention)


def _activation(found: Found, weights: Weights, *, gated: bool) -> tuple[Weights, Activation]:
    name = found.config["activation_fn_str"]
    if gated:
        weights, threshold = open_gate(
            weights, found.take("r_mag"), found.take("b_gate"), found.take("b_mag")
        )
        return weights, Activation("jumprelu", None, threshold)
    if name == "relu":
        return weights, Activation("relu")
    if name == "topk":
        options: Any = found.config.get("activation_fn_kwargs") or {}
        k = options.get("k") if isinstance(options, dict) else None
        return weights, Activation("topk", found.settings.k or found.whole("k", k))
    raise found.refuse(f"activation {str(name)[:40]!r} is not read", "known: relu, topk")
