"""Step softened: what the frozen network says of every image as the decoder could draw it.

The decoder draws at 64 px, through an autoencoder that loses fine detail, and a network trained
on photographs leans on that detail: half of a picture's place in a head's space is lost with it.
So the head is taught with both, the picture sharp and the picture softened: through the
autoencoder, with a little noise on its codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import draft
from atlas.demo import movq, trunk
from atlas.demo.places import CACHE

MOST_NOISE = 0.4
"""Of the codes' spread; each image gets an even share of it at random."""
BATCH = 50
SEED = 0


def run() -> None:
    """Compute the features of every image softened, a part at a time; parts that are there stay."""
    pixels = movq.draw_all()
    softener, network = movq.read(), trunk.load_trunk()
    size = trunk.IMAGES_PER_PART
    n_parts = (len(pixels) - 1) // size + 1
    for part in range(n_parts):
        path = part_path(part)
        if not path.exists():
            images = np.arange(part * size, min((part + 1) * size, len(pixels)))
            with draft(path) as unfinished, unfinished.open("wb") as file:
                np.save(file, _features_of(softener, network, pixels, images))
            print(f"softened: {part + 1} of {n_parts}", flush=True)


def part_path(part: int) -> Path:
    """Return where a part of the features is kept."""
    return CACHE / "softened" / f"{part:04d}.npy"


def read_features() -> NDArray[np.float32]:
    """Return the (image, 1280) features of every image softened."""
    return np.concatenate([np.load(path) for path in sorted(part_path(0).parent.glob("*.npy"))])


def _features_of(
    softener: Any, network: torch.nn.Module, pixels: NDArray[np.uint8], images: NDArray[np.int64]
) -> NDArray[np.float32]:
    found = []
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH]
        drawn = soften(softener, np.asarray(pixels[some]), some)
        large = [np.asarray(Image.fromarray(d).resize((trunk.IMAGE_PX,) * 2)) for d in drawn]
        x = torch.from_numpy(np.stack(large).astype(np.float32) / 255).permute(0, 3, 1, 2)
        with torch.no_grad():
            found.append(network((x - trunk.MEAN) / trunk.STD).numpy())
    return np.concatenate(found)


def soften(
    softener: Any, pixels: NDArray[np.uint8], images: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Return pictures (image, 64, 64, 3) as the autoencoder gives them back, its codes noisy."""
    codes = movq.encode(softener, pixels)
    for row, image in enumerate(images):
        random = np.random.default_rng([SEED, int(image)])
        share = MOST_NOISE * random.random()
        codes[row] += (share * random.standard_normal(codes[row].shape)).astype(np.float32)
    with torch.no_grad():
        seen = softener.decode(torch.from_numpy(codes), force_not_quantize=True).sample
    bytes_ = ((seen + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    drawn: NDArray[np.uint8] = bytes_.permute(0, 2, 3, 1).numpy()
    return drawn
