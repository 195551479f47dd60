"""What a build would take, told before anything is fetched or run: time, disk, memory, what is missing.

Estimates, not promises: each is a count times a rate, and the basis is printed beside it. The
rate of products is this machine's own, timed in a moment; those of cards are published ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.base.files import read_json
from atlas.inputs.picture_sets import count_pictures
from atlas.pipeline import stages_of
from atlas.prepare.machine import CARD_TFLOPS, REFERENCE_CARD, Machine, free_bytes, look_at_machine
from atlas.sae.fetch import hub_command
from atlas.settings.load import Config
from atlas.settings.outside import outside_files, sae_dir, sae_path
from atlas.settings.site import SiteSettings
from atlas.site.hosts import HOSTS, Tally, why_over
from atlas.site.links import FEATURES_A_GROUP, FEATURES_A_SHEET, ICON_COLUMNS

THUMBNAILS_PER_S = 250.0
ENCODED_PER_S = 30.0
"""Pictures that the demo's encoder takes in a second on two cores."""
COVERED = 52
"""Pictures encoded for a map of where a feature looks."""
THUMBNAIL_BYTES = 3_000
CLUSTER_ROUNDS = 30
"""Of the clustering, at most."""
ACTIVE_FEATURES = 60
"""Features assumed to fire on an image, as the seed's SAE has it."""
ACTIVATION_BYTES = 9.4
"""An activation on disk, in both orientations."""
PAGE_BYTES = 11_600
"""A feature's page."""
GROUPED_PAGE_BYTES = 9_500
"""A feature's part of its group's page."""
RECORD_BYTES = 1_200
"""A feature's part of a JSON file."""
PARQUET_BYTES = 1_500
"""Of all tables, a feature."""
IMAGE_ROW_BYTES = 140
"""Of all tables, an image: its row and its groupings."""
LISTED_BYTES = 700
"""A feature's part of walls, word lists, search lists and the hashes of its pictures."""
FRONT_BYTES, FRONT_FILES = 3e6, 700
"""Style, fonts, scripts, charts and lists of the vocabulary; grows little with the features."""
PICTURES_NAMED = 60
"""Addresses of pictures on a feature's page, and in the lists that it is in."""
NEAR_ADDRESS = 6
"""Letters by which a picture's address is shorter where the picture lies with the pages."""
SMALL_PICTURES = 23
"""On a feature's page."""
CELL_BYTES = 0.18
"""A picture in a sheet at quality 60, a pixel."""
PAGES_PER_S = 800.0
CELLS_PER_S = 1500.0
"""Pictures decoded, scaled and encoded into sheets."""
ALIVE_SHARE = 0.75
DEMO_PICTURE_GFLOP = 1.0
"""What one forward of the demo's decoder takes at 64 px; each step takes two."""
NAMED_PER_S = 60.0
"""Features named and graded in a second; a guess from the demo's 1,200."""
ON_CARD = ("embed", "train", "scan", "icons", "where", "concepts")
"""Stages whose products run on runtime.device."""


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """What one stage would take."""

    stage: str
    time_s: float
    disk_bytes: float
    memory_bytes: float
    basis: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """One thing that is not here yet, and how it gets here."""

    what: str
    size_bytes: float
    """0 where it isn't known."""
    license: str
    command: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build would take."""

    stages: tuple[StageEstimate, ...]
    fetches: tuple[Fetch, ...]
    missing: tuple[str, ...]
    """What stands in the way, each with what to do."""
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

    def fetch_rows(self) -> list[tuple[str, ...]]:
        """Return the cells of a table of what is to be fetched, with a row for the whole."""
        rows = [
            (f.what, _size(f.size_bytes) if f.size_bytes else "?", f.license, f.command)
            for f in self.fetches
        ]
        return [*rows, ("all", _size(sum(f.size_bytes for f in self.fetches)), "", "")]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values; seconds and bytes."""
        return asdict(self)


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


def make_plan(config: Config, machine: Machine | None = None) -> Plan:
    """Estimate a build without reading more than the headers of its inputs.

    Args:
        config: The atlas.
        machine: What it would be built on; this machine by default.
    """
    machine = machine or look_at_machine()
    size = measure(config, machine)
    stages = estimate(size, config)
    fetches = _fetches(config)
    missing = _missing(config, fetches) + _too_small(config, machine, stages, fetches)
    return Plan(stages, fetches, missing, _notes(config, machine, size))


def estimate(size: Size, config: Config) -> tuple[StageEstimate, ...]:
    """Return what each stage of a build would take."""
    return tuple(ESTIMATES[stage.name](size, config) for stage in stages_of(config))


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


