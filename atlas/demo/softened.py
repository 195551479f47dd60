"""Images softened: as the decoder could draw them at best.

It draws at 64 px, through an autoencoder that loses fine detail, and a network leans on that
detail if it has never seen a picture without it. So the encoder is taught with both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.demo import movq

MOST_NOISE = 0.4
"""Of the codes' spread; each image gets an even share of it at random."""


def soften(
    softener: Any, pixels: NDArray[np.uint8], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return pictures (image, px, px, 3) as the autoencoder gives them back, its codes noisy."""
    codes = movq.encode(softener, resize(pixels, movq.SIDE_PX))
    share = MOST_NOISE * random.random((len(codes), 1, 1, 1), dtype=np.float32)
    codes += share * random.standard_normal(codes.shape, dtype=np.float32)
    return resize(movq.decode(softener, codes), pixels.shape[1])


def resize(pixels: NDArray[np.uint8], px: int) -> NDArray[np.uint8]:
    """Return pictures (image, any, any, 3) at another size, (image, px, px, 3)."""
    return np.stack([np.asarray(Image.fromarray(one).resize((px, px))) for one in pixels])
