"""The concepts stage: every image's features in groups, coarse and fine, and what recurs.

Every image is grouped by the seed's iterated grouping at two thresholds tau. Concepts of
different images that point the same way are one recurring concept. A hundred examples, chosen
so that they cover the features, keep their concepts whole; where a decoder is named, the first
of them are drawn with knobs. The unit of resuming is one part of the scan, or one drawn image.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.base.files import read_json, read_parquet, write_json, write_parquet
from atlas.concepts import knobs
from atlas.concepts.grouping import Group, Grouping, adjusted_rand, groups_of, keep, sweep
from atlas.concepts.recurring import (
    concept_centers,
    cover,
    find_recurring,
    match,
    nearest_elsewhere,
)
from atlas.icons.drawing import open_studio
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations, ImageBlock, map_tensors, write_tensors
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import SAE, limit_threads, unit_directions
from atlas.settings.icons import ConceptsSettings

if TYPE_CHECKING:
    import pyarrow as pa

TAUS = ("coarse", "fine")
CANDIDATES = 4000
"""Images, drawn by lot, of which the examples are chosen."""
NOISE = 0.1
"""Standard deviation of the logarithm of what activations are multiplied by to test stability."""
NOISY_RUNS = 5
FIRST_IMAGES = 48
"""Images kept of a recurring concept, the heaviest first."""
FIRST_FEATURES = 8
NEAREST = 4
MOST_DRAWN = 5
"""Coarse concepts of an image that is drawn with knobs: as many as a page shows at a glance."""
COMMAND = "atlas build CONFIG concepts"


@dataclass(frozen=True, slots=True)
class Taus:
    """The least mass of a concept, in this SAE's activations."""

    scale: float
    """What the settings' values are multiplied by."""
    coarse: float
    fine: float

    def of(self, name: str) -> float:
        """Return the one of a name in TAUS."""
        return self.coarse if name == "coarse" else self.fine


@dataclass(frozen=True, slots=True)
class Lot:
    """The fine concepts of some images, by image and then by mass."""

    image: NDArray[np.int64]
    """(concept,)."""
    concept: NDArray[np.int64]
    """(concept,) number in its image."""
    mass: NDArray[np.float64]
    """(concept,)."""
    center: NDArray[np.float32]
    """(concept, d) unit."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An example with its groups."""

    image: int
    by_hand: bool
    features: NDArray[np.int64]
    activations: NDArray[np.float32]
    groupings: dict[str, Grouping]
    """By name of tau."""
    noise_agreement: dict[str, float]
    """Mean adjusted Rand index with groupings of noisy activations."""
    stability: dict[str, list[float]]
    """Of each concept the mean Jaccard index with the most similar noisy one."""

    def groups(self, tau: str) -> list[Group]:
        """Return its concepts at one tau; none where its mass is below."""
        grouping = self.groupings[tau]
        return groups_of(self.features, self.activations, grouping.labels)[: grouping.k]


def run(job: Job) -> None:
    """Group all images, find what recurs, open the examples and write the tables.

    Raises:
        ConfigError: An image chosen by hand is not there, or is sensitive.
        InputError: A picture comes out as one flat color.
    """
    limit_threads(job.runtime.threads)
    settings: ConceptsSettings = job.settings.concepts
    sae, reader = load_sae(job.inputs["sae"]), ImageActivations(job.inputs["scan"])
    taus = scale_taus(settings, read_json(job.inputs["scan"] / "scan.json")["mass_median"])
    paths = group_all(job, sae, reader, taus)
    directions = unit_directions(sae)
    drawn_by_lot = np.sort(
        np.random.default_rng(settings.seed).permutation(len(reader))[: settings.matched_images]
    )
    parts = list(zip(reader.blocks(), map(map_tensors, paths), strict=True))
    sample = _joined(
        [lot_of(block, tensors, directions, drawn_by_lot) for block, tensors in parts], sae.width
    )
    recurring = find_recurring(
        sample.center, sample.image, settings.match_cosine, settings.recurring
    )
    write_recurring(job, parts, directions, recurring)
    chosen = choose_examples(job, reader)
    opened = [open_example(sae, reader, image, hand, taus, settings) for image, hand in chosen]
    figures = [
        *grouping_figures([tensors for _, tensors in parts], opened),
        *recurring_figures(parts, directions, recurring, drawn_by_lot, settings),
    ]
    write_examples(job, opened, sample, recurring, directions)
    figures += draw(job, opened)
    write_json(
        job.out_dir / "concepts.json",
        {
            "figures": figures,
            "tau_scale": taus.scale,
            "tau_coarse": taus.coarse,
            "tau_fine": taus.fine,
            "restarts": settings.restarts,
            "seed": settings.seed,
            "places": _places(job),
        },
    )


