"""Decoders that draw a picture from an image embedding: one diffusion model a file.

Each module has WIDTH (dimensions of the embeddings it takes, None for any), ENCODER (what made
them, empty for any), open(folder, device, dtype) and draw(pipeline, embeddings, settings).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import ConfigError
from atlas.renderers.drawing import Drawing

RENDERERS = ("kandinsky22",)


@dataclass(frozen=True, slots=True)
class Renderer:
    """A decoder, ready to draw."""

    name: str
    width: int
    """Dimensions of the embeddings that it takes."""
    pipeline: Any
    """The diffusers pipeline."""
    _draw: Callable[..., list[Image.Image]]

    def draw(
        self, embeddings: NDArray[np.float32], negative: NDArray[np.float32], drawing: Drawing
    ) -> list[Image.Image]:
        """Return a picture of each embedding.

        Args:
            embeddings: (picture, width), raw.
            negative: (width,) the condition to move away from.
            drawing: Size, steps, guidance, seed.
        """
        assert embeddings.shape[1] == self.width, (embeddings.shape, self.width)
        return self._draw(self.pipeline, embeddings, negative, drawing)


def open_renderer(name: str, folder: Path, width: int, *, device: str, dtype: str) -> Renderer:
    """Open a decoder from a folder of weights; nothing is fetched.

    Args:
        name: One of RENDERERS.
        folder: A diffusers pipeline as save_pretrained leaves it.
        width: Dimensions of the SAE's embeddings.
        device: Torch device.
        dtype: float32, float16 or bfloat16.

    Raises:
        ConfigError: There is no such renderer, or it takes embeddings of another width.
        MissingError: A package or the folder is not there.
        InputError: The folder holds something else.
    """
    if name not in RENDERERS:
        raise ConfigError(f"no renderer {name}; there are {', '.join(RENDERERS)}")
    module = import_module(f"atlas.renderers.{name}")
    pipeline, takes = module.open(folder, device, dtype)
    if takes != width:
        raise ConfigError(
            f"{name} in {folder} takes embeddings of {takes} dimensions, the SAE writes {width}; "
            "name a decoder for this encoder in icons.decoder"
        )
    return Renderer(name, takes, pipeline, module.draw)
