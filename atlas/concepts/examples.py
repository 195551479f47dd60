"""Example images: chosen to cover the features, each with its groups and how stable they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.base.files import read_parquet
from atlas.concepts.every_image import Taus, group_image
from atlas.concepts.grouping import Group, Grouping, adjusted_rand, groups_of
from atlas.concepts.recurring import cover
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations
from atlas.sae.model import SAE
from atlas.settings.icons import ConceptsSettings

CANDIDATES = 4000
"""Random images from which the examples are chosen."""
NOISE = 0.1
"""Standard deviation of the logarithm of what activations are multiplied by to test stability."""
NOISY_RUNS = 5


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
    shuffled = np.random.default_rng(settings.seed).permutation(np.flatnonzero(fit))
    candidates = np.sort(shuffled[:CANDIDATES])
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