def _places(job: Job) -> dict[str, str]:
    """Return where SAE and encoder lie, from this stage's folder: look-ups open pictures with them."""
    return {
        name: Path(os.path.relpath(job.inputs[name], job.published_home)).as_posix()
        for name in ("sae", "encoder")
        if name in job.inputs
    }


def scale_taus(settings: ConceptsSettings, mass_median: float) -> Taus:
    """Return the thresholds in this SAE's activations.

    Args:
        settings: With the seed's thresholds and the image mass that they are meant for.
        mass_median: Median mass of the scanned images.
    """
    scale = mass_median / settings.reference_mass if settings.reference_mass else 1.0
    return Taus(scale, settings.tau_coarse * scale, settings.tau_fine * scale)


# --- every image -----------------------------------------------------------------------------


def group_all(job: Job, sae: SAE, reader: ImageActivations, taus: Taus) -> list[Path]:
    """Return a file for each part of the scan with the groups of its images.

    Each holds for either tau: labels (firing,), k, lowest, highest (image,) uint16, agreement
    (image,) float32.
    """
    settings: ConceptsSettings = job.settings.concepts
    key = {
        "inputs": {name: job.digests[name] for name in ("sae", "scan")},
        "settings": [taus.coarse, taus.fine, settings.restarts, settings.seed],
    }
    job.progress.start("grouping", total=len(reader), unit="images")
    paths = []
    for block in reader.blocks():

        def write(path: Path, block: ImageBlock = block) -> None:
            write_tensors(path, _group_block(job, sae, block, taus))

        name = f"groups-{block.first_image:09d}"
        paths.append(job.part(name, ".safetensors", key, write))
    job.progress.stop()
    return paths


def _group_block(job: Job, sae: SAE, block: ImageBlock, taus: Taus) -> dict[str, NDArray[Any]]:
    def group(image: int) -> dict[str, Grouping]:
        mine = slice(block.starts[image], block.starts[image + 1])
        found = group_image(
            sae, block.features[mine], block.activations[mine], taus, job.settings.concepts
        )
        job.progress.advance()
        return found

    workers = job.runtime.workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:  # the compiled part lets other threads run
        found = list(pool.map(group, range(len(block.starts) - 1)))
    tensors: dict[str, NDArray[Any]] = {}
    for tau in TAUS:
        mine = [groupings[tau] for groupings in found]
        none = [np.empty(0, np.int64)]
        tensors[f"{tau}_labels"] = np.concatenate([g.labels for g in mine] or none).astype("u2")
        for name in ("k", "lowest", "highest"):
            tensors[f"{tau}_{name}"] = np.array([getattr(g, name) for g in mine], np.uint16)
        tensors[f"{tau}_agreement"] = np.array([g.agreement for g in mine], np.float32)
    return tensors


def group_image(
    sae: SAE,
    features: NDArray[np.int64],
    activations: NDArray[np.float32],
    taus: Taus,
    settings: ConceptsSettings,
) -> dict[str, Grouping]:
    """Return one image's groupings by name of tau; the same runs serve both."""
    mass = float(activations.sum(dtype=np.float64))
    runs = sweep(
        sae.W_dec[features],
        activations,
        int(mass / min(taus.coarse, taus.fine)),
        restarts=settings.restarts,
        seed=settings.seed,
    )
    return {tau: keep(runs, activations, taus.of(tau)) for tau in TAUS}


