"""Concepts that recur across images: matched, counted and written as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import parquet_writer, write_parquet
from atlas.concepts.every_image import TAUS
from atlas.concepts.recurring import concept_centers, match, nearest_elsewhere
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations, ImageBlock, map_tensors
from atlas.settings.icons import ConceptsSettings

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_IMAGES = 48
"""Images kept of a recurring concept, the heaviest first."""
FIRST_FEATURES = 8
NEAREST = 4
IMAGES_AT_ONCE = 2048
"""Images whose concepts' centers are in memory together: 200 MB of them at 20 concepts of 1,280 numbers."""


@dataclass(frozen=True, slots=True)
class ConceptSample:
    """The fine concepts of some images, by image and then by mass."""

    image: NDArray[np.int64]
    """(concept,)."""
    concept: NDArray[np.int64]
    """(concept,) number in its image."""
    mass: NDArray[np.float64]
    """(concept,)."""
    center: NDArray[np.float32]
    """(concept, d) unit."""


def concepts_of(
    block: ImageBlock,
    tensors: dict[str, NDArray[Any]],
    directions: NDArray[np.float32],
    images: NDArray[np.int64],
    shuffle: np.random.Generator | None = None,
) -> ConceptSample:
    """Return the fine concepts of those of a block's images that are among some.

    Args:
        block: What fires.
        tensors: How it is grouped, as group_all writes it.
        directions: (feature, d) unit decoder directions.
        images: Numbers of the images wanted.
        shuffle: With it the features of each image are put into its groups at random.
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
    return ConceptSample(
        image=np.repeat(np.arange(len(k)) + block.first_image, k),
        concept=np.arange(n) - np.repeat(before[:-1], k),
        mass=np.bincount(concepts, activations.astype(np.float64), n).astype(np.float64),
        center=concept_centers(directions, block.features[counts], activations, concepts, n),
    )


def join_samples(samples: list[ConceptSample], width: int) -> ConceptSample:
    """Return the concepts of several blocks as one sample."""
    none = np.empty(0, np.int64)
    empty = ConceptSample(none, none, none.astype(float), np.empty((0, width), np.float32))
    columns = ("image", "concept", "mass", "center")
    return ConceptSample(
        *(np.concatenate([getattr(sample, c) for sample in [empty, *samples]]) for c in columns)
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """A scan with the groups of its images, a few at a time, read again each time it is gone through."""

    reader: ImageActivations
    paths: list[Path]
    """A file for each part, as group_all writes it."""

    def __iter__(self) -> Iterator[tuple[ImageBlock, dict[str, NDArray[Any]]]]:
        """Yield what fires on at most IMAGES_AT_ONCE images, and how it is grouped."""
        for block, tensors in zip(self.reader.blocks(), map(map_tensors, self.paths), strict=True):
            for first in range(0, len(block.starts) - 1, IMAGES_AT_ONCE):
                yield _some_of(block, tensors, slice(first, first + IMAGES_AT_ONCE))


def _some_of(
    block: ImageBlock, tensors: dict[str, NDArray[Any]], images: slice
) -> tuple[ImageBlock, dict[str, NDArray[Any]]]:
    """Return some consecutive images of a block, and their groups."""
    starts = block.starts[images.start : images.stop + 1]
    firings = slice(starts[0], starts[-1])
    some = ImageBlock(
        block.first_image + images.start,
        starts - starts[0],
        block.features[firings],
        block.activations[firings],
    )
    return some, {
        name: array[firings if name.endswith("_labels") else images]
        for name, array in tensors.items()
    }


def write_recurring(
    job: Job, parts: Parts, directions: NDArray[np.float32], recurring: NDArray[np.float32]
) -> None:
    """Match every image's fine concepts and write groupings and the tables of what recurs."""
    settings: ConceptsSettings = job.settings.concepts
    n = len(recurring)
    images: list[pa.Table] = []
    n_images, mass, total = np.zeros(n, np.int64), np.zeros(n), 0.0
    by_feature = np.zeros((n, len(directions)), np.float32)
    with parquet_writer(job.out_dir / "groupings.parquet") as write:
        for block, tensors in parts:
            here = np.arange(len(block.starts) - 1) + block.first_image
            concepts = concepts_of(block, tensors, directions, here)
            found, cosine = match(concepts.center, recurring, settings.match_cosine)
            write(_grouping_table(block, tensors, found))
            near = found >= 0
            pairs = np.unique(np.stack([found[near], concepts.image[near]]), axis=1)
            n_images += np.bincount(pairs[0], minlength=n)
            mass += np.bincount(found[near], concepts.mass[near], minlength=n)
            total += float(block.activations.sum(dtype=np.float64))
            _add_features(by_feature, block, tensors, found)
            images = [_keep_first(concat_tables([*images, _images_of(concepts, found, cosine)]), n)]
    write_parquet(
        job.out_dir / "recurring_concepts.parquet",
        table_of(
            recurring=np.arange(n, dtype=np.int32),
            n_images=n_images,
            mass=mass,
            mass_share=mass / max(total, 1e-300),
        ),
    )
    write_parquet(job.out_dir / "recurring_images.parquet", concat_tables(images))
    write_parquet(job.out_dir / "recurring_features.parquet", _strongest_features(by_feature))
    write_parquet(job.out_dir / "recurring_neighbors.parquet", _recurring_neighbors(recurring))


def table_of(**columns: Any) -> pa.Table:
    """Return named columns as a table."""
    import pyarrow as pa

    return pa.table(columns)


def concat_tables(tables: list[pa.Table]) -> pa.Table:
    """Return tables of one schema as one, in one chunk."""
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


def _images_of(
    sample: ConceptSample, found: NDArray[np.int64], cosine: NDArray[np.float32]
) -> pa.Table:
    near = np.flatnonzero(found >= 0)
    return table_of(
        recurring=found[near].astype(np.int32),
        image=sample.image[near],
        concept=sample.concept[near].astype(np.int32),
        mass=sample.mass[near],
        cosine=cosine[near],
        rank=np.zeros(len(near), np.int32),
    )


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
    return table_of(**{n: c[rows] for n, c in columns.items()}, rank=ranks.astype(np.int32))


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
    return table_of(**{name: column[held] for name, column in table.items()})


def _recurring_neighbors(recurring: NDArray[np.float32]) -> pa.Table:
    numbers = np.arange(len(recurring))
    near, cosine = nearest_elsewhere(recurring, numbers, recurring, numbers, NEAREST)
    rank = np.broadcast_to(np.arange(near.shape[1]), near.shape)
    there = near >= 0
    return table_of(
        recurring=np.broadcast_to(numbers[:, None], near.shape)[there].astype(np.int32),
        rank=rank[there].astype(np.int32),
        other=near[there].astype(np.int32),
        cosine=cosine[there],
    )
