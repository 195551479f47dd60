"""What each stage takes, a function a stage: counts times rates, with the basis of the rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atlas.pipeline import stages_of
from atlas.prepare.site_size import ALIVE_SHARE, SMALL_PICTURES, THUMBNAIL_BYTES, whole_site
from atlas.prepare.sizes import Size
from atlas.settings.load import Config
from atlas.settings.outside import outside_files
from atlas.study.image_index import (
    COMPONENTS,
    LISTS_LOOKED_INTO,
    MIN_LISTS,
    is_exact,
    n_lists_of,
)
from atlas.study.units import HELD_ROWS

START_S = 4.0
"""Of a stage that loads torch or numba."""
PROCESS_S = 1.5
"""Of a stage that loads neither."""
ROWS_PER_S = 20_000.0
"""Rows of embeddings made elsewhere that are read, checked and listed in a second."""
FIRINGS_PER_S = 6e5
"""Activations that a scan sorts, packs and writes in a second, beside its products."""
THUMBNAILS_PER_S = 250.0
ENCODED_PER_S = 30.0
"""Pictures that the demo's encoder takes in a second on two cores."""
COVERED = 52
"""Pictures encoded for a map of where a feature looks."""
CLUSTER_ROUNDS = 30
"""Of the clustering, at most."""
ACTIVE_FEATURES = 60
"""Features assumed to fire on an image, as the seed's SAE has it."""
ACTIVATION_BYTES = 9.4
"""An activation on disk, in both orientations."""
PAGES_PER_S = 800.0
CELLS_PER_S = 1500.0
"""Pictures decoded, scaled and encoded into sheets."""
DEMO_PICTURE_GFLOP = 1.0
"""What one forward of the demo's decoder takes at 64 px; each step takes two."""
PRODUCTS_OF_NEAR_MISSES = 3.0
"""What finding near misses takes, over the multiplications of its products alone (bench_growth)."""
PRODUCTS_OF_INDEX = 6.0
"""The same where an index of bytes is asked."""
INDEXED_PER_S = 3000.0
"""Images read, centered and put into an index in a second."""
NEIGHBORS_BYTES = 0.8e9
"""Of the stage neighbors, whatever the number of images."""
INDEXED_BYTES = 460.0
"""Of an image in that stage where an index is asked (bench_growth)."""
NAMED_PER_S = 60.0
"""Features named and graded in a second."""
CAPTIONS_PER_S = 5000.0
"""Images in a second whose words are read for the names (bench_growth)."""
PAIRS_PER_S = 4e7
"""Pairs of features that fire on one image, counted in a second (bench_growth)."""
CATALOG_S = 40.0
"""Of the catalog, whatever its size: most of it is the map (bench_growth)."""
SITE_S = 15.0
"""Of the site: its workers start four times, to render and to check (bench_growth)."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one stage would take."""

    stage: str
    time_s: float
    disk_bytes: float
    memory_bytes: float
    basis: str


def estimate(size: Size, config: Config) -> tuple[StageEstimate, ...]:
    """Return what each stage of a build would take."""
    return tuple(ESTIMATES[stage.name](size, config) for stage in stages_of(config))


def _embed(size: Size, config: Config) -> StageEstimate:
    gflop = config.expected.encode_gflop
    rate = size.device_gflops / gflop if gflop else ENCODED_PER_S
    if config.embed.pictures is None:
        basis = f"{ROWS_PER_S:,.0f} rows/s; no pictures"
        return StageEstimate(
            "embed", PROCESS_S + size.images / ROWS_PER_S, size.images * 150.0, 0.3e9, basis
        )
    encode_s = 0.0 if config.embed.vectors is not None else size.images / rate
    basis = f"{THUMBNAILS_PER_S:.0f} thumbnails/s" + (
        f", {rate:,.3g} encoded/s" if encode_s else ""
    )
    vectors = 2.0 * size.images * size.width if encode_s else 0.0
    return StageEstimate(
        "embed",
        encode_s + size.images / THUMBNAILS_PER_S,
        size.images * THUMBNAIL_BYTES + vectors,
        0.5e9 + _weight_bytes(config, "encoder"),
        basis,
    )


def _weight_bytes(config: Config, what: str) -> float:
    """Return the size of a model, on disk or as it would be fetched."""
    files = outside_files(config).get(what, (Path(), ()))[1]
    listed = sum(d.size_gb * 1e9 for d in config.downloads if d.what == what)
    return float(sum(path.stat().st_size for path in files)) or listed


