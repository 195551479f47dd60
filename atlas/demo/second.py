"""Step second: how a network that knows nothing of our encoder or SAE sees every image.

The ImageNet network as it comes, its pictures at half the size that it was trained at, and of
what it gives the first principal components. Monosemanticity is judged by these. The demo's
encoder was trained on from the same weights: another view, no stranger's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.base.files import draft
from atlas.demo import trunk
from atlas.demo.places import CACHE, PICTURES, RECIPES, SECOND
from atlas.inputs.compositions import PictureSource, open_pictures

IMAGE_PX = 112
COMPONENTS = 48
IMAGES_PER_PART = 1000
BATCH = 50


def run() -> None:
    """Write second/0000.npy: (image, component) float16. Parts that are there stay."""
    source = open_pictures(PICTURES, RECIPES)
    model = trunk.load_trunk()
    parts = (len(source) - 1) // IMAGES_PER_PART + 1
    for part in range(parts):
        if not part_path(part).exists():
            with draft(part_path(part)) as unfinished, unfinished.open("wb") as file:
                np.save(file, _features_of(model, source, part))
            print(f"second: {part + 1} of {parts}", flush=True)
    features = np.concatenate([np.load(part_path(part)) for part in range(parts)])
    with draft(SECOND / "0000.npy") as path, path.open("wb") as file:
        np.save(file, principal_components(features, COMPONENTS).astype(np.float16))


def part_path(part: int) -> Path:
    """Return where a part of the features is kept."""
    return CACHE / "second" / f"{part:04d}.npy"


def principal_components(x: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Return (row, n) places along the directions of most variance, the mean taken off.

    A direction's largest weight is positive, so that its sign is no matter of the library.
    """
    off = x - x.mean(axis=0, dtype=np.float64)
    _, vectors = np.linalg.eigh(off.T @ off)
    basis = vectors[:, : -n - 1 : -1]
    signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(n)])
    found: NDArray[np.float64] = off @ (basis * signs)
    return found


def _features_of(model: torch.nn.Module, source: PictureSource, part: int) -> NDArray[np.float32]:
    images = range(part * IMAGES_PER_PART, min((part + 1) * IMAGES_PER_PART, len(source)))
    found = []
    for start in range(0, len(images), BATCH):
        drawn = [source.draw(image, IMAGE_PX) for image in images[start : start + BATCH]]
        pixels = torch.from_numpy(np.stack([np.asarray(d, np.float32) for d in drawn]) / 255)
        with torch.no_grad():
            found.append(model((pixels.permute(0, 3, 1, 2) - trunk.MEAN) / trunk.STD).numpy())
    return np.concatenate(found)