def _fetches(config: Config) -> tuple[Fetch, ...]:
    """Return what is missing and known to be fetched somewhere, in the configuration's order."""
    gone = {name for name, (_, files) in outside_files(config).items() if not files}
    listed = [download for download in config.downloads if download.what in gone]
    fetches = [Fetch(d.what, d.size_gb * 1e9, d.license, d.shell_command()) for d in listed]
    if config.sae.repo is not None and "checkpoint" in gone - {d.what for d in listed}:
        fetches.append(Fetch("checkpoint", 0.0, "", hub_command(config.sae)))
    return tuple(fetches)


def _missing(config: Config, fetches: tuple[Fetch, ...]) -> tuple[str, ...]:
    commands = {fetch.what: f"fetch it: {fetch.command}" for fetch in fetches}
    otherwise = "put it there or change the configuration"
    return tuple(
        f"no {name} at {path}; {commands.get(name, otherwise)}"
        for name, (path, files) in outside_files(config).items()
        if not files
    )


def _too_small(
    config: Config,
    machine: Machine,
    stages: tuple[StageEstimate, ...],
    fetches: tuple[Fetch, ...],
) -> tuple[str, ...]:
    """Return what this machine lacks, each with what to do."""
    said, wanted_gb = [], config.expected.gpu_gb
    least_gb = min((card.memory_bytes for card in machine.cards), default=0) / 1e9
    if config.runtime.device.startswith("cuda") and not machine.cards:
        said.append(
            f"no CUDA card, and runtime.device is {config.runtime.device}; use a machine with "
            f"one of {wanted_gb:.0f} GB, or --set runtime.device=cpu for the times of the table"
        )
    elif config.runtime.device.startswith("cuda") and least_gb < wanted_gb:
        said.append(
            f"a card of {least_gb:.0f} GB, about {wanted_gb:.0f} GB are wanted; use a larger one"
        )
    needed = sum(s.disk_bytes for s in stages) + sum(f.size_bytes for f in fetches)
    free = free_bytes(config.out_dir)
    if needed > free:
        said.append(
            f"{_size(free)} free at {config.out_dir}, about {_size(needed)} are wanted; "
            "make room or change out_dir"
        )
    return tuple(said)


def _notes(config: Config, machine: Machine, size: Size) -> tuple[str, ...]:
    notes = [
        f"{size.images:,} images of width {size.width}, {size.features:,} features.",
        f"This machine: {machine.describe()}.",
        *hosts_of(size, config),
    ]
    if config.runtime.device.startswith("cuda") and not machine.cards:
        rate = 1000.0 * CARD_TFLOPS[REFERENCE_CARD]
        carded = Size(size.images, size.width, size.features, size.gflops, rate)
        told = ", ".join(
            f"{s.stage} {_time(s.time_s)}" for s in estimate(carded, config) if s.stage in ON_CARD
        )
        notes.append(f"The times above are without a card. With one {REFERENCE_CARD}: {told}.")
    if config.expected.gpu_gb:
        notes.append(f"GPU memory: about {config.expected.gpu_gb:.0f} GB.")
    notes.append("Money: none beyond this machine's; nothing was fetched for this plan.")
    return tuple(notes)


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
    gflop = config.expected.encode_gflop
    rate = size.device_gflops / gflop if gflop else ENCODED_PER_S
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
        4.0 * config.runtime.batch_images * size.features + 8.0 * size.features * size.width + 0.5e9
    )
    return StageEstimate(
        "scan",
        flops / size.device_gflops / 1e9,
        disk,
        memory,
        "one product, images x features x width",
    )


def _neighbors(size: Size, _config: Config) -> StageEstimate:
    flops = 2.0 * size.features**2 * size.width
    disk = size.features * 64 * 12.0 + size.images * 4.0 * size.width
    return StageEstimate(
        "neighbors",
        flops / size.gflops / 1e9 + size.images / 2000,
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
        (clustering + opposed) / size.gflops / 1e9 + pairs / 1e8,
        live * (2.0 * size.width + 300),
        size.images * ACTIVE_FEATURES * 6.0 + 16.0 * live * size.width,
        "pairs of features an image at 100 M/s, one product and the clustering",
    )


