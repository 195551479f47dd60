"""saev: one file, a line of JSON and then what torch.save wrote.

Up to September 2025 the library subtracted b_dec from its input; since then it does not, and
says so in no file. Files without a schema are of before, those of schema 2 on of after; schema
1 is both. It trains on (x - mean) * scale, and keeps neither number in the checkpoint.
"""

from __future__ import annotations

from typing import Any

from atlas.sae.formats.weights import (
    Found,
    Weights,
    constant,
    finish,
    make_weights,
    told_input,
)
from atlas.sae.model import SAE, Activation

READS = "Relu, TopK, BatchTopK; files without a schema (b_dec subtracted), schema 2 on (not), schema 1 with `sae.pre_bias`; scaled input with `sae.input_mean`, `sae.input_scale`"
REFUSES = "schema 1 without `sae.pre_bias`; any file without `sae.input_scale`, as the scale is not in it (1 if nothing was scaled)"
FIRST_WITHOUT = 2
"""Schema from which on b_dec is surely not subtracted."""


def is_saev(found: Found) -> bool:
    """Return whether the file begins with saev's line of JSON."""
    return bool(found.stored.header) and found.has("W_enc", "b_enc", "W_dec", "b_dec")


def read_saev(found: Found) -> SAE:
    """Return the SAE.

    Raises:
        InputError: A convention is neither in the file nor in the settings, or is not supported.
    """
    weights = make_weights(
        found,
        found.take("W_enc").T.copy(),
        found.take("b_enc"),
        found.take("W_dec"),
        found.take("b_dec"),
        subtracts=_subtracts(found),
    )
    if found.settings.input_scale is None:
        raise found.refuse(
            "saev trains on (x - mean) * scale and keeps neither in the checkpoint",
            "set sae.input_scale (1 if nothing was scaled) and, if there is one, sae.input_mean",
        )
    return finish(
        found, weights, _activation(found, weights), told_input(found, weights.W_enc.shape[1])
    )


def _subtracts(found: Found) -> bool:
    if found.settings.pre_bias is not None:
        return found.settings.pre_bias
    schema = found.stored.header.get("schema")
    if schema is None:
        return True
    if type(schema) is int and schema >= FIRST_WITHOUT:
        return False
    raise found.refuse(
        f"saev's schema {str(schema)[:20]} was written both with and without subtracting b_dec",
        "set sae.pre_bias to true for a file of before September 2025, else to false",
    )


def _activation(found: Found, weights: Weights) -> Activation:
    header: Any = found.stored.header
    config = header.get("cfg") if isinstance(header.get("cfg"), dict) else {}
    activation = config.get("activation")
    name = (
        activation.get("cls", activation.get("key", ""))
        if isinstance(activation, dict)
        else header.get("cls", "Relu")
    )
    name = str(name).lower().replace("-", "").replace("_", "")
    params = activation.get("params", activation) if isinstance(activation, dict) else config
    if found.has("activation.threshold"):
        value = float(found.take("activation.threshold").reshape(-1)[0])
        return Activation("batchtopk", None, constant(found, weights, value))
    if name in ("topk", "batchtopk"):  # early batch top-k took the k of each image
        k = found.settings.k or found.whole(
            "top_k", params.get("top_k") if isinstance(params, dict) else None
        )
        return Activation("topk", k)
    if name in ("relu", "sparseautoencoderconfig", ""):
        return Activation("relu")
    raise found.refuse(f"activation {name[:40]!r} is not read", "known: relu, topk, batchtopk")