def _convert(size: Size, _config: Config) -> StageEstimate:
    weights = 8.0 * size.features * size.width
    basis = "read, checked and written once, at 200 MB/s"
    return StageEstimate("convert", weights / 200e6, weights, 3 * weights + 0.5e9, basis)


DENSE_PRODUCTS = {"relu": 6, "topk": 1, "batchtopk": 1}
"""Products of a batch with a whole matrix in a training step; of a top-k the others are sparse."""


def _train(size: Size, config: Config) -> StageEstimate:
    train = config.train
    products = DENSE_PRODUCTS[train.activation]
    flops = 2.0 * products * train.steps * train.batch_images * size.features * max(size.width, 1)
    weights = 8.0 * size.features * size.width
    held = 4.0 * min(size.images, train.buffer_images) * size.width
    return StageEstimate(
        "train",
        flops / size.device_gflops / 1e9,
        2 * weights,
        4 * weights + held + 1e9,
        f"{train.steps:,} steps of {train.batch_images:,} images",
    )


def _scan(size: Size, config: Config) -> StageEstimate:
    flops = 2.0 * size.images * size.features * size.width
    disk = size.images * ACTIVE_FEATURES * ACTIVATION_BYTES + size.features * 1500.0
    memory = (
        4.0 * config.runtime.batch_images * size.features + 8.0 * size.features * size.width + 0.8e9
    )
    return StageEstimate(
        "scan",
        START_S + flops / size.device_gflops / 1e9 + size.images * ACTIVE_FEATURES / FIRINGS_PER_S,
        disk,
        memory,
        "one product, images x features x width",
    )


def _neighbors(size: Size, config: Config) -> StageEstimate:
    live = size.features * ALIVE_SHARE
    asked = live * config.neighbors.near_miss_top_images
    if not is_exact(size.images):
        return _neighbors_by_index(size, asked)
    # Features share top images: the expected number of distinct ones if each chose at random.
    queries = size.images * -math.expm1(-asked / max(size.images, 1))
    flops = 2.0 * (size.features**2 + PRODUCTS_OF_NEAR_MISSES * queries * size.images) * size.width
    return StageEstimate(
        "neighbors",
        flops / size.gflops / 1e9 + size.images / 2000,
        size.features * 64 * 12.0 + size.images * 2.0 * size.width,
        NEIGHBORS_BYTES + size.images * (6.0 * size.width + ACTIVE_FEATURES * 6.0),
        f"{queries:,.0f} top images x all images x width, for near misses",
    )


def _neighbors_by_index(size: Size, asked: float) -> StageEstimate:
    width = min(COMPONENTS, size.width)
    looked_at = size.images * max(LISTS_LOOKED_INTO, MIN_LISTS / n_lists_of(size.images))
    flops = 2.0 * size.features**2 * size.width
    flops += 2.0 * PRODUCTS_OF_INDEX * asked * looked_at * width
    return StageEstimate(
        "neighbors",
        flops / size.gflops / 1e9 + size.images / INDEXED_PER_S,
        size.features * 64 * 12.0 + size.images * (width + 8.0),
        NEIGHBORS_BYTES + size.images * INDEXED_BYTES,
        f"{asked:,.0f} top images x 1/{size.images / looked_at:.0f} of the images x {width}, for near misses",
    )


def _families(size: Size, _config: Config) -> StageEstimate:
    live = size.features * ALIVE_SHARE
    clustering = 2.0 * live**1.75 * size.width * CLUSTER_ROUNDS
    opposed = 2.0 * live**2 * size.width
    pairs = size.images * ACTIVE_FEATURES**2
    return StageEstimate(
        "families",
        START_S + (clustering + opposed) / size.gflops / 1e9 + pairs / PAIRS_PER_S,
        live * (2.0 * size.width + 300),
        0.2e9 + size.images * ACTIVE_FEATURES * 8.0 + 16.0 * live * size.width,
        f"pairs of features an image at {PAIRS_PER_S / 1e6:.0f} M/s, one product and the clustering",
    )