def _compare(size: Size, _config: Config) -> StageEstimate:
    live = size.features * ALIVE_SHARE
    products = 4.0 * live**2 * size.width
    pairs = 2.0 * size.images * ACTIVE_FEATURES**2
    return StageEstimate(
        "compare",
        products / size.gflops / 1e9 + pairs / 1e8,
        live * 20.0,
        size.images * ACTIVE_FEATURES * 12.0 + 8.0 * live * size.width,
        "pairs of features an image at 100 M/s, twice, and two products",
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


GROUPED_IMAGES = 500
"""Images grouped in a second on one core, at some 50 features an image."""


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
        live / NAMED_PER_S,
        live * 600.0,
        1e9 + 2.0 * size.images * size.width,
        f"{NAMED_PER_S:.0f} features/s",
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


def site_tally(
    size: Size,
    site: SiteSettings,
    opened: int,
    alive_share: float = ALIVE_SHARE,
    source_px: tuple[int, int] = (0, 0),
) -> Tally:
    """Predict the bytes and files that a site's host gets, before anything is rendered.

    Args:
        size: Of the atlas.
        site: Layout, kind of pictures, and whether those are published elsewhere.
        opened: Images that get a page.
        alive_share: Of the features, 0 to 1.
        source_px: Side of the icons, and of the thumbnails, that sheets are made of.
    """
    live = int(size.features * alive_share)
    grouped = site.layout == "groups"
    pages = -(-size.features // FEATURES_A_GROUP) if grouped else live
    shards = -(-size.features // 64)
    # Features share pictures, as if each drew its own by lot.
    wanted = round(size.images * -math.expm1(-live * SMALL_PICTURES / max(size.images, 1)))
    single = opened if site.pictures == "sheets" else wanted + live
    a_sheet = FEATURES_A_GROUP if grouped else FEATURES_A_SHEET
    sheets, cells = 0, 0.0
    if site.pictures == "sheets":
        icons, thumbnails = site.icon_sides(source_px[0]), site.thumbnail_sides(source_px[1])
        sheets = len(thumbnails) * -(-size.features // a_sheet)
        sheets += len(icons) * -(-live // ICON_COLUMNS**2)
        pixels = sum(px**2 for px in icons) + SMALL_PICTURES * sum(px**2 for px in thumbnails)
        cells = live * CELL_BYTES * pixels
    page_bytes = GROUPED_PAGE_BYTES if grouped else PAGE_BYTES
    if site.media_base_url:
        single, sheets, cells = 0, 0, 0.0
        page_bytes += PICTURES_NAMED * (len(site.media_base_url) - NEAR_ADDRESS)
    total = (
        live * (page_bytes + RECORD_BYTES + PARQUET_BYTES + LISTED_BYTES)
        + size.images * IMAGE_ROW_BYTES
        + single * THUMBNAIL_BYTES
        + opened * PAGE_BYTES
        + cells
        + FRONT_BYTES
    )
    files = pages + shards + single + opened + sheets + FRONT_FILES
    fullest = pages if grouped else 1000
    largest = max(live * PARQUET_BYTES / 3, size.images * IMAGE_ROW_BYTES / 2)
    return Tally(int(total), files, fullest, int(largest), largest="parquet/images.parquet")


def hosts_of(size: Size, config: Config) -> tuple[str, ...]:
    """Say of every host whether the site is likely to fit it."""
    found = _tally(size, config, config.site)
    whole = _whole_site(size, config)
    lines = [
        f"Site in layout {config.site.layout}, pictures in {config.site.pictures}: "
        f"about {_size(found.total_bytes)} in {found.files:,} files."
    ]
    if config.site.media_base_url:
        lines.append(
            f"For {config.site.media_base_url}: pictures of about "
            f"{_size(whole.total_bytes - found.total_bytes)} in {whole.files - found.files:,} files."
        )
    for host in HOSTS:
        over = why_over(found, host)
        lines.append(f"{host}: {'too much: ' + '; '.join(over) if over else 'fits'}.")
    return tuple(lines)


def _whole_site(size: Size, config: Config) -> Tally:
    """Predict what a site takes on the disk, its pictures with it."""
    together = config.site.model_copy(update={"media_base_url": ""})
    return _tally(size, config, together)


def _tally(size: Size, config: Config, site: SiteSettings) -> Tally:
    thumbnails = config.embed.thumbnail_px
    drawn = config.icons.px if config.icons.decoder else thumbnails
    opened = config.catalog.decomposed_images
    return site_tally(size, site, opened, source_px=(drawn, thumbnails))


def _site(size: Size, config: Config) -> StageEstimate:
    found = _whole_site(size, config)
    pages = size.features * ALIVE_SHARE + config.catalog.decomposed_images
    joined = config.site.pictures == "sheets"
    pictures = size.features * ALIVE_SHARE * SMALL_PICTURES if joined else 0.0
    time_s = pages / PAGES_PER_S + pictures / CELLS_PER_S + found.files / 5000
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


def _time(time_s: float) -> str:
    if time_s < 90:
        return f"{time_s:.0f} s"
    if time_s < 5400:
        return f"{time_s / 60:.0f} min"
    if time_s < 200_000:
        return f"{time_s / 3600:.1f} h"
    return f"{time_s / 86400:,.0f} days"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
