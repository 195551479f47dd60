"""A small demo for those who have the package alone: pictures of shapes, drawn here, with captions."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from atlas.base.errors import MissingError
from atlas.base.files import remove_tree, write_text
from atlas.prepare.new_atlas import FILE, config_text, with_setting

COLORS = {
    "red": "#d33a2c",
    "orange": "#e8862e",
    "yellow": "#f2cf3b",
    "green": "#3f9b4a",
    "blue": "#3568c9",
    "purple": "#7b4bb3",
    "black": "#20201e",
    "pink": "#ec8fb0",
}
SHAPES = ("circle", "square", "triangle", "ring", "bar", "cross")
COUNTS = (1, 2, 3)
NEEDED = (
    "torch",
    "torchvision",
    "open_clip",
    "faiss",
    "umap",
    "numba",
    "diffusers",
    "transformers",
)
PX = 96
TITLE = "A small demo: shapes"
NOTE = (
    "Shapes drawn by a program, embedded by the demo's small encoder. No figure here is a finding."
)


def write_demo(folder: Path) -> Path:
    """Draw the demo's pictures and write its configuration, unless they are there; return its path.

    Args:
        folder: Of the demo.

    Raises:
        MissingError: A package that its build needs is not installed; nothing is written.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingError(
            f"a demo is made by models, and {missing[0]} is not installed: pip install "
            "'feature-atlas[all]', or restore one: atlas demo --from BUNDLE"
        )
    pictures, path = folder / "pictures", folder / FILE
    if not pictures.is_dir():
        draw_pictures(pictures)
    if not path.exists():
        text, _ = config_text(pictures, folder)
        write_text(
            path,
            with_setting(with_setting(text, "catalog", "note", NOTE), "catalog", "title", TITLE),
        )
    return path


def draw_pictures(folder: Path, seed: int = 0) -> int:
    """Write a picture and its caption for every color, shape and count; return how many.

    Args:
        folder: Made, with NAME.png and NAME.txt; it must not exist.
        seed: Decides places and sizes.
    """
    random = np.random.default_rng(seed)
    cases = list(product(COLORS, SHAPES, COUNTS, range(3)))
    work = folder.with_name(f".{folder.name}")
    remove_tree(work)
    work.mkdir(parents=True)
    for number, (color, shape, count, _) in enumerate(cases):
        picture = Image.new("RGB", (PX, PX), "white")
        draw = ImageDraw.Draw(picture)
        for place in random.permutation(9)[:count]:
            side = int(random.integers(20, 30))
            x, y = (2 + 31 * (place % 3), 2 + 31 * (place // 3))
            _draw(draw, shape, COLORS[color], (x, y, x + side, y + side))
        picture.save(work / f"{number:04}.png")
        words = f"{color} {shape}" if count == 1 else f"{count} {color} {shape}s"
        write_text(work / f"{number:04}.txt", words)
    work.rename(folder)
    return len(cases)


def _draw(
    draw: ImageDraw.ImageDraw, shape: str, color: str, box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    third = (right - left) // 3
    if shape == "circle":
        draw.ellipse(box, fill=color)
    elif shape == "ring":
        draw.ellipse(box, outline=color, width=max(3, third // 2))
    elif shape == "square":
        draw.rectangle(box, fill=color)
    elif shape == "triangle":
        draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=color)
    else:
        draw.rectangle((left, top + third, right, bottom - third), fill=color)
        if shape == "cross":
            draw.rectangle((left + third, top, right - third, bottom), fill=color)
