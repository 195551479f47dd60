"""Step encoder: the towers of step towers as an open_clip folder, and every image through them.

The folder holds the image tower alone; the sentence model stays outside, only words' vectors ship.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.base.files import draft, write_json
from atlas.demo import towers, trunk
from atlas.demo.places import CACHE, ENCODER, PICTURES, RECIPES
from atlas.demo.words import encode_texts
from atlas.inputs.compositions import open_pictures

BATCH = 64


def run() -> None:
    """Write the encoder's folder, and the embeddings of every image by the towers of each pool."""
    export(towers.read("all"))
    for pool in towers.POOLS:
        write_embeddings(pool)


def write_embeddings(pool: str) -> None:
    """Keep the raw embeddings (image, d) by a pool's towers in the cache."""
    trained, source = towers.read(pool), open_pictures(PICTURES, RECIPES)
    found = []
    for start in range(0, len(source), BATCH):
        images = range(start, min(start + BATCH, len(source)))
        drawn = [np.asarray(source.draw(image, towers.IMAGE_PX)) for image in images]
        found.append(embed_pixels(trained, np.stack(drawn)))
    with draft(embedded_path(pool)) as path, path.open("wb") as file:
        np.save(file, np.concatenate(found))


def embed_pixels(trained: towers.Towers, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return raw embeddings (image, d) of pixels (image, px, px, 3)."""
    with torch.no_grad():
        found: NDArray[np.float32] = trained.embed_images(towers.normalize(pixels)).numpy()
    return found


def embed_texts(trained: towers.Towers, texts: list[str]) -> NDArray[np.float32]:
    """Return unit joint vectors (text, d)."""
    with torch.no_grad():
        vectors = torch.from_numpy(encode_texts(texts) - towers.text_center())
        found: NDArray[np.float32] = trained.embed_texts(vectors).numpy()
    return found


def embedded_path(pool: str) -> Path:
    """Return where the embeddings of a pool's towers are kept."""
    return CACHE / f"embedded-{pool}.npy"


def export(trained: towers.Towers) -> None:
    """Write the encoder as an open_clip folder: configuration, half-precision weights, note."""
    state = {f"visual.trunk.{name}": one for name, one in trained.trunk.state_dict().items()}
    head = trained.image_head.state_dict()
    state |= {f"visual.head.proj.{name}": one for name, one in head.items()}
    head_config = {"timm_proj": "linear", "timm_proj_bias": True}
    trunk.write_open_clip(ENCODER, state, towers.WIDTH, towers.IMAGE_PX, head_config)
    write_json(ENCODER / "encoder.json", note())


def note() -> dict[str, Any]:
    """Return what is recorded of the encoder."""
    return {
        "id": f"atlas-demo-lite0-{towers.WIDTH}-trained",
        "width": towers.WIDTH,
        "normalized": False,
        "library": "open_clip",
        "image_px": towers.IMAGE_PX,
        "preprocessing": "(value - 127) / 128, square, padded on white, bicubic",
        "tower": "EfficientNet-Lite0, trained on here from ImageNet weights, its first stages kept",
        "head": f"linear, trained with it; {towers.STEPS} steps of {towers.BATCH} images composed as they were needed",
        "text": "none at run time: the folder vocabulary holds words' vectors; the text tower in the weights is untrained",
        "license": "Apache-2.0",
    }
