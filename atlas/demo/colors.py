"""The colors of a picture, in the eleven words that most languages agree on, by counting pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 32
LEAST_SHARE = 0.3
"""Of a picture's opaque pixels; a color with less is not named."""
LEAST_SATURATION, LEAST_VALUE = 0.25, 0.25
HUES = (
    ("red", 345, 360),
    ("red", 0, 14),
    ("orange", 14, 40),
    ("yellow", 40, 66),
    ("green", 66, 170),
    ("blue", 170, 255),
    ("purple", 255, 295),
    ("pink", 295, 345),
)
"""Degrees of hue, from and below."""
BROWN_HUES, MOST_BROWN_VALUE = (8, 45), 0.65
BLACK_VALUE = 0.25
WHITE_VALUE, WHITE_SATURATION = 0.85, 0.15


def colors_of(picture: Image.Image) -> list[str]:
    """Return the colors that cover much of an RGBA picture, in alphabetical order."""
    pixels = np.asarray(picture.resize((SIDE_PX, SIDE_PX))).reshape(-1, 4).astype(np.float64)
    opaque = pixels[pixels[:, 3] > 127, :3] / 255
    if not len(opaque):
        return []
    names, counts = np.unique(name_colors(opaque), return_counts=True)
    return [str(name) for name in names[counts >= LEAST_SHARE * len(opaque)]]


def name_colors(rgb: NDArray[np.float64]) -> NDArray[np.str_]:
    """Return a word for each of (pixel, 3) colors from 0 to 1."""
    value, low = rgb.max(axis=1), rgb.min(axis=1)
    saturation = (value - low) / np.maximum(value, 1e-6)
    hue = _hue(rgb, value, value - low)
    found = np.full(len(rgb), "gray", dtype="<U6")
    found[value < BLACK_VALUE] = "black"
    found[(value > WHITE_VALUE) & (saturation < WHITE_SATURATION)] = "white"
    colored = (saturation >= LEAST_SATURATION) & (value >= LEAST_VALUE)
    for name, first, last in HUES:
        found[colored & (hue >= first) & (hue < last)] = name
    brown = (hue > BROWN_HUES[0]) & (hue <= BROWN_HUES[1]) & (value < MOST_BROWN_VALUE)
    found[colored & brown] = "brown"
    return found


def _hue(
    rgb: NDArray[np.float64], value: NDArray[np.float64], chroma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return degrees from 0 to 360; 0 for grays."""
    red, green, blue = rgb.T
    safe = np.maximum(chroma, 1e-6)
    sixths = np.where(
        value == red,
        ((green - blue) / safe) % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    found: NDArray[np.float64] = np.where(chroma > 0, sixths * 60, 0.0)
    return found
