"""What a build would take, told before anything runs: time, disk, memory, and what is missing.

Estimates, not promises: each is a count times a rate measured on two cores of a server of
2025, and the basis is printed beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.config import Config
from atlas.files import read_json
from atlas.paths import outside_files
from atlas.pipeline import stages_of

GFLOPS = 200.0
"""Float32 products on two cores, in billions of operations a second."""
THUMBNAILS_PER_S = 250.0
ENCODED_PER_S = 30.0
THUMBNAIL_BYTES = 3_000
CLUSTER_ROUNDS = 30
"""Of the clustering, at most."""
ACTIVE_FEATURES = 60
"""Features assumed to fire on an image, as the seed's SAE has it."""
ACTIVATION_BYTES = 9.4
"""An activation on disk, in both orientations."""
PAGE_BYTES = 12_000
PAGES_PER_S = 800.0
ALIVE_SHARE = 0.75
ICON_FORWARDS = 200
"""Forwards of the demo's decoder in a second on two cores; each step takes two."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one stage would take."""

    stage: str
    time_s: float
    disk_bytes: float
    memory_bytes: float
    basis: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would take."""

    stages: tuple[StageEstimate, ...]
    missing: tuple[str, ...]
    """Inputs that aren't there, each with what to do."""
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table's cells, with a row for the whole."""
        rows = [
            (s.stage, _time(s.time_s), _size(s.disk_bytes), _size(s.memory_bytes), s.basis)
            for s in self.stages
        ]
        time_s = sum(s.time_s for s in self.stages)
        disk = sum(s.disk_bytes for s in self.stages)
        memory = max((s.memory_bytes for s in self.stages), default=0)
        return [*rows, ("all", _time(time_s), _size(disk), _size(memory), "")]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values; seconds and bytes."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Size:
    """The numbers that costs grow with."""

    images: int
    width: int
    features: int


def make_plan(config: Config) -> Plan:
    """Estimate a build without reading more than the headers of its inputs."""
    outside = outside_files(config)
    missing = tuple(
        f"no {name} at {path}; put it there or change the configuration"
        for name, (path, files) in outside.items()
        if not files
    )
    size = measure(config, outside)
    estimates = tuple(ESTIMATES[stage.name](size, config) for stage in stages_of(config))
    notes = (
        f"{size.images:,} images of width {size.width}, {size.features:,} features; "
        f"rates of two cores, {GFLOPS:.0f} GFLOP/s in float32.",
        "Money: none beyond this machine's; nothing is rented or downloaded.",
    )
    return Plan(estimates, missing, notes)


def measure(config: Config, outside: dict[str, tuple[Path, tuple[Path, ...]]]) -> Size:
    """Return the sizes that the inputs' headers give; 0 where an input isn't there."""
    images, width = _vectors_size(outside.get("vectors", (Path(), ()))[1])
    if not images and config.embed.compositions is not None and config.embed.compositions.exists():
        import pyarrow.parquet as pq

        images = pq.read_metadata(config.embed.compositions).num_rows
    if config.sae.path is None:
        features = int(getattr(config.train, "n_features", 0))
    else:
        note = config.sae.path / "sae.json"
        features = int(read_json(note)["n_features"]) if note.exists() else 0
    return Size(images, width, features)


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


def _embed(size: Size, config: Config) -> StageEstimate:
    encode_s = 0.0 if config.embed.vectors is not None else size.images / ENCODED_PER_S
    time_s = encode_s + size.images / THUMBNAILS_PER_S
    basis = f"{THUMBNAILS_PER_S:.0f} thumbnails/s" + (
        f", {ENCODED_PER_S:.0f} encoded/s" if encode_s else ""
    )
    return StageEstimate("embed", time_s, size.images * THUMBNAIL_BYTES, 0.5e9, basis)


def _convert(size: Size, _config: Config) -> StageEstimate:
    weights = 8.0 * size.features * size.width
    basis = "read, checked and written once, at 200 MB/s"
    return StageEstimate("convert", weights / 200e6, weights, 3 * weights + 0.5e9, basis)


def _train(size: Size, config: Config) -> StageEstimate:
    steps, batch = (int(getattr(config.train, key, 0)) for key in ("steps", "batch_images"))
    flops = 6.0 * 2 * steps * batch * size.features * max(size.width, 1)
    weights = 8.0 * size.features * size.width
    return StageEstimate(
        "train",
        flops / GFLOPS / 1e9,
        weights,
        4 * weights + 1e9,
        f"{steps:,} steps of {batch:,} images",
    )


