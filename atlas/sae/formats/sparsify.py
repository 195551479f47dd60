"""EleutherAI sparsify: a folder with cfg.json and sae.safetensors; top-k of each image."""

from __future__ import annotations

from atlas.sae.formats.weights import Found, finish, make_weights, told_input
from atlas.sae.model import SAE, Activation

WEIGHTS = "sae.safetensors"
READS = "topk, with b_dec subtracted first; float16, bfloat16 or float32"
REFUSES = "groupmax, `signed`, transcoders, skip connections"


def is_sparsify(found: Found) -> bool:
    """Return whether it has sparsify's tensors beside its cfg.json."""
    return "d_in" in found.config and found.has("encoder.weight", "encoder.bias", "b_dec")


def read_sparsify(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: It is a group max, a transcoder, or lacks a tensor.
    """
    config = found.config
    if config.get("activation", "topk") != "topk":
        name = str(config["activation"])[:40]
        raise found.refuse(f"activation {name!r} is not read", "use a topk checkpoint")
    if config.get("signed"):
        raise found.refuse(
            "it chooses the k features of largest magnitude, negative ones too (signed)",
            "only features that fire when positive are read; use another checkpoint",
        )
    if config.get("transcode") or config.get("skip_connection") or found.has("W_skip"):
        raise found.refuse("it is a transcoder or has a skip connection", "use an SAE")
    weights = make_weights(
        found,
        found.take("encoder.weight"),
        found.take("encoder.bias"),
        found.take("W_dec"),
        found.take("b_dec"),
        subtracts=True,
    )
    k = found.settings.k or found.whole("k", config.get("k", 32))
    convention = told_input(found, weights.W_enc.shape[1])
    return finish(found, weights, Activation("topk", k), convention)