def _compare(size: Size, _config: Config) -> StageEstimate:
    live = size.features * ALIVE_SHARE
    products = 4.0 * live**2 * size.width
    pairs = 2.0 * size.images * ACTIVE_FEATURES**2
    return StageEstimate(
        "compare",
        products / size.gflops / 1e9 + pairs / PAIRS_PER_S,
        live * 20.0,
        size.images * ACTIVE_FEATURES * 12.0 + 8.0 * live * size.width,
        f"pairs of features an image at {PAIRS_PER_S / 1e6:.0f} M/s, twice, and two products",
    )


def _picture_s(size: Size, config: Config) -> float:
    """Return how long one picture takes to draw."""
    small = DEMO_PICTURE_GFLOP * config.icons.steps * 2 * (config.icons.px / 64) ** 2
    return (config.expected.picture_gflop or small) / size.device_gflops


def _picture_bytes(config: Config) -> float:
    area = float((config.icons.px / 64) ** 2)
    return 3000.0 * math.pow(area, 0.8)


def _icons(size: Size, config: Config) -> StageEstimate:
    icons, gflop = config.icons, config.expected.picture_gflop
    live = size.features * ALIVE_SHARE
    sample = min(live, icons.sample_features) * (1 + len(icons.replicate_seeds))
    pictures = live + sample + 4 * min(live, icons.strip_features)
    each = (
        f"{gflop / 1000:.3g} TFLOP each" if gflop else "by a small decoder; a full one wants a GPU"
    )
    return StageEstimate(
        "icons",
        pictures * _picture_s(size, config),
        pictures * _picture_bytes(config),
        2e9 + _weight_bytes(config, "decoder") + _weight_bytes(config, "encoder"),
        f"{pictures:,.0f} pictures, {each}",
    )


def _where(size: Size, config: Config) -> StageEstimate:
    maps = config.where.features * config.where.images
    gflop = config.expected.encode_gflop
    rate = size.device_gflops / gflop if gflop else ENCODED_PER_S
    return StageEstimate(
        "where",
        maps * COVERED / rate,
        maps * 2000.0,
        2e9 + _weight_bytes(config, "encoder"),
        f"{maps:,} maps of {COVERED} pictures, {rate:,.3g} encoded/s",
    )


GROUPED_IMAGES = 250
"""Images grouped in a second on two cores, at some 60 features an image."""


def _concepts(size: Size, config: Config) -> StageEstimate:
    drawn = config.concepts.drawn_examples if config.icons.decoder else 0
    pictures = drawn * 26
    return StageEstimate(
        "concepts",
        size.images / GROUPED_IMAGES + pictures * _picture_s(size, config),
        size.images * 300 + pictures * _picture_bytes(config),
        2e9,
        f"{size.images:,} images grouped; about {pictures:,} pictures, as icons",
    )


def _names(size: Size, _config: Config) -> StageEstimate:
    live = size.features * ALIVE_SHARE
    return StageEstimate(
        "names",
        START_S + live / NAMED_PER_S + size.images / CAPTIONS_PER_S,
        live * 600.0,
        1e9 + 4.0 * min(size.images, HELD_ROWS) * size.width + 300.0 * size.images,
        f"{NAMED_PER_S:.0f} features/s, {CAPTIONS_PER_S:,.0f} captions/s",
    )


def _catalog(size: Size, _config: Config) -> StageEstimate:
    rows = size.features * (64 + 80 + 64 + 20) + size.images
    return StageEstimate(
        "catalog",
        rows / 1e6 + size.features / 1500 + CATALOG_S,
        rows * 20.0,
        2.3e9,
        "1 M rows/s, map of 1,500 features/s",
    )


def _site(size: Size, config: Config) -> StageEstimate:
    found = whole_site(size, config)
    pages = size.features * ALIVE_SHARE + config.catalog.decomposed_images
    joined = config.site.pictures == "sheets"
    pictures = size.features * ALIVE_SHARE * SMALL_PICTURES if joined else 0.0
    time_s = SITE_S + pages / PAGES_PER_S + pictures / CELLS_PER_S + found.files / 5000
    return StageEstimate("site", time_s, found.total_bytes, 1e9, f"{PAGES_PER_S:.0f} pages/s")


ESTIMATES: dict[str, Callable[[Size, Config], StageEstimate]] = {
    "embed": _embed,
    "convert": _convert,
    "train": _train,
    "scan": _scan,
    "neighbors": _neighbors,
    "families": _families,
    "compare": _compare,
    "names": _names,
    "icons": _icons,
    "where": _where,
    "concepts": _concepts,
    "catalog": _catalog,
    "site": _site,
}