def _scan(size: Size, config: Config) -> StageEstimate:
    flops = 2.0 * size.images * size.features * size.width
    disk = size.images * ACTIVE_FEATURES * ACTIVATION_BYTES + size.features * 1500.0
    memory = (
        4.0 * config.runtime.batch_images * size.features + 8.0 * size.features * size.width + 0.5e9
    )
    return StageEstimate(
        "scan", flops / GFLOPS / 1e9, disk, memory, "one float32 product, images x features x width"
    )


def _neighbors(size: Size, _config: Config) -> StageEstimate:
    flops = 2.0 * size.features**2 * size.width
    disk = size.features * 64 * 12.0 + size.images * 4.0 * size.width
    return StageEstimate(
        "neighbors",
        flops / GFLOPS / 1e9 + size.images / 2000,
        disk,
        1e9,
        "one product, features x features x width",
    )


def _families(size: Size, _config: Config) -> StageEstimate:
    live = size.features * ALIVE_SHARE
    clustering = 2.0 * live**1.75 * size.width * CLUSTER_ROUNDS
    opposed = 2.0 * live**2 * size.width
    pairs = size.images * ACTIVE_FEATURES**2
    return StageEstimate(
        "families",
        (clustering + opposed) / GFLOPS / 1e9 + pairs / 1e8,
        live * (2.0 * size.width + 300),
        size.images * ACTIVE_FEATURES * 6.0 + 16.0 * live * size.width,
        "pairs of features an image at 100 M/s, one product and the clustering",
    )


def _icons(size: Size, config: Config) -> StageEstimate:
    area = (config.icons.px / 64) ** 2
    icons = config.icons
    live = size.features * ALIVE_SHARE
    sample = min(live, icons.sample_features) * (1 + len(icons.replicate_seeds))
    pictures = live + sample + 4 * min(live, icons.strip_features)
    return StageEstimate(
        "icons",
        pictures * icons.steps * 2 * area / ICON_FORWARDS,
        pictures * 3000 * area**0.8,
        2e9,
        f"{pictures:,.0f} pictures; {ICON_FORWARDS} forwards/s of a small decoder at 64 px; a full one wants a GPU",
    )


GROUPED_IMAGES = 500
"""Images grouped in a second on one core, at some 50 features an image."""


def _concepts(size: Size, config: Config) -> StageEstimate:
    area = (config.icons.px / 64) ** 2
    drawn = config.concepts.drawn_examples if config.icons.decoder else 0
    pictures = drawn * 26
    return StageEstimate(
        "concepts",
        size.images / GROUPED_IMAGES + pictures * config.icons.steps * 2 * area / ICON_FORWARDS,
        size.images * 300 + pictures * 3000 * area**0.8,
        2e9,
        f"{size.images:,} images grouped; about {pictures:,} pictures, as icons",
    )


def _catalog(size: Size, _config: Config) -> StageEstimate:
    rows = size.features * (64 + 80 + 64 + 20) + size.images
    return StageEstimate(
        "catalog",
        rows / 1e6 + size.features / 1500 + 20,
        rows * 20.0,
        1e9,
        "1 M rows/s, map of 1,500 features/s",
    )


def _site(size: Size, config: Config) -> StageEstimate:
    pages = size.features * ALIVE_SHARE + config.catalog.decomposed_images
    thumbnails = min(size.images, int(size.features * ALIVE_SHARE * 15))
    disk = pages * PAGE_BYTES + thumbnails * THUMBNAIL_BYTES
    return StageEstimate(
        "site", pages / PAGES_PER_S + thumbnails / 5000, disk, 1e9, f"{PAGES_PER_S:.0f} pages/s"
    )


ESTIMATES: dict[str, Callable[[Size, Config], StageEstimate]] = {
    "embed": _embed,
    "convert": _convert,
    "train": _train,
    "scan": _scan,
    "neighbors": _neighbors,
    "families": _families,
    "icons": _icons,
    "concepts": _concepts,
    "catalog": _catalog,
    "site": _site,
}


def _time(time_s: float) -> str:
    if time_s < 90:
        return f"{time_s:.0f} s"
    if time_s < 5400:
        return f"{time_s / 60:.0f} min"
    return f"{time_s / 3600:.1f} h"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
