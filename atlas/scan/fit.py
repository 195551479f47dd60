"""Whether embeddings can be those that an SAE was trained on: encoder, width and length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.float64 import squared_lengths
from atlas.inputs.embeddings import EmbeddingSet
from atlas.sae.model import SAE
from atlas.scan.tally import LAST_IMAGE

NORM_RATIO = 2.0
"""Median lengths of embeddings that differ by more are not of one encoder."""
FEW = 16
"""Embeddings of which all may have length 1 by chance."""
UNIT_SLACK = 0.01
"""By how much the length of a normalized embedding may be off 1 after rounding to float16."""


def check_fit(sae: SAE, embeddings: EmbeddingSet, where: Path) -> None:
    """Refuse embeddings that this SAE can't have been trained on.

    Raises:
        InputError: The encoders or widths differ, or the lengths do, as when one is normalized.
    """
    # Silent errors otherwise: any embeddings of the right width give activations.
    own, other = sae.provenance.get("encoder_id"), embeddings.encoder.get("id")
    if own and other and own != other:
        raise InputError(
            f"embeddings are of the encoder {other}, the SAE was trained on {own}: {where}; "
            "use embeddings of the encoder that the SAE was trained on"
        )
    if embeddings.width != sae.width:
        raise InputError(
            f"embeddings have {embeddings.width} columns, the SAE expects {sae.width}: {where}; "
            "use embeddings of the encoder that the SAE was trained on"
        )
    if embeddings.rows - 1 > LAST_IMAGE:
        raise InputError(
            f"{embeddings.rows} images are too many, expected at most {LAST_IMAGE + 1}: {where}"
        )
    _, block = next(embeddings.blocks())
    _check_lengths(sae, np.sqrt(squared_lengths(block)), where)


def _check_lengths(sae: SAE, lengths: NDArray[np.float64], where: Path) -> None:
    """Refuse embeddings (image,) of other lengths than the SAE was trained on."""
    trained_on, length = sae.provenance.get("median_norm"), float(np.median(lengths))
    bias = float(np.sqrt(squared_lengths(sae.b_dec[None])[0]))
    if trained_on is None:
        # Without any feature it would give more than all there is: not what training ends with.
        normalized = len(lengths) > FEW and bool((np.abs(lengths - 1) < UNIT_SLACK).all())
        if sae.input.kind == "raw" and normalized and bias > NORM_RATIO:
            raise InputError(
                f"embeddings all have length 1, the SAE's decoder bias alone has {bias:.3g}: {where}; "
                "use raw embeddings, not normalized ones, or set sae.input_scale to the raw "
                "embeddings' median length"
            )
        return
    if sae.input.kind not in ("raw", "affine"):
        return
    if not 1 / NORM_RATIO < length / float(trained_on) < NORM_RATIO:
        raise InputError(
            f"embeddings have median length {length:.3g}, the SAE was trained on "
            f"{float(trained_on):.3g}: {where}; use raw embeddings, not normalized ones, of the "
            "encoder that the SAE was trained on"
        )
