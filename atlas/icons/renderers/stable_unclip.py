"""Stable unCLIP: raw embeddings of ViT-H-14 (1024 wide) or of ViT-L-14 (768, the small one).

The pipeline scales them to its own statistics itself; no noise is asked for. The prompt is empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.icons.renderers.drawing import Drawing
from atlas.icons.renderers.pipelines import draw_pictures, open_pipeline, to_tensor

ENCODERS = {1024: "ViT-H-14", 768: "ViT-L-14"}
PARTS = ("unet", "vae", "text_encoder", "image_encoder")
DENOISER = "unet"


def open(folder: Path, device: str, dtype: str) -> tuple[Any, int]:
    """Return the pipeline and the width of the embeddings it takes; errors as open_pipeline."""
    pipeline = open_pipeline("StableUnCLIPImg2ImgPipeline", folder, device, dtype, PARTS)
    return pipeline, int(pipeline.image_normalizer.config.embedding_dim)


def draw(
    pipeline: Any,
    embeddings: NDArray[np.float32],
    _negative: NDArray[np.float32],
    drawing: Drawing,
) -> list[Image.Image]:
    """Return a picture of each embedding."""
    condition = {
        "prompt": [""] * len(embeddings),
        "image_embeds": to_tensor(embeddings, pipeline.unet),
        "noise_level": 0,
    }
    return draw_pictures(pipeline, condition, len(embeddings), drawing)
