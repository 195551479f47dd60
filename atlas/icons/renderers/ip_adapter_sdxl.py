"""IP-Adapter on SDXL, conditioned on raw embeddings of ViT-bigG-14: a second renderer for the published SAE.

The folder is SDXL as save_pretrained leaves it, with the adapter's file inside it as
ip_adapter/ip-adapter_sdxl.safetensors. The prompt is empty, the negative zeros: so it was trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import InputError, MissingError
from atlas.icons.renderers.drawing import Drawing
from atlas.icons.renderers.pipelines import LOAD_ERRORS, draw_pictures, open_pipeline, to_tensor

ENCODERS = {1280: "ViT-bigG-14", 1024: "ViT-H-14"}
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
DENOISER = "unet"
ADAPTER = ("ip_adapter", "ip-adapter_sdxl.safetensors")


def open(folder: Path, device: str, dtype: str) -> tuple[Any, int]:
    """Return the pipeline and the width of the embeddings it takes; errors as open_pipeline.

    Raises:
        MissingError: The adapter's file is not there.
        InputError: It does not fit this SDXL, or wants more than one vector an image.
    """
    pipeline = open_pipeline("StableDiffusionXLPipeline", folder, device, dtype, PARTS)
    subfolder, name = ADAPTER
    if not (folder / subfolder / name).exists():
        raise MissingError(f"no adapter at {folder / subfolder / name}; put IP-Adapter's there")
    try:
        pipeline.load_ip_adapter(
            str(folder),
            subfolder=subfolder,
            weight_name=name,
            image_encoder_folder=None,
            local_files_only=True,
        )
        projection = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
        width = int(projection.image_embeds.in_features)
    except LOAD_ERRORS as error:
        raise InputError(
            f"cannot use the adapter in {folder}: {str(error).splitlines()[0]}; "
            "one that takes pooled embeddings is wanted (not a Plus one)"
        ) from error
    return pipeline, width


def draw(
    pipeline: Any,
    embeddings: NDArray[np.float32],
    _negative: NDArray[np.float32],
    drawing: Drawing,
) -> list[Image.Image]:
    """Return a picture of each embedding, one after the other.

    diffusers repeats the embeddings for each picture of a batch, so that each of them would see
    all: drawn together, they all come out the same.
    """
    return [_draw_one(pipeline, embedding, drawing) for embedding in embeddings]


def _draw_one(pipeline: Any, embedding: NDArray[np.float32], drawing: Drawing) -> Image.Image:
    import torch

    wanted = to_tensor(embedding[None, None], pipeline.unet)
    if drawing.guidance > 1:
        wanted = torch.cat([torch.zeros_like(wanted), wanted])
    condition = {"prompt": "", "ip_adapter_image_embeds": [wanted]}
    return draw_pictures(pipeline, condition, 1, drawing)[0]