def lot_of(
    block: ImageBlock,
    tensors: dict[str, NDArray[Any]],
    directions: NDArray[np.float32],
    images: NDArray[np.int64],
    shuffle: np.random.Generator | None = None,
) -> Lot:
    """Return the fine concepts of those of a block's images that are among some.

    Args:
        block: What fires.
        tensors: How it is grouped, as group_all writes it.
        directions: (feature, d) unit decoder directions.
        images: Numbers of the images wanted.
        shuffle: With it the features of each image are put into its groups by lot.
    """
    wanted = np.isin(np.arange(len(block.starts) - 1) + block.first_image, images)
    k = np.where(wanted, tensors["fine_k"], 0).astype(np.int64)
    l0 = np.diff(block.starts)
    before = np.concatenate([[0], np.cumsum(k)])
    counts = np.repeat(k > 0, l0)
    concepts = tensors["fine_labels"].astype(np.int64) + np.repeat(before[:-1], l0)
    if shuffle is not None:
        owner = np.repeat(np.arange(len(k)), l0)
        concepts = concepts[np.lexsort((shuffle.random(len(owner)), owner))]
    concepts, activations = concepts[counts], block.activations[counts]
    n = int(before[-1])
    return Lot(
        image=np.repeat(np.arange(len(k)) + block.first_image, k),
        concept=np.arange(n) - np.repeat(before[:-1], k),
        mass=np.bincount(concepts, activations.astype(np.float64), n).astype(np.float64),
        center=concept_centers(directions, block.features[counts], activations, concepts, n),
    )


def _joined(lots: list[Lot], width: int) -> Lot:
    none = np.empty(0, np.int64)
    empty = Lot(none, none, none.astype(float), np.empty((0, width), np.float32))
    columns = ("image", "concept", "mass", "center")
    return Lot(*(np.concatenate([getattr(lot, c) for lot in [empty, *lots]]) for c in columns))


# --- what recurs -----------------------------------------------------------------------------


Parts = list[tuple[ImageBlock, dict[str, NDArray[Any]]]]


def write_recurring(
    job: Job, parts: Parts, directions: NDArray[np.float32], recurring: NDArray[np.float32]
) -> None:
    """Match every image's fine concepts and write groupings and the tables of what recurs."""
    settings: ConceptsSettings = job.settings.concepts
    n = len(recurring)
    groupings, images = [], []
    n_images, mass, total = np.zeros(n, np.int64), np.zeros(n), 0.0
    by_feature = np.zeros((n, len(directions)), np.float32)
    for block, tensors in parts:
        here = np.arange(len(block.starts) - 1) + block.first_image
        lot = lot_of(block, tensors, directions, here)
        found, cosine = match(lot.center, recurring, settings.match_cosine)
        groupings.append(_grouping_table(block, tensors, found))
        near = found >= 0
        pairs = np.unique(np.stack([found[near], lot.image[near]]), axis=1)
        n_images += np.bincount(pairs[0], minlength=n)
        mass += np.bincount(found[near], lot.mass[near], minlength=n)
        total += float(block.activations.sum(dtype=np.float64))
        _add_features(by_feature, block, tensors, found)
        images.append(_first_images(lot, found, cosine))
    write_parquet(job.out_dir / "groupings.parquet", _concat(groupings))
    write_parquet(
        job.out_dir / "recurring_concepts.parquet",
        _table(
            recurring=np.arange(n, dtype=np.int32),
            n_images=n_images,
            mass=mass,
            mass_share=mass / max(total, 1e-300),
        ),
    )
    write_parquet(job.out_dir / "recurring_images.parquet", _keep_first(_concat(images), n))
    write_parquet(job.out_dir / "recurring_features.parquet", _strongest_features(by_feature))
    write_parquet(job.out_dir / "recurring_neighbors.parquet", _recurring_neighbors(recurring))


def _table(**columns: Any) -> pa.Table:
    import pyarrow as pa

    return pa.table(columns)


def _concat(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables)


