"""The image encoder: an open_clip model, and what is recorded about it."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError, MissingError
from atlas.base.files import draft, read_json, write_json
from atlas.inputs.picture import Fit, to_rgb

if TYPE_CHECKING:
    from PIL import Image

NOTE = "encoder.json"
MODEL = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
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


RANDOM = ("initialized randomly", "no CLIP weights", "No pretrained weights")
"""Of what open_clip logs where it found no weights; it goes on with random ones."""


class _Overheard(logging.Handler):
    """Keeps what open_clip logs instead of showing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def weights_wanted() -> Iterator[None]:
    """Refuse a model for which open_clip found no weights, and keep its warnings off the screen.

    Raises:
        ValueError: It made random ones.
    """
    root, overheard = logging.getLogger(), _Overheard()
    before = root.handlers[:]
    root.handlers[:] = [overheard]
    try:
        yield
    finally:
        root.handlers[:] = before
    if any(words in said for said in overheard.said for words in RANDOM):
        raise ValueError("there are no weights for it")


def read_encoder_note(folder: Path) -> dict[str, Any]:
    """Return what is recorded of an encoder: id, width, normalized, license and more.

    A folder as a model hub has it lacks the note: what its configuration says stands in.

    Raises:
        MissingError: The folder has neither.
        InputError: A file is damaged.
    """
    if (folder / NOTE).exists() or not (folder / MODEL).exists():
        note: dict[str, Any] = read_json(folder / NOTE)
        return note
    try:
        width = int(read_json(folder / MODEL)["model_cfg"]["embed_dim"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MODEL} lacks or garbles {error}; fetch the encoder again"
        ) from error
    return {"id": folder.name, "width": width, "normalized": False, "library": "open_clip"}


def fetch_encoder(model: str, pretrained: str, folder: Path) -> dict[str, Any]:
    """Keep an encoder in a folder, with its note, for every stage and look-up; return the note.

    Args:
        model: open_clip's name of a model, or hf-hub:ID.
        pretrained: open_clip's tag of its weights, or a checkpoint on disk; empty for a hub's own.
        folder: Where to; must not hold an encoder yet.

    Raises:
        MissingError: A package is missing, or the weights can't be fetched.
        InputError: The model is unknown, or the weights are not its own.
    """
    ensure_torchvision()
    import open_clip
    from safetensors.torch import save_file

    if (folder / MODEL).exists():
        raise InputError(f"{folder} holds an encoder already; name another folder")
    if not pretrained and ":" not in model and not Path(model).is_dir():
        tags = open_clip.list_pretrained_tags_by_model(model)
        if tags:
            raise InputError(
                f"{model} needs weights: name --pretrained with one of {', '.join(tags)}"
            )
    facts = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else {}
    try:
        config = open_clip.get_model_config(model)
        if config and facts.get("quick_gelu") and not config.get("quick_gelu"):
            raise InputError(f"{model} {pretrained} wants QuickGELU; name {model}-quickgelu")
        with weights_wanted():
            made = open_clip.create_model(model, pretrained=pretrained or None)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot open the encoder {model} {pretrained}: {reason}") from error
    how = {key: made.visual.preprocess_cfg[key] for key in PREPROCESSING}
    note = {
        "id": f"{model}/{Path(pretrained).name}" if pretrained else model,
        "width": int(config["embed_dim"]),
        "normalized": False,
        "library": "open_clip",
    }
    _keep_tokenizer(model, config, folder, note)
    tensors = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    with draft(folder / WEIGHTS) as unfinished:
        save_file(tensors, unfinished)
    write_json(folder / NOTE, note)
    write_json(folder / MODEL, {"model_cfg": config, "preprocess_cfg": how})
    return note


def _keep_tokenizer(model: str, config: dict[str, Any], folder: Path, note: dict[str, Any]) -> None:
    """Keep the tokenizer of a text tower that has one from a hub (SigLIP, multilingual towers).

    open_clip reads it from the encoder's folder. Where it can't be had the note says why: pictures
    can be embedded without it, words can't.
    """
    import open_clip

    name = (config.get("text_cfg") or {}).get("hf_tokenizer_name")
    if not name:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        open_clip.get_tokenizer(model).tokenizer.save_pretrained(folder)
    except (OSError, ValueError, ImportError) as error:
        note["no_tokenizer"] = f"{name}: {str(error).splitlines()[0]}"


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
        with warnings.catch_warnings():
            # tqdm's, in notebooks without ipywidgets
            warnings.filterwarnings("ignore", message="IProgress not found")
            import open_clip
        import torch
    except ImportError as error:
        raise MissingError(
            f"{error.name} is not installed: pip install 'feature-atlas[embed]'"
        ) from error
    note = read_encoder_note(folder)
    precision = "fp16" if torch.device(device).type == "cuda" else "fp32"
    try:
        with weights_wanted():
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


def fit_of(encoder: Encoder) -> Fit:
    """Return how an encoder's pictures are brought to its size."""
    facts = encoder.model.visual.preprocess_cfg
    size = facts["size"]
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    return Fit(height, width, facts["interpolation"], facts["resize_mode"], facts["fill_color"])


def embed_levels(encoder: Encoder, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the raw embeddings (image, d) of pictures that were fitted already.

    Args:
        encoder: The encoder.
        levels: (image, height, width, 3) as Fit gives them. All are one batch: another number
            may change the last bits.
    """
    import torch

    facts = encoder.model.visual.preprocess_cfg
    mean, std = (torch.tensor(facts[key], device=encoder.device) for key in ("mean", "std"))
    pixels = torch.from_numpy(levels).to(encoder.device).permute(0, 3, 1, 2)
    pixels = (pixels.float() / 255 - mean[:, None, None]) / std[:, None, None]
    dtype = next(encoder.model.parameters()).dtype
    with torch.no_grad():
        pixels = pixels.to(dtype, memory_format=torch.channels_last)
        found = encoder.model.encode_image(pixels, normalize=False)
    vectors: NDArray[np.float32] = found.float().cpu().numpy()
    return vectors


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
            pixels = torch.stack([encoder.preprocess(to_rgb(image)) for image in batch])
            dtype = next(encoder.model.parameters()).dtype
            pixels = pixels.to(encoder.device, dtype, memory_format=torch.channels_last)
            found.append(look(pixels).float().cpu().numpy())
    seen: NDArray[np.float32] = np.concatenate(found)
    return seen
