"""Opening diffusers pipelines from folders, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from atlas.base.errors import InputError, MissingError
from atlas.icons.renderers.drawing import Drawing
from atlas.inputs.encoder import ensure_torchvision

if TYPE_CHECKING:
    import torch

LOAD_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    TypeError,
    AttributeError,
    SafetensorError,
)
"""What diffusers raises on files that aren't what they should be."""


def open_pipeline(kind: str, folder: Path, device: str, dtype: str, parts: Sequence[str]) -> Any:
    """Return a pipeline in evaluation mode, its parts laid out channels last; nothing is fetched.

    Args:
        kind: Name of a class of diffusers.
        folder: As save_pretrained leaves it.
        device: Torch device.
        dtype: float32, float16 or bfloat16.
        parts: Names of the parts that hold weights.

    Raises:
        MissingError: diffusers or the folder is not there.
        InputError: The folder is no such pipeline.
    """
    if not (folder / "model_index.json").exists():
        raise MissingError(f"no decoder at {folder}; it needs model_index.json and weights")
    ensure_torchvision()
    try:
        import diffusers
        import torch
        import transformers
    except ImportError as error:
        raise MissingError(
            f"{error.name} is not installed: pip install 'feature-atlas[icons]'"
        ) from error
    libraries: tuple[Any, Any] = (diffusers, transformers)
    for library in libraries:
        library.utils.logging.disable_progress_bar()
    try:
        pipeline: Any = getattr(diffusers, kind).from_pretrained(
            str(folder),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            local_files_only=True,
        )
    except LOAD_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot load the decoder in {folder}: {reason}; fetch it again"
        ) from error
    missing = [part for part in parts if getattr(pipeline, part, None) is None]
    if missing:
        raise InputError(f"the decoder in {folder} has no {missing[0]}; fetch it again")
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    for part in parts:
        getattr(pipeline, part).eval().to(memory_format=torch.channels_last)
    return pipeline


def generators(seed: int, n: int) -> list[torch.Generator]:
    """Return a fresh generator for each of n pictures, all of one seed.

    They live on the CPU: CUDA's stream differs between cards.
    """
    import torch

    return [torch.Generator().manual_seed(seed) for _ in range(n)]


def to_tensor(values: NDArray[np.float32], like: Any) -> torch.Tensor:
    """Return values on the device and in the precision of a part of a pipeline."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, like.dtype)


def draw_pictures(
    pipeline: Any, condition: Mapping[str, Any], n: int, drawing: Drawing
) -> list[Image.Image]:
    """Return n pictures, each from the same noise by a generator of its own.

    Args:
        pipeline: From open_pipeline.
        condition: The pipeline's own arguments for what is drawn.
        n: Pictures that the condition asks for.
        drawing: Size, steps, guidance, seed.
    """
    found: list[Image.Image] = pipeline(
        **condition,
        height=drawing.px,
        width=drawing.px,
        num_inference_steps=drawing.steps,
        guidance_scale=drawing.guidance,
        generator=generators(drawing.seed, n),
        output_type="pil",
    ).images
    return found