def _grouping_table(
    block: ImageBlock, tensors: dict[str, NDArray[Any]], found: NDArray[np.int64]
) -> pa.Table:
    """Return two rows an image: its groups' masses, and which fine ones recur."""
    import pyarrow as pa

    n = len(block.starts) - 1
    owner = np.repeat(np.arange(n), np.diff(block.starts))
    recurs = np.split(found, np.cumsum(tensors["fine_k"].astype(np.int64))[:-1]) if n else []
    tables = []
    for tau in TAUS:
        k = tensors[f"{tau}_k"].astype(np.int64)
        most = max(int(k.max(initial=0)), 1)
        cell = owner * most + tensors[f"{tau}_labels"]
        masses = np.bincount(cell, block.activations.astype(np.float64), minlength=n * most)
        rows = masses.astype(np.float32).reshape(n, most)
        fine = tau == "fine"
        tables.append(
            pa.table(
                {
                    "image": np.arange(n) + block.first_image,
                    "tau": pa.array([tau] * n, pa.string()),
                    "k": k.astype(np.int32),
                    "lowest": tensors[f"{tau}_lowest"].astype(np.int32),
                    "highest": tensors[f"{tau}_highest"].astype(np.int32),
                    "agreement": np.asarray(tensors[f"{tau}_agreement"]),
                    "masses": pa.array(
                        [row[:count] for row, count in zip(rows, k, strict=True)],
                        pa.list_(pa.float32()),
                    ),
                    "recurring": pa.array(
                        [row.tolist() for row in recurs] if fine else [None] * n,
                        pa.list_(pa.int32()),
                    ),
                }
            )
        )
    return pa.concat_tables(tables)


def _add_features(
    by_feature: NDArray[np.float32],
    block: ImageBlock,
    tensors: dict[str, NDArray[Any]],
    found: NDArray[np.int64],
) -> None:
    """Add to by_feature (recurring, feature) the mass that a block's images give it."""
    k = tensors["fine_k"].astype(np.int64)
    l0 = np.diff(block.starts)
    before = np.concatenate([[0], np.cumsum(k)])[:-1]
    inside = np.repeat(k > 0, l0)
    concepts = (tensors["fine_labels"].astype(np.int64) + np.repeat(before, l0))[inside]
    where = found[concepts]
    near = where >= 0
    np.add.at(
        by_feature, (where[near], block.features[inside][near]), block.activations[inside][near]
    )


def _first_images(lot: Lot, found: NDArray[np.int64], cosine: NDArray[np.float32]) -> pa.Table:
    near = np.flatnonzero(found >= 0)
    table = _table(
        recurring=found[near].astype(np.int32),
        image=lot.image[near],
        concept=lot.concept[near].astype(np.int32),
        mass=lot.mass[near],
        cosine=cosine[near],
    )
    return _keep_first(table, int(found.max(initial=-1)) + 1)


def _keep_first(table: pa.Table, n: int) -> pa.Table:
    """Return each recurring concept's first images: the heaviest, of each image one concept."""
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "rank"}
    kept = []
    order = np.lexsort(
        (columns["concept"], columns["image"], -columns["mass"], columns["recurring"])
    )
    bounds = np.searchsorted(columns["recurring"][order], np.arange(n + 1))
    for k in range(n):
        mine = order[bounds[k] : bounds[k + 1]]
        _, first = np.unique(columns["image"][mine], return_index=True)
        kept.append(mine[np.sort(first)][:FIRST_IMAGES])
    rows = np.concatenate([np.empty(0, np.int64), *kept])
    ranks = np.concatenate([np.empty(0, np.int64), *(np.arange(len(mine)) for mine in kept)])
    return _table(**{n: c[rows] for n, c in columns.items()}, rank=ranks.astype(np.int32))


def _strongest_features(by_feature: NDArray[np.float32]) -> pa.Table:
    n, most = by_feature.shape[0], min(FIRST_FEATURES, by_feature.shape[1])
    order = np.argsort(-by_feature, axis=1, kind="stable")[:, :most]
    whole = np.maximum(by_feature.sum(axis=1, dtype=np.float64), 1e-300)
    mass = np.take_along_axis(by_feature, order, axis=1)
    table = {
        "recurring": np.repeat(np.arange(n, dtype=np.int32), most),
        "rank": np.tile(np.arange(most, dtype=np.int32), n),
        "feature": order.ravel().astype(np.int32),
        "mass_share": (mass / whole[:, None]).ravel(),
    }
    held = mass.ravel() > 0
    return _table(**{name: column[held] for name, column in table.items()})


