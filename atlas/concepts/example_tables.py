"""Tables of the examples: their concepts, the features in them and the nearest concepts elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import write_parquet
from atlas.concepts.across_images import NEAREST, ConceptSample, table_of
from atlas.concepts.every_image import TAUS
from atlas.concepts.examples import GroupedImage
from atlas.concepts.grouping import Group
from atlas.concepts.recurring import concept_centers, match, nearest_elsewhere
from atlas.run.stage import Job

if TYPE_CHECKING:
    import pyarrow as pa

Key = tuple[int, str, int]
"""Image, name of tau, number of the concept in the image."""


def write_examples(
    job: Job,
    opened: list[GroupedImage],
    sample: ConceptSample,
    recurring: NDArray[np.float32],
    directions: NDArray[np.float32],
) -> None:
    """Write the examples' concepts, features and nearest concepts elsewhere.

    Args:
        job: The stage's.
        opened: The examples.
        sample: Fine concepts of other images, among which the nearest are looked for.
        recurring: (recurring, d) unit centers of the recurring concepts.
        directions: (feature, d) unit decoder directions.
    """
    keys = [
        (example.image, tau, concept)
        for example in opened
        for tau in TAUS
        for concept in range(example.groupings[tau].k)
    ]
    centers = _centers(opened, directions)
    _write(job, "concept_features", _feature_rows(opened))
    _write(job, "concept_neighbors", _neighbor_rows(keys, centers, sample))
    found, _ = match(centers, recurring, job.settings.concepts.match_cosine)
    matched = {key: int(k) for key, k in zip(keys, found, strict=True) if k >= 0}
    _write(job, "concepts", _concept_rows(opened, matched))


def write_example_list(job: Job, opened: list[GroupedImage], drawn: set[int]) -> None:
    """Write which images are examples, and which of them are drawn with knobs."""
    columns = {
        "image": np.array([example.image for example in opened], np.int64),
        "rank": np.arange(len(opened), dtype=np.int32),
        "by_hand": np.array([example.by_hand for example in opened], bool),
        "drawn": np.array([example.image in drawn for example in opened], bool),
        "noise_agreement_coarse": np.array([e.noise_agreement["coarse"] for e in opened]),
        "noise_agreement_fine": np.array([e.noise_agreement["fine"] for e in opened]),
    }
    write_parquet(job.out_dir / "examples.parquet", table_of(**columns))


def _centers(opened: list[GroupedImage], directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (concept, d) the unit centers of all examples' concepts."""
    groupings = [example.groups(tau) for example in opened for tau in TAUS]
    centers = [_group_centers(groups, directions) for groups in groupings if groups]
    return np.concatenate([np.empty((0, directions.shape[1]), np.float32), *centers])


def _group_centers(groups: list[Group], directions: NDArray[np.float32]) -> NDArray[np.float32]:
    return concept_centers(
        directions,
        np.concatenate([group.features for group in groups]),
        np.concatenate([group.activations for group in groups]),
        np.repeat(np.arange(len(groups)), [len(group.features) for group in groups]),
        len(groups),
    )


def _feature_rows(opened: list[GroupedImage]) -> list[dict[str, Any]]:
    return [
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


def _neighbor_rows(
    keys: list[Key], centers: NDArray[np.float32], sample: ConceptSample
) -> list[dict[str, Any]]:
    images = np.array([image for image, _, _ in keys], np.int64)
    near, cosine = nearest_elsewhere(centers, images, sample.center, sample.image, NEAREST)
    return [
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


def _concept_rows(opened: list[GroupedImage], matched: dict[Key, int]) -> list[dict[str, Any]]:
    return [
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


def _write(job: Job, name: str, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa

    write_parquet(job.out_dir / f"{name}.parquet", pa.Table.from_pylist(rows, _schema(name)))


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
