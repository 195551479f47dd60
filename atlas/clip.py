"""The image encoder: an open_clip model, and what is recorded of it.

torch and open_clip are loaded when an encoder is opened, not before: its note can be read
without them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.errors import InputError, MissingError
from atlas.files import read_json

if TYPE_CHECKING:
    from PIL import Image

NOTE = "encoder.json"
IMAGES_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class Encoder:
    """An image encoder, ready to run."""

    model: Any
    """open_clip's model, in evaluation mode."""
    preprocess: Any
    """PIL image -> tensor (3, px, px), as open_clip made it."""
    device: str
    image_px: int
    """Side of the square that the model reads."""
    width: int
    """Dimensions of an embedding."""


def ensure_torchvision() -> None:
    """Make torchvision importable beside a torch that its compiled operators don't match.

    open_clip, timm, diffusers and transformers only use its transforms, which are Python; but
    its import fails where two operators were never registered. They are declared, without an
    implementation, only after that failure: declaring them beside a healthy torchvision raises.

    Raises:
        MissingError: torch or torchvision is not installed.
    """
    try:
        import torchvision
    except ImportError as error:
        raise MissingError(
            f"{error.name} is not installed: pip install 'feature-atlas[embed]'"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declare_operators()
        import torchvision  # noqa: F401 - once more, now that the operators are known


_library: Any = None
"""Keeps the declarations alive: torch forgets them with the object."""


def _declare_operators() -> None:
    global _library
    import torch

    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # torch's own
    for name in ("nms", "qnms"):
        _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def read_encoder_note(folder: Path) -> dict[str, Any]:
    """Return what is recorded of an encoder: id, width, normalized, license and more.

    Raises:
        MissingError: The folder has no encoder.json.
    """
    note: dict[str, Any] = read_json(folder / NOTE)
    return note


def load_encoder(folder: Path, *, device: str = "cpu") -> Encoder:
    """Open an encoder kept as an open_clip folder (open_clip_config.json and weights).

    Args:
        folder: The folder, with an encoder.json beside the model.
        device: Torch device. On CUDA the model runs in half precision.

    Raises:
        MissingError: A package or the folder is missing.
        InputError: The weights are not those of the configuration.
    """
    ensure_torchvision()
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise MissingError(
            f"{error.name} is not installed: pip install 'feature-atlas[embed]'"
        ) from error
    note = read_encoder_note(folder)
    precision = "fp16" if torch.device(device).type == "cuda" else "fp32"
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(
            f"local-dir:{folder}", precision=precision, device=device
        )
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot load the encoder in {folder}: {reason}; fetch it again"
        ) from error
    model.eval().to(memory_format=torch.channels_last)
    size: Any = model.visual.image_size
    px = size if isinstance(size, int) else size[0]
    return Encoder(model, preprocess, device, px, int(note["width"]))


MOST_PIXELS = 100_000_000
"""A picture that claims more is refused before it is decoded."""


def read_picture(path: Path) -> Image.Image:
    """Return a picture from disk as RGB, as it is meant to be seen (turned as its EXIF says).

    Raises:
        MissingError: There is no such file.
        InputError: It is no picture, or one of absurd size.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise MissingError(f"no picture at {path}; name a PNG, JPEG or WebP file")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise InputError(
                    f"the picture {path} claims {opened.width} x {opened.height} pixels, "
                    f"at most {MOST_PIXELS:,} are decoded; make it smaller"
                )
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot read the picture {path}: {reason}; name a PNG, JPEG or WebP file"
        ) from error


def embed_images(encoder: Encoder, images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Return the raw embeddings (image, d) of pictures; their lengths are kept.

    Raises:
        InputError: An embedding is not finite, or of another width than the note says.
    """
    vectors = _see(
        encoder, images, lambda pixels: encoder.model.encode_image(pixels, normalize=False)
    )
    if vectors.shape[1] != encoder.width:
        raise InputError(
            f"the encoder gives {vectors.shape[1]} dimensions, its note says {encoder.width}; "
            "use the encoder.json that belongs to it"
        )
    if not np.isfinite(vectors).all():
        bad = int(np.argmin(np.isfinite(vectors).all(axis=1)))
        raise InputError(f"image {bad} gives an embedding that is not finite; drop it")
    return vectors


def trunk_features(encoder: Encoder, images: Sequence[Image.Image]) -> NDArray[np.float32]:
    """Return what the network gives (image, width) before its last linear map.

    Raises:
        InputError: The encoder has no such map apart from its network.
    """
    trunk = getattr(encoder.model.visual, "trunk", None)
    if trunk is None:
        raise InputError(
            "this encoder has no network apart from its last linear map; "
            "set icons.second_layer = 'embedding'"
        )
    return _see(encoder, images, trunk)


def _see(
    encoder: Encoder, images: Sequence[Image.Image], look: Callable[[Any], Any]
) -> NDArray[np.float32]:
    import torch

    found = []
    with torch.no_grad():
        for start in range(0, len(images), IMAGES_PER_BATCH):
            batch = images[start : start + IMAGES_PER_BATCH]
            pixels = torch.stack([encoder.preprocess(image.convert("RGB")) for image in batch])
            dtype = next(encoder.model.parameters()).dtype
            pixels = pixels.to(encoder.device, dtype, memory_format=torch.channels_last)
            found.append(look(pixels).float().cpu().numpy())
    seen: NDArray[np.float32] = np.concatenate(found)
    return seen
