"""Example images: chosen to cover the features, their concepts kept whole, the first of them drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.base.files import read_parquet, write_parquet
from atlas.concepts import knobs
from atlas.concepts.across_images import NEAREST, ConceptSample, table_of
from atlas.concepts.every_image import TAUS, Taus, group_image
from atlas.concepts.grouping import Group, Grouping, adjusted_rand, groups_of
from atlas.concepts.recurring import concept_centers, cover, match, nearest_elsewhere
from atlas.icons.drawing import load_models
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations
from atlas.sae.model import SAE
from atlas.settings.icons import ConceptsSettings

if TYPE_CHECKING:
    import pyarrow as pa

CANDIDATES = 4000
"""Random images from which the examples are chosen."""
NOISE = 0.1
"""Standard deviation of the logarithm of what activations are multiplied by to test stability."""
NOISY_RUNS = 5
MOST_DRAWN = 5
"""Coarse concepts of an image that is drawn with knobs: as many as a page shows at a glance."""


@dataclass(frozen=True, slots=True)
class GroupedImage:
    """An example image with its groups."""

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


def choose_examples(job: Job, reader: ImageActivations) -> list[tuple[int, bool]]:
    """Return (image, chosen by hand) of each example: those named, then by coverage.

    Of random images, greedily those that together show most features most strongly;
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
) -> GroupedImage:
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
    return GroupedImage(image, by_hand, features, activations, groupings, agreement, stability)


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
    opened: list[GroupedImage],
    sample: ConceptSample,
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


def draw_knobs(job: Job, opened: list[GroupedImage]) -> list[dict[str, Any]]:
    """Draw the first examples of two to MOST_DRAWN coarse concepts, where a decoder is named.

    Returns:
        What was measured of them, for the report.
    """
    drawn = [example for example in opened if 2 <= example.groupings["coarse"].k <= MOST_DRAWN]
    drawn = drawn[: job.settings.concepts.drawn_examples] if "decoder" in job.inputs else []
    _write_example_list(job, opened, {example.image for example in drawn})
    if not drawn:
        return []
    models = load_models(job.settings.icons, job.inputs, job.runtime.device)
    by_image = sorted(drawn, key=lambda example: example.image)
    vectors = read_embeddings(job.inputs["embed"]).take([example.image for example in by_image])
    examples = [
        knobs.Example(example.image, row, example.groups("coarse"))
        for example, row in zip(by_image, vectors, strict=True)
    ]
    pictures = knobs.draw_examples(job, models, examples)
    write_parquet(job.out_dir / "concept_icons.parquet", knobs.icon_table(examples, pictures))
    write_parquet(job.out_dir / "knobs.parquet", knobs.knob_table(examples, pictures))
    write_parquet(job.out_dir / "transfers.parquet", knobs.transfer_table(examples, pictures))
    return knobs.figures(examples, pictures)


def _write_example_list(job: Job, opened: list[GroupedImage], drawn: set[int]) -> None:
    columns = {
        "image": np.array([example.image for example in opened], np.int64),
        "rank": np.arange(len(opened), dtype=np.int32),
        "by_hand": np.array([example.by_hand for example in opened], bool),
        "drawn": np.array([example.image in drawn for example in opened], bool),
        "noise_agreement_coarse": np.array([e.noise_agreement["coarse"] for e in opened]),
        "noise_agreement_fine": np.array([e.noise_agreement["fine"] for e in opened]),
    }
    write_parquet(job.out_dir / "examples.parquet", table_of(**columns))
