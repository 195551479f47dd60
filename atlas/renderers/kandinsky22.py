"""Kandinsky 2.2's decoder: raw embeddings of ViT-bigG-14 in the real one, any in a small one.

The pipeline's negative is the embedding of the mean-gray picture, not zeros.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.clip import ensure_torchvision
from atlas.errors import InputError, MissingError
from atlas.renderers.drawing import Drawing


def open(folder: Path, device: str, dtype: str) -> tuple[Any, int]:
    """Return the pipeline and the width of the embeddings it takes.

    Raises:
        MissingError: diffusers or the folder is not there.
        InputError: The folder is no such pipeline.
    """
    if not (folder / "model_index.json").exists():
        raise MissingError(f"no decoder at {folder}; it needs model_index.json and weights")
    ensure_torchvision()
    try:
        import torch
        from diffusers import KandinskyV22Pipeline
    except ImportError as error:
        raise MissingError(
            f"{error.name} is not installed: pip install 'feature-atlas[icons]'"
        ) from error
    try:
        pipeline: Any = KandinskyV22Pipeline.from_pretrained(  # type: ignore[no-untyped-call]  # diffusers' own
            str(folder),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot load the decoder in {folder}: {reason}; fetch it again"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for part in (pipeline.unet, pipeline.movq):
        part.eval()
        part.to(memory_format=torch.channels_last)
    return pipeline, int(pipeline.unet.config.encoder_hid_dim)


def draw(
    pipeline: Any,
    embeddings: NDArray[np.float32],
    negative: NDArray[np.float32],
    drawing: Drawing,
) -> list[Image.Image]:
    """Return a picture of each embedding, each from the same noise by a generator of its own."""
    import torch

    device, dtype = pipeline.unet.device, pipeline.unet.dtype
    wanted = torch.from_numpy(embeddings).to(device, dtype)
    away = torch.from_numpy(negative).to(device, dtype).expand_as(wanted)
    # CPU generators: CUDA's stream differs between cards.
    noise = [torch.Generator().manual_seed(drawing.seed) for _ in embeddings]
    found: list[Image.Image] = pipeline(
        image_embeds=wanted,
        negative_image_embeds=away,
        height=drawing.px,
        width=drawing.px,
        num_inference_steps=drawing.steps,
        guidance_scale=drawing.guidance,
        generator=noise,
        output_type="pil",
    ).images
    return found
