"""Figures of the whole scan: explained variance, cosine, L0 and mass, over all images and held-out ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import read_parquet
from atlas.inputs.embeddings import EmbeddingSet
from atlas.sae.model import SAE, prepare
from atlas.scan.encode import CHUNK_IMAGES, dots

if TYPE_CHECKING:
    pass

TRAIN_SPLIT = "train"
"""Images in any other named split were held out of training."""


def heldout_images(embed_dir: Path, n_images: int) -> NDArray[np.bool_]:
    """Return (image,) whether it was held out of training."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_parquet(embed_dir / "images.parquet", ["image", "split"])
    if table.num_rows != n_images:
        raise InputError(
            f"{embed_dir / 'images.parquet'} has {table.num_rows} rows, the embeddings "
            f"{n_images}; build the embed stage again"
        )
    known = pc.fill_null(table["split"], "")
    heldout = pc.invert(pc.is_in(known, pa.array(["", TRAIN_SPLIT])))
    found: NDArray[np.bool_] = heldout.to_numpy()
    return found


def scan_figures(
    sae: SAE, embeddings: EmbeddingSet, images: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the figures over chosen images, at least one.

    explained_variance is 1 - sum |x - x'|^2 / sum |x - mean|^2, x being what the SAE reads and
    the mean being taken over the same images; null where all of them are equal.
    mean_cosine_null is what the mean in place of every reconstruction would give.
    """
    variance, null = _baseline(sae, embeddings, chosen)
    error = float(images["squared_error"][chosen].sum())
    return {
        "images": int(chosen.sum()),
        "explained_variance": 1.0 - error / variance if variance > 0 else None,
        "mean_cosine": float(images["cosine"][chosen].mean()),
        "mean_cosine_null": null,
        "l0_mean": float(images["l0"][chosen].mean()),
        "l0_median": float(np.median(images["l0"][chosen])),
        "mass_median": float(np.median(images["mass"][chosen])),
    }


def _baseline(sae: SAE, embeddings: EmbeddingSet, chosen: NDArray[np.bool_]) -> tuple[float, float]:
    """Return (sum of |x - mean|^2, mean cosine of x and mean) over chosen images."""
    n = int(chosen.sum())
    mean = np.zeros(sae.width)
    for wide in _chosen_inputs(sae, embeddings, chosen):
        mean += wide.sum(axis=0) / n
    variance, cosines, length = 0.0, 0.0, float(np.sqrt(mean @ mean))
    for wide in _chosen_inputs(sae, embeddings, chosen):
        variance += float(dots(wide - mean, wide - mean).sum())
        lengths = np.sqrt(dots(wide, wide)) * length
        cosines += float((dots(wide, mean[None]) / np.where(lengths > 0, lengths, 1.0)).sum())
    return variance, cosines / n


def _chosen_inputs(
    sae: SAE, embeddings: EmbeddingSet, chosen: NDArray[np.bool_]
) -> Iterator[NDArray[np.float64]]:
    """Yield what the SAE reads of chosen images, in fixed blocks (image, dimension)."""
    for start, block in embeddings.blocks(CHUNK_IMAGES):
        kept = block[chosen[start : start + len(block)]]
        if len(kept):
            yield prepare(sae, kept).astype(np.float64)