def _recurring_neighbors(recurring: NDArray[np.float32]) -> pa.Table:
    numbers = np.arange(len(recurring))
    near, cosine = nearest_elsewhere(recurring, numbers, recurring, numbers, NEAREST)
    rank = np.broadcast_to(np.arange(near.shape[1]), near.shape)
    there = near >= 0
    return _table(
        recurring=np.broadcast_to(numbers[:, None], near.shape)[there].astype(np.int32),
        rank=rank[there].astype(np.int32),
        other=near[there].astype(np.int32),
        cosine=cosine[there],
    )


# --- examples --------------------------------------------------------------------------------


def choose_examples(job: Job, reader: ImageActivations) -> list[tuple[int, bool]]:
    """Return (image, chosen by hand) of each example: those named, then by coverage.

    Of images drawn by lot, greedily those that together show most features most strongly;
    never a sensitive one.

    Raises:
        ConfigError: An image chosen by hand is not there, or is sensitive.
    """
    settings: ConceptsSettings = job.settings.concepts
    table = read_parquet(job.inputs["embed"] / "images.parquet", ["sensitive"])
    sensitive = table["sensitive"].to_numpy()
    for image in settings.chosen:
        if not 0 <= image < len(sensitive):
            raise ConfigError(
                f"concepts.chosen names image {image}; there are images 0 to {len(sensitive) - 1}"
            )
        if sensitive[image]:
            raise ConfigError(f"concepts.chosen names image {image}, which is sensitive; drop it")
    l0 = read_parquet(job.inputs["scan"] / "images.parquet", ["l0"])["l0"].to_numpy()
    fit = ~sensitive & (l0 > 0)
    fit[list(settings.chosen)] = False
    lot = np.random.default_rng(settings.seed).permutation(np.flatnonzero(fit))[:CANDIDATES]
    candidates = np.sort(lot)
    held = [reader[image] for image in candidates.tolist()]
    largest = read_parquet(job.inputs["scan"] / "features.parquet", ["max"])["max"].to_numpy()
    wanted = max(settings.examples - len(settings.chosen), 0)
    covering: list[int] = []
    if held and wanted:
        features = np.concatenate([found for found, _ in held])
        activations = np.concatenate([strength for _, strength in held])
        starts = np.concatenate([[0], np.cumsum([len(found) for found, _ in held])])
        shares = activations / largest[features]
        covering = cover(starts, features, shares.astype(np.float64), len(largest), wanted)
    by_rule = [(int(candidates[place]), False) for place in covering]
    return [*((image, True) for image in settings.chosen), *by_rule]


def open_example(
    sae: SAE,
    reader: ImageActivations,
    image: int,
    by_hand: bool,
    taus: Taus,
    settings: ConceptsSettings,
) -> Opened:
    """Return an example with its groups and how stable they are under noise."""
    features, activations = reader[image]
    groupings = group_image(sae, features, activations, taus, settings)
    random = np.random.default_rng([settings.seed, image])
    noisy = [
        group_image(
            sae,
            features,
            (activations * np.exp(random.normal(0, NOISE, len(features)))).astype(np.float32),
            taus,
            settings,
        )
        for _ in range(NOISY_RUNS)
    ]
    agreement, stability = {}, {}
    for tau, grouping in groupings.items():
        others = [run[tau].labels for run in noisy]
        agreement[tau] = float(np.mean([adjusted_rand(grouping.labels, o) for o in others]))
        stability[tau] = _stability(grouping, others)
    return Opened(image, by_hand, features, activations, groupings, agreement, stability)


def _stability(grouping: Grouping, others: list[NDArray[np.int64]]) -> list[float]:
    """Return each concept's mean Jaccard index with the most similar concept of each other run."""
    best = []
    for other in others:
        groups = int(other.max(initial=0)) + 1
        cells = np.bincount(grouping.labels * groups + other, minlength=grouping.k * groups)
        shared = cells.reshape(-1, groups)
        either = shared.sum(axis=1)[:, None] + shared.sum(axis=0) - shared
        best.append((shared / np.maximum(either, 1)).max(axis=1))
    found: list[float] = np.mean(best, axis=0)[: grouping.k].tolist()
    return found


