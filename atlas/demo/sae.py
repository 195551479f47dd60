"""Step sae: the demo's SAE, trained by the project's own train stage from train.toml."""

from __future__ import annotations

import shutil

from atlas.base.files import draft
from atlas.base.progress import Progress
from atlas.demo.places import DEMO, SAE
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config

FILES = ("sae.json", "sae.safetensors", "curve.parquet", "figures.json")


def run() -> None:
    """Train as data/demo/train.toml says, and copy the checkpoint to data/demo/sae."""
    config = load_config(DEMO / "train.toml")
    build_atlas(config, ("train",), progress=Progress())
    for name in FILES:
        with draft(SAE / name) as path:
            shutil.copyfile(config.out_dir / "train" / name, path)
