"""Kandinsky 2.2's decoder: raw embeddings of ViT-bigG-14 in the real one, any in a small one.

The pipeline's negative is the embedding of the mean-gray picture, not zeros.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.icons.renderers.drawing import Drawing
from atlas.icons.renderers.pipelines import draw_pictures, open_pipeline, to_tensor

ENCODERS = {1280: "ViT-bigG-14"}
PARTS = ("unet", "movq")
DENOISER = "unet"


def open(folder: Path, device: str, dtype: str) -> tuple[Any, int]:
    """Return the pipeline and the width of the embeddings it takes; errors as open_pipeline."""
    pipeline = open_pipeline("KandinskyV22Pipeline", folder, device, dtype, PARTS)
    return pipeline, int(pipeline.unet.config.encoder_hid_dim)


def draw(
    pipeline: Any,
    embeddings: NDArray[np.float32],
    negative: NDArray[np.float32],
    drawing: Drawing,
) -> list[Image.Image]:
    """Return a picture of each embedding."""
    wanted = to_tensor(embeddings, pipeline.unet)
    condition = {
        "image_embeds": wanted,
        "negative_image_embeds": to_tensor(negative, pipeline.unet).expand_as(wanted),
    }
    return draw_pictures(pipeline, condition, len(embeddings), drawing)