def write_examples(
    job: Job,
    opened: list[Opened],
    sample: Lot,
    recurring: NDArray[np.float32],
    directions: NDArray[np.float32],
) -> None:
    """Write the examples' features and nearest concepts elsewhere."""
    rows = [
        {
            "image": example.image,
            "tau": tau,
            "concept": number,
            "feature": int(feature),
            "activation": float(activation),
        }
        for example in opened
        for tau in TAUS
        for number, group in enumerate(example.groups(tau))
        for feature, activation in zip(group.features, group.activations, strict=True)
    ]
    write_parquet(job.out_dir / "concept_features.parquet", _from_rows(rows, "concept_features"))
    keys = [(e.image, tau, c) for e in opened for tau in TAUS for c in range(e.groupings[tau].k)]
    centers = np.concatenate(
        [np.empty((0, directions.shape[1]), np.float32)]
        + [
            concept_centers(
                directions,
                np.concatenate([group.features for group in groups]),
                np.concatenate([group.activations for group in groups]),
                np.repeat(np.arange(len(groups)), [len(group.features) for group in groups]),
                len(groups),
            )
            for example in opened
            for tau in TAUS
            if (groups := example.groups(tau))
        ]
    )
    images = np.array([image for image, _, _ in keys], np.int64)
    near, cosine = nearest_elsewhere(centers, images, sample.center, sample.image, NEAREST)
    elsewhere = [
        {
            "image": image,
            "tau": tau,
            "concept": concept,
            "rank": rank,
            "other_image": int(sample.image[at]),
            "other_concept": int(sample.concept[at]),
            "cosine": float(cosine[row, rank]),
        }
        for row, (image, tau, concept) in enumerate(keys)
        for rank, at in enumerate(near[row])
        if at >= 0
    ]
    write_parquet(
        job.out_dir / "concept_neighbors.parquet", _from_rows(elsewhere, "concept_neighbors")
    )
    found, _ = match(centers, recurring, job.settings.concepts.match_cosine)
    matched = {key: int(k) for key, k in zip(keys, found, strict=True) if k >= 0}
    concepts = [
        {
            "image": example.image,
            "tau": tau,
            "concept": number,
            "mass": group.mass,
            "mass_share": group.mass / float(example.activations.sum(dtype=np.float64)),
            "stability": example.stability[tau][number],
            "recurring": matched.get((example.image, tau, number)),
        }
        for example in opened
        for tau in TAUS
        for number, group in enumerate(example.groups(tau))
    ]
    write_parquet(job.out_dir / "concepts.parquet", _from_rows(concepts, "concepts"))


def _schema(name: str) -> pa.Schema:
    """Return the columns of a table that is written row by row."""
    import pyarrow as pa

    key = {"image": pa.int64(), "tau": pa.string(), "concept": pa.int32()}
    rest = {
        "concept_features": {"feature": pa.int32(), "activation": pa.float32()},
        "concept_neighbors": {
            "rank": pa.int32(),
            "other_image": pa.int64(),
            "other_concept": pa.int32(),
            "cosine": pa.float32(),
        },
        "concepts": {
            "mass": pa.float64(),
            "mass_share": pa.float64(),
            "stability": pa.float32(),
            "recurring": pa.int32(),
        },
    }
    return pa.schema({**key, **rest[name]})


def _from_rows(rows: list[dict[str, Any]], name: str) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, _schema(name))


def draw(job: Job, opened: list[Opened]) -> list[dict[str, Any]]:
    """Draw the first examples of two to MOST_DRAWN coarse concepts, where a decoder is named.

    Returns:
        What was measured of them, for the report.
    """
    drawn = [example for example in opened if 2 <= example.groupings["coarse"].k <= MOST_DRAWN]
    drawn = drawn[: job.settings.concepts.drawn_examples] if "decoder" in job.inputs else []
    _write_example_list(job, opened, {example.image for example in drawn})
    if not drawn:
        return []
    studio = open_studio(job.settings.icons, job.inputs, job.runtime.device)
    by_image = sorted(drawn, key=lambda example: example.image)
    vectors = read_embeddings(job.inputs["embed"]).take([example.image for example in by_image])
    examples = [
        knobs.Example(example.image, row, example.groups("coarse"))
        for example, row in zip(by_image, vectors, strict=True)
    ]
    pictures = knobs.draw_examples(job, studio, examples)
    write_parquet(job.out_dir / "concept_icons.parquet", knobs.icon_table(examples, pictures))
    write_parquet(job.out_dir / "knobs.parquet", knobs.knob_table(examples, pictures))
    write_parquet(job.out_dir / "transfers.parquet", knobs.transfer_table(examples, pictures))
    return knobs.figures(examples, pictures)


