"""Step neutral: neutral pictures to start icons from, drawn here; none says anything by itself."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.base.files import write_bytes
from atlas.demo.places import NEUTRAL

SIDE_PX = 256


def run() -> None:
    """Write the pictures, as PNG."""
    for name, shade in SHADES.items():
        levels = shade(*np.meshgrid(*[np.linspace(-1, 1, SIDE_PX)] * 2))
        picture = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
        data = io.BytesIO()
        picture.save(data, "PNG", optimize=True)
        write_bytes(NEUTRAL / f"{name}.png", data.getvalue())


def gray(x: NDArray[np.float64], _y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an even middle gray."""
    return np.full_like(x, 127)


def room(_x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a bare wall above a bare floor, softly lit."""
    floor = 1 / (1 + np.exp(-(y - 0.3) * 40))
    return 232 - 10 * (y + 1) - 22 * floor + 12 * floor * y


def sphere(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matte sphere on white, lit from the upper left."""
    radius = 0.62
    inside = np.clip(1 - (x * x + y * y) / radius**2, 0, None)
    light = (-0.5 * x - 0.6 * y) / radius + 0.62 * np.sqrt(inside)
    edge = np.clip((np.hypot(x, y) - radius) * SIDE_PX / 2, 0, 1)
    return (150 + 80 * light) * (1 - edge) + 255 * edge


SHADES: dict[str, Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]] = {
    "gray": gray,
    "room": room,
    "sphere": sphere,
}
"""Name of the picture -> its levels, 0 to 255, at places from -1 to 1."""
