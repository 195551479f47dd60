"""SAELens: a folder with cfg.json and sae_weights.safetensors.

A batch top-k is saved as the jumprelu that training left behind. What the configuration says
of the input and of decoder norms is folded into the weights, so that activations are its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from atlas.base.errors import InputError
from atlas.base.files import write_bytes, write_json
from atlas.sae.formats.weights import (
    Found,
    Weights,
    finish,
    make_weights,
    measure_by_decoder,
    open_gate,
    read_norm,
    told_input,
)
from atlas.sae.model import SAE, Activation, InputConvention

WEIGHTS = "sae_weights.safetensors"
CONFIG = "cfg.json"
WRITTEN = {"relu": "standard", "topk": "topk", "batchtopk": "jumprelu", "jumprelu": "jumprelu"}
"""Our activations -> SAELens' architectures."""
KINDS = ("standard", "topk", "jumprelu", "gated")
READS = "standard, topk (rescaled by decoder norm or not), jumprelu (batchtopk and matryoshka are saved as it), gated; `apply_b_dec_to_input`; `normalize_activations` none, constant_norm_rescale, layer_norm (without the 1e-5 that is added to the deviation); expected_average_only_in with `sae.input_scale`"
REFUSES = "transcoders, crosscoders, abstopk, matching pursuit, temporal; covariance_whitening that is not folded; hook_z; a fine-tuning scale other than 1"


def is_saelens(found: Found) -> bool:
    """Return whether it is a file of SAELens' name beside a cfg.json."""
    return found.stored.path.name == WEIGHTS and bool(found.config)


def read_saelens(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: It is an architecture or a convention that can't be honored.
    """
    config = found.config
    kind = config.get("architecture", "standard")
    if (
        kind == "standard"
        and config.get("activation_fn_str", config.get("activation_fn")) == "topk"
    ):
        kind = "topk"  # as SAELens 3 to 5 said it
    if kind not in KINDS:
        raise found.refuse(f"architecture {str(kind)[:40]!r} is not read", f"known: {KINDS}")
    _check(found)
    gated = kind == "gated"
    weights = make_weights(
        found,
        found.take("W_enc").T.copy(),
        found.take("b_gate" if gated else "b_enc"),
        found.take("W_dec"),
        found.take("b_dec"),
        subtracts=bool(config.get("apply_b_dec_to_input", True)),
    )
    weights, activation = _activation(found, weights, kind)
    weights, convention = _input(found, weights)
    return finish(found, weights, activation, convention)


def _check(found: Found) -> None:
    """Refuse what would be read wrongly without a word."""
    config = found.config
    ones = found.has("scaling_factor") and bool((found.take("scaling_factor") == 1).all())
    if not ones and (config.get("finetuning_scaling_factor") or found.has("scaling_factor")):
        raise found.refuse(
            "it scales its decoder after fine-tuning", "fold the scale and save again"
        )
    if config.get("reshape_activations", "none") not in ("none", None):
        raise found.refuse("it reads attention heads (hook_z), not embeddings", "use another SAE")


def _activation(found: Found, weights: Weights, kind: str) -> tuple[Weights, Activation]:
    config = found.config
    if kind == "topk":
        if config.get("rescale_acts_by_decoder_norm"):
            weights = measure_by_decoder(weights)
        old: Any = config.get("activation_fn_kwargs") or {}
        k = found.settings.k or found.whole(
            "k", config.get("k", old.get("k") if isinstance(old, dict) else None)
        )
        return weights, Activation("topk", k)
    if kind == "jumprelu":
        return weights, Activation("jumprelu", None, np.maximum(found.take("threshold"), 0))
    if kind == "gated":
        weights, threshold = open_gate(
            weights, found.take("r_mag"), found.take("b_gate"), found.take("b_mag")
        )
        return weights, Activation("jumprelu", None, threshold)
    return weights, Activation("relu")


def _input(found: Found, weights: Weights) -> tuple[Weights, InputConvention]:
    kind = str(found.config.get("normalize_activations", "none"))
    if kind != "expected_average_only_in":
        return read_norm(found, weights, kind)
    if found.settings.input_scale is None:
        raise found.refuse(
            "it scales its input by a factor that the checkpoint does not hold "
            "(expected_average_only_in)",
            "set sae.input_scale, to 1 if the factor is folded",
        )
    return weights, told_input(found, weights.W_enc.shape[1])


def write_saelens(folder: Path, sae: SAE) -> None:
    """Write an SAE so that SAELens opens it, and activates and decodes as we do.

    A pre-bias is folded into the encoder's, a batch top-k is written as the jumprelu that it is.

    Raises:
        InputError: It has a soft cap, or an input convention that cfg.json can't say.
    """
    if sae.soft_cap is not None or sae.input.kind != "raw":
        what = "a soft cap" if sae.soft_cap is not None else f"{sae.input.kind} input"
        raise InputError(f"SAELens has no {what}, this SAE has; keep it in our own format alone")
    before = sae.W_enc.astype(np.float64) @ sae.b_pre
    arrays = {
        "W_enc": np.ascontiguousarray(sae.W_enc.T),
        "b_enc": (sae.b_enc - before).astype(np.float32),
        "W_dec": np.ascontiguousarray(sae.W_dec),
        "b_dec": sae.b_dec,
    }
    config: dict[str, Any] = {
        "architecture": WRITTEN[sae.activation.kind],
        "d_in": sae.width,
        "d_sae": sae.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"made_by": "feature-atlas", "settings": sae.provenance.get("settings", {})},
    }
    if sae.activation.kind == "topk":
        config |= {"k": sae.activation.k, "rescale_acts_by_decoder_norm": False}
    if sae.activation.threshold is not None:
        arrays["threshold"] = sae.activation.threshold
    write_bytes(folder / WEIGHTS, save(arrays))
    write_json(folder / CONFIG, config)
