"""The numbers that costs grow with, and how times and sizes are printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atlas.base.files import read_json
from atlas.inputs.picture_sets import count_pictures
from atlas.prepare.machine import Machine
from atlas.settings.load import Config
from atlas.settings.outside import outside_files, sae_dir, sae_path


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers that costs grow with."""

    images: int
    width: int
    features: int
    gflops: float
    """Of the cores, billions of operations a second."""
    device_gflops: float
    """Of what runtime.device names, billions of operations a second."""


def measure(config: Config, machine: Machine) -> Size:
    """Return the sizes that the inputs' names and headers give, or that are expected; 0 where unknown."""
    outside, expected = outside_files(config), config.expected
    images, width = _vectors_size(outside.get("vectors", (Path(), ()))[1])
    if not images and config.embed.compositions is not None and config.embed.compositions.exists():
        import pyarrow.parquet as pq

        images = pq.read_metadata(config.embed.compositions).num_rows
    if not images and config.embed.vectors is None:
        images = count_pictures(outside.get("pictures", (Path(), ()))[1])
    return Size(
        images or expected.images,
        width or expected.width,
        _features(config) or expected.features,
        machine.gflops,
        _device_gflops(config, machine),
    )


def _features(config: Config) -> int:
    if sae_path(config) is None:
        return config.train.n_features
    note = sae_dir(config) / "sae.json"
    return int(read_json(note)["n_features"]) if note.exists() else 0


def _device_gflops(config: Config, machine: Machine) -> float:
    if not config.runtime.device.startswith("cuda") or not machine.cards:
        return machine.gflops
    cards = machine.cards if config.runtime.device == "cuda" else machine.cards[:1]
    return 1000.0 * sum(card.tflops for card in cards)


def _vectors_size(files: tuple[Path, ...]) -> tuple[int, int]:
    import numpy as np

    shapes = []
    for path in files:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shapes.append(read(file)[0])
    return sum(shape[0] for shape in shapes), (shapes[0][1] if shapes else 0)


def time_text(time_s: float) -> str:
    """Return a time as people say it."""
    if time_s < 90:
        return f"{time_s:.0f} s"
    if time_s < 5400:
        return f"{time_s / 60:.0f} min"
    if time_s < 200_000:
        return f"{time_s / 3600:.1f} h"
    return f"{time_s / 86400:,.0f} days"


def size_text(size_bytes: float) -> str:
    """Return bytes as MB or GB."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
