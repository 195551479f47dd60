"""One planted atlas with its site, built once for all tests that look at it."""

from __future__ import annotations

from pathlib import Path

from planted import plant

from atlas.config import load_config
from atlas.pipeline import build_atlas
from atlas.progress import Progress


def build_planted(folder: Path, **sizes: int) -> Path:
    """Plant an atlas in a folder and build it; return the atlas folder."""
    plant(folder, **sizes)
    build_atlas(load_config(folder / "atlas.toml"), progress=Progress(silent=True))
    return folder / "build"
