"""Open a decoder folder with the renderer that the settings name, and check that it fits the encoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import read_json
from atlas.icons.renderers.drawing import Drawing

RENDERERS = ("kandinsky22", "ip_adapter_sdxl", "stable_cascade", "stable_unclip")
NOTE = "decoder.json"
"""In a decoder's folder, if its maker wrote one: encoder, the id of the encoder it was made for."""


@dataclass(frozen=True, slots=True)
class Renderer:
    """A decoder, ready to draw."""

    name: str
    width: int
    """Dimensions of the embeddings that it takes."""
    pipeline: Any
    """The diffusers pipeline."""
    _draw: Callable[..., list[Image.Image]]
    _fits: dict[int, int] = field(default_factory=dict)
    """Side of a picture in pixels -> pictures that the device's memory was found to hold at once."""

    def draw(
        self, embeddings: NDArray[np.float32], negative: NDArray[np.float32], drawing: Drawing
    ) -> list[Image.Image]:
        """Return a picture of each embedding.

        Where the device's memory runs out, they are drawn in halves, then quarters, and so are all
        that follow: what was too much once is not tried again.

        Args:
            embeddings: (picture, width), raw.
            negative: (width,) the condition to move away from, where the renderer takes one.
            drawing: Size, steps, guidance, seed.

        Raises:
            InputError: An embedding is not finite, or one picture alone doesn't fit into memory.
        """
        assert embeddings.shape[1] == self.width, (embeddings.shape, self.width)
        if not np.isfinite(embeddings).all():
            row = int(np.argmin(np.isfinite(embeddings).all(axis=1)))
            raise InputError(f"embedding {row} to be drawn is not finite; look at its direction")
        done: list[Image.Image] = []
        while len(done) < len(embeddings):
            most = self._fits.get(drawing.px, len(embeddings))
            some = embeddings[len(done) : len(done) + most]
            drawn = self._draw_if_it_fits(some, negative, drawing)
            if drawn is None:
                # Outside the except clause: its traceback would keep the failed batch in memory.
                _empty_cache()
                self._fits[drawing.px] = len(some) // 2
            done += drawn or []
        return done

    def _draw_if_it_fits(
        self, embeddings: NDArray[np.float32], negative: NDArray[np.float32], drawing: Drawing
    ) -> list[Image.Image] | None:
        """Return the pictures; None if the device's memory ran out."""
        try:
            return self._draw(self.pipeline, embeddings, negative, drawing)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            if len(embeddings) == 1:
                raise InputError(
                    f"one picture of {drawing.px} pixels doesn't fit into the device's memory; "
                    "try icons.precision = 'float16' or a lower icons.px"
                ) from error
        return None

    def leave_card(self) -> None:
        """Move the weights to the CPU's memory."""
        for part in self.pipeline if isinstance(self.pipeline, tuple) else (self.pipeline,):
            part.to("cpu")
        _empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def open_renderer(
    name: str,
    folder: Path,
    width: int,
    *,
    encoder: str = "",
    device: str,
    dtype: str,
    compiled: bool = False,
) -> Renderer:
    """Open a decoder from a folder of weights; nothing is fetched.

    Args:
        name: One of RENDERERS.
        folder: A diffusers pipeline as save_pretrained leaves it.
        width: Dimensions of the SAE's embeddings.
        encoder: Id of the encoder of these embeddings; empty if it is not known.
        device: Torch device.
        dtype: float32, float16 or bfloat16.
        compiled: Whether torch.compile is to make the denoiser faster.

    Raises:
        ConfigError: There is no such renderer, or it takes other embeddings.
        MissingError: A package or the folder is not there.
        InputError: The folder holds something else.
    """
    if name not in RENDERERS:
        raise ConfigError(f"no renderer {name}; there are {', '.join(RENDERERS)}")
    module = import_module(f"atlas.icons.renderers.{name}")
    pipeline, takes = module.open(folder, device, dtype)
    if takes != width:
        raise ConfigError(
            f"{name} in {folder} takes embeddings of {takes} dimensions, the SAE writes {width}; "
            "name a decoder for this encoder in icons.decoder"
        )
    made_for = _encoder_of(folder) or module.ENCODERS.get(takes, "")
    if encoder and made_for and _plain(made_for) not in _plain(encoder):
        raise ConfigError(
            f"{name} in {folder} was made for the embeddings of {made_for}, these are of {encoder}; "
            "name a decoder for this encoder in icons.decoder"
        )
    if compiled:
        _compile(pipeline, module.DENOISER)
    return Renderer(name, takes, pipeline, module.draw)


def _encoder_of(folder: Path) -> str:
    note = folder / NOTE
    return str(read_json(note).get("encoder", "")) if note.exists() else ""


def _plain(encoder: str) -> str:
    """Return a name without what people write in different ways: ViT-L/14 and vit_l_14 are one."""
    return re.sub(r"[^a-z0-9]", "", encoder.lower())


def _compile(pipeline: Any, denoiser: str) -> None:
    # Stable Cascade is two pipelines; its prior does most of the work.
    holder = getattr(pipeline, "prior", pipeline) if isinstance(pipeline, tuple) else pipeline
    getattr(holder, denoiser).compile()
