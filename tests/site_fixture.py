"""Planted atlases with their sites, built once for all tests that look at them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from planted import plant
from tiny_decoder import save_tiny_decoder
from tiny_encoder import save_tiny_encoder

from atlas.base.files import list_files
from atlas.base.progress import Progress
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config

DRAWN = """
[runtime]
workers = 1

[names]
least_auroc = 0.5

[icons]
decoder = "decoder"
px = 16
steps = 2
guidance = 3.0
block_features = 20
strength = 2.0
strength_unit = "natural"
sample_features = 12
strip_features = 5
second_encoder = "other-encoder"
second_images = 3

[where]
features = 6
images = 2
"""


def save_planted_words(folder: Path, width: int, dark: int = 3) -> None:
    """Write a vocabulary of the planted captions' words: each shape points along its dimension.

    The first shapes lack their pair of words, so that a page has to add up the lists of two.
    """
    shapes = np.eye(width, dtype=np.float32) - 1 / width
    shapes /= np.linalg.norm(shapes, axis=1, keepdims=True)
    numbers = [str(i) for i in range(width)]
    pairs = [f"shape {number}" for number in numbers[dark:]]
    middle = np.full((1, width), width**-0.5, np.float32)
    folder.mkdir()
    (folder / "words.txt").write_text("\n".join(["shape", *numbers, *pairs]) + "\n")
    np.save(folder / "vectors.npy", np.concatenate([middle, shapes, shapes[dark:]]).astype("f2"))


def build_drawn(folder: Path) -> None:
    """Plant an atlas with icons and knobs, by a real pipeline and encoder of tiny random weights."""
    plant(folder)
    save_tiny_decoder(folder / "decoder", 32)
    save_tiny_encoder(folder / "encoder", 32)
    save_tiny_encoder(folder / "other-encoder", 20, seed=5)
    save_planted_words(folder / "words", 32)
    toml = folder / "atlas.toml"
    text = toml.read_text().replace("[embed]\n", '[embed]\nencoder = "encoder"\n')
    text = text.replace("[catalog]\n", '[catalog]\nvocabulary = "words"\n')
    text = text.replace("examples = 12\n", "examples = 10\ndrawn_examples = 3\n")
    toml.write_text(text + DRAWN)
    build_atlas(load_config(toml), progress=Progress(silent=True))


def build_planted(folder: Path, **sizes: int) -> Path:
    """Plant an atlas in a folder and build it; return the atlas folder."""
    plant(folder, **sizes)
    build_atlas(load_config(folder / "atlas.toml"), progress=Progress(silent=True))
    return folder / "build"


def build_grouped(atlas: Path, folder: Path) -> Path:
    """Build a planted atlas's site anew in groups, with joined pictures; return its folder."""
    out_dir = folder / "build"
    shutil.copytree(atlas, out_dir)
    changes = [f"out_dir={out_dir}", "site.layout=groups", "site.pictures=sheets"]
    config = load_config(atlas.parent / "atlas.toml", changes)
    build_atlas(config, progress=Progress(silent=True))
    return out_dir / "site"


def column(db, query: str) -> list:
    """Return the first column of a query's answer."""
    return [row[0] for row in db.execute(query).fetchall()]


def inputs_of(atlas: Path) -> dict[str, Path]:
    """Return the folders that the site stage reads."""
    return {name: atlas / name for name in ("embed", "concepts", "catalog")}


def thumbnail_parts(atlas: Path) -> list[Path]:
    """Return the files of an atlas's thumbnails."""
    return sorted((atlas / "embed" / "parts").glob("thumbnails-*.parquet"))


def names_of(folder: Path) -> dict[str, Path]:
    """Return the files below a folder, by their addresses."""
    return {path.relative_to(folder).as_posix(): path for path in list_files(folder)}
