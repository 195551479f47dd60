"""Stable Cascade: raw embeddings of OpenAI's ViT-L-14 (768 wide) in the image slot of its prior.

A vector of ViT-bigG-14 would fit only the slot of pooled text, which was trained on text: it is
not offered. The folder holds two pipelines as save_pretrained leaves them, prior and decoder.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import ConfigError
from atlas.icons.renderers.drawing import Drawing
from atlas.icons.renderers.pipelines import generators, open_pipeline, to_tensor

ENCODERS = {768: "ViT-L-14"}
DENOISER = "prior"
PX_STEP = 128
"""Its grids of 42.67 and 4 pixels agree on multiples of it."""
DECODER_STEPS_SHARE = 0.5
"""Steps of the second pipeline over those of the first, as its authors use them."""


class Cascade(NamedTuple):
    """The two pipelines that make a picture."""

    prior: Any
    decoder: Any


def open(folder: Path, device: str, dtype: str) -> tuple[Cascade, int]:
    """Return the pipelines and the width of the embeddings they take; errors as open_pipeline."""
    prior = open_pipeline(
        "StableCascadePriorPipeline", folder / "prior", device, dtype, ("prior", "text_encoder")
    )
    _restore_wuerstchen()
    decoder = open_pipeline(
        "StableCascadeDecoderPipeline",
        folder / "decoder",
        device,
        dtype,
        ("decoder", "vqgan", "text_encoder"),
    )
    return Cascade(prior, decoder), int(prior.prior.config.clip_image_in_channels)


def _restore_wuerstchen() -> None:
    """Put a module of diffusers back under the name that the published decoder calls it by.

    diffusers 0.42 moved it, and since then refuses its own published folder.
    """
    from diffusers import pipelines

    if not hasattr(pipelines, "wuerstchen"):
        module = import_module("diffusers.pipelines.deprecated.wuerstchen")
        pipelines.wuerstchen = module  # type: ignore[attr-defined]  # that is the point


def draw(
    pipeline: Cascade,
    embeddings: NDArray[np.float32],
    _negative: NDArray[np.float32],
    drawing: Drawing,
) -> list[Image.Image]:
    """Return a picture of each embedding, one after the other: the prior takes one of them.

    Raises:
        ConfigError: The pictures' side is not one that its grids fit.
    """
    if drawing.px % PX_STEP:
        raise ConfigError(
            f"Stable Cascade draws sides that are multiples of {PX_STEP} pixels, not {drawing.px}; "
            "change icons.px"
        )
    return [_draw_one(pipeline, embedding, drawing) for embedding in embeddings]


def _draw_one(pipeline: Cascade, embedding: NDArray[np.float32], drawing: Drawing) -> Image.Image:
    (generator,) = generators(drawing.seed, 1)
    latents = pipeline.prior(
        prompt="",
        image_embeds=to_tensor(embedding[None, None], pipeline.prior.prior),
        height=drawing.px,
        width=drawing.px,
        num_inference_steps=drawing.steps,
        guidance_scale=drawing.guidance,
        generator=generator,
    ).image_embeddings
    picture: Image.Image = pipeline.decoder(
        image_embeddings=latents.to(pipeline.decoder.decoder.dtype),
        prompt="",
        num_inference_steps=max(2, round(drawing.steps * DECODER_STEPS_SHARE)),
        guidance_scale=0.0,
        generator=generator,
        output_type="pil",
    ).images[0]
    return picture
