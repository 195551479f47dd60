"""Which features get an icon, at what strength, and the sheets that are drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.base.tables import SENSITIVE_SHARE
from atlas.icons.drawing import TEMPLATE, DrawingModels, Sheet
from atlas.icons.template import icon_embeddings, set_strengths
from atlas.run.stage import Job

if TYPE_CHECKING:
    import pyarrow as pa

GAINS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Of a strip, over the icon's own strength; at 1 it is the icon."""
OTHER_GAINS = tuple(gain for gain in GAINS if gain != 1)


@dataclass(frozen=True, slots=True)
class Subjects:
    """The features that get an icon, and what is asked of each. Places count in features."""

    features: NDArray[np.int64]
    """(feature,) numbers, ascending."""
    strengths: NDArray[np.float32]
    """(feature,) what each is set to."""
    wanted: NDArray[np.float32]
    """(feature, d) the embedding that each icon is drawn from."""
    moved: NDArray[np.float32]
    """(feature,) its distance from the bare template's."""
    largest: NDArray[np.float32]
    """(feature,) the largest activation on the scanned images."""
    sample: NDArray[np.int64]
    """(sampled,) places of the sample, ascending."""
    strips: NDArray[np.int64]
    """(strip,) places of the features that get a strip, ascending."""


def find_subjects(job: Job, models: DrawingModels, table: pa.Table) -> Subjects:
    """Return the features to draw, their embeddings, and who is in which sample."""
    settings, features = job.settings, features_to_draw(job, table)
    largest = table["max"].to_numpy()[features].astype(np.float32)
    strengths = set_strengths(
        models.sae, features, largest, settings.strength, settings.strength_unit
    )
    wanted = icon_embeddings(models.sae, models.template, features, strengths)
    shuffled = np.random.default_rng(settings.seed).permutation(len(features))
    return Subjects(
        features=features,
        strengths=strengths,
        wanted=wanted,
        moved=np.linalg.norm(wanted - models.template.base, axis=1),
        largest=largest,
        sample=np.sort(shuffled[: settings.sample_features]),
        strips=np.sort(shuffled[: settings.strip_features]),
    )


def features_to_draw(job: Job, table: pa.Table) -> NDArray[np.int64]:
    """Return the numbers of the live features that aren't sensitive, ascending."""
    top = read_parquet(job.inputs["scan"] / "top_images.parquet", ["feature", "image"])
    images = read_parquet(job.inputs["embed"] / "images.parquet", ["sensitive"])
    feature = top["feature"].to_numpy()
    hidden = images["sensitive"].to_numpy()[top["image"].to_numpy()].astype(np.float64)
    n = len(table)
    kept = np.bincount(feature, minlength=n)
    share = np.bincount(feature, weights=hidden, minlength=n) / np.maximum(kept, 1)
    return np.flatnonzero(table["alive"].to_numpy() & (share < SENSITIVE_SHARE))


def plan_sheets(job: Job, models: DrawingModels, subjects: Subjects) -> dict[str, list[Sheet]]:
    """Return every sheet to draw, by kind; what is on one depends on nothing but the settings."""
    settings, base = job.settings, models.template.base
    sample, names = subjects.sample, [f"feature {f}" for f in subjects.features]
    random = np.random.default_rng([settings.seed, 1]).standard_normal((len(sample), len(base)))
    random *= (subjects.moved[sample] / np.linalg.norm(random, axis=1))[:, None]
    gains = np.array(OTHER_GAINS, np.float32)
    strips = subjects.strips
    strip_wanted = icon_embeddings(
        models.sae,
        models.template,
        np.repeat(subjects.features[strips], len(gains)),
        (subjects.strengths[strips, None] * gains).ravel(),
    )

    def cut(
        kind: str, embeddings: NDArray[np.float32], labels: Sequence[str], seed: int
    ) -> list[Sheet]:
        size = settings.block_features
        return [
            Sheet(
                f"{kind}-{start:06d}",
                embeddings[start : start + size],
                tuple(labels[start : start + size]),
                seed,
            )
            for start in range(0, len(embeddings), size)
        ]

    sampled = [names[place] for place in sample]
    plan = {
        "template": cut("template", base[None], [TEMPLATE], settings.seed),
        "icons": cut("icons", subjects.wanted, names, settings.seed),
        "random": cut(
            "random",
            (base + random).astype(np.float32),
            [f"a random direction, as long as that of {name}" for name in sampled],
            settings.seed,
        ),
        "strips": cut(
            "strips",
            strip_wanted,
            [
                f"{names[place]} at {gain} of its strength"
                for place in strips
                for gain in OTHER_GAINS
            ],
            settings.seed,
        ),
    }
    for seed in settings.replicate_seeds:
        plan[f"seed-{seed}"] = cut(f"seed-{seed}", subjects.wanted[sample], sampled, seed)
    return plan