def _write_example_list(job: Job, opened: list[Opened], drawn: set[int]) -> None:
    columns = {
        "image": np.array([example.image for example in opened], np.int64),
        "rank": np.arange(len(opened), dtype=np.int32),
        "by_hand": np.array([example.by_hand for example in opened], bool),
        "drawn": np.array([example.image in drawn for example in opened], bool),
        "noise_agreement_coarse": np.array([e.noise_agreement["coarse"] for e in opened]),
        "noise_agreement_fine": np.array([e.noise_agreement["fine"] for e in opened]),
    }
    write_parquet(job.out_dir / "examples.parquet", _table(**columns))


# --- figures ---------------------------------------------------------------------------------


def grouping_figures(
    parts: list[dict[str, NDArray[Any]]], opened: list[Opened]
) -> list[dict[str, Any]]:
    """Return how many concepts images have, and how far the groupings can be relied on."""
    found = []
    random = np.random.default_rng(0)
    for tau in TAUS:
        k, lowest, highest, agreement = (
            np.concatenate([tensors[f"{tau}_{name}"] for tensors in parts]).astype(float)
            for name in ("k", "lowest", "highest", "agreement")
        )
        n, labels = len(k), [example.groupings[tau].labels for example in opened]
        shuffled = [adjusted_rand(one, random.permutation(one)) for one in labels]
        chance = float(np.mean(shuffled)) if shuffled else None
        by_lot = "the same features put into groups of the same sizes by lot"
        noise = [example.noise_agreement[tau] for example in opened]
        found += [
            _figure(f"concepts_{tau}_median", float(np.median(k)), "concepts an image", n),
            _figure(f"below_tau_{tau}", float((k == 0).mean()), "share", n),
            _figure(
                f"concepts_{tau}_spread",
                float((highest - lowest).mean()),
                "concepts an image",
                n,
                note="mean difference between the most and the fewest concepts that one restart alone would have kept",
            ),
            _figure(
                f"grouping_{tau}_agreement_restarts",
                float(agreement.mean()),
                "adjusted Rand index",
                n,
                (chance, by_lot),
                "between the kept run and the other restarts with as many groups",
            ),
        ]
        if noise:
            found.append(
                _figure(
                    f"grouping_{tau}_agreement_noise",
                    float(np.mean(noise)),
                    "adjusted Rand index",
                    len(noise),
                    (chance, by_lot),
                    f"examples; each activation times the exponential of a normal number of deviation {NOISE}, {NOISY_RUNS} times",
                )
            )
    return found


def recurring_figures(
    parts: Parts,
    directions: NDArray[np.float32],
    recurring: NDArray[np.float32],
    images: NDArray[np.int64],
    settings: ConceptsSettings,
) -> list[dict[str, Any]]:
    """Return how many fine concepts recur, beside groups of the same features by lot."""
    shares = []
    for shuffle in (None, np.random.default_rng(settings.seed)):
        lots = [lot_of(block, tensors, directions, images, shuffle) for block, tensors in parts]
        center = _joined(lots, directions.shape[1]).center
        found, _ = match(center, recurring, settings.match_cosine)
        shares.append(float((found >= 0).mean()) if len(found) else 0.0)
    note = f"fine concepts whose center has a cosine of at least {settings.match_cosine:g} to that of a recurring one"
    null = (shares[1], "features of the same images put into groups of the same sizes by lot")
    return [
        _figure("recurring_concepts", len(recurring), "concepts", len(images)),
        _figure("concepts_that_recur", shares[0], "share", len(center), null, note),
    ]


def _figure(
    name: str,
    value: float,
    unit: str,
    n: int,
    null: tuple[float | None, str] = (None, ""),
    note: str = "",
) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "n": n,
        "null_value": null[0],
        "null_name": null[1],
        "command": COMMAND,
        "note": note,
    }
