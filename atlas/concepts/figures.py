"""Figures of the grouping and of what recurs, each beside its null."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.concepts.across_images import Parts, concepts_of, join_samples
from atlas.concepts.every_image import TAUS
from atlas.concepts.examples import NOISE, NOISY_RUNS, GroupedImage
from atlas.concepts.grouping import adjusted_rand
from atlas.concepts.recurring import match
from atlas.sae.activations import map_tensors
from atlas.settings.icons import ConceptsSettings

COMMAND = "atlas build CONFIG concepts"


def grouping_figures(parts: Parts, opened: list[GroupedImage]) -> list[dict[str, Any]]:
    """Return how many concepts images have, and how far the groupings can be relied on."""
    found = []
    random = np.random.default_rng(0)
    groups = [map_tensors(path) for path in parts.paths]
    for tau in TAUS:
        k, lowest, highest, agreement = (
            np.concatenate([tensors[f"{tau}_{name}"] for tensors in groups]).astype(float)
            for name in ("k", "lowest", "highest", "agreement")
        )
        n, labels = len(k), [example.groupings[tau].labels for example in opened]
        shuffled = [adjusted_rand(one, random.permutation(one)) for one in labels]
        chance = float(np.mean(shuffled)) if shuffled else None
        null_name = "the same features put into groups of the same sizes at random"
        noise = [example.noise_agreement[tau] for example in opened]
        found += [
            figure(f"concepts_{tau}_median", float(np.median(k)), "concepts an image", n),
            figure(f"below_tau_{tau}", float((k == 0).mean()), "share", n),
            figure(
                f"concepts_{tau}_spread",
                float((highest - lowest).mean()),
                "concepts an image",
                n,
                note="mean difference between the most and the fewest concepts that one restart alone would have kept",
            ),
            figure(
                f"grouping_{tau}_agreement_restarts",
                float(agreement.mean()),
                "adjusted Rand index",
                n,
                (chance, null_name),
                "between the kept run and the other restarts with as many groups",
            ),
        ]
        if noise:
            found.append(
                figure(
                    f"grouping_{tau}_agreement_noise",
                    float(np.mean(noise)),
                    "adjusted Rand index",
                    len(noise),
                    (chance, null_name),
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
    """Return how many fine concepts recur, beside random groups of the same features."""
    shares = []
    for shuffle in (None, np.random.default_rng(settings.seed)):
        samples = [
            concepts_of(block, tensors, directions, images, shuffle) for block, tensors in parts
        ]
        center = join_samples(samples, directions.shape[1]).center
        found, _ = match(center, recurring, settings.match_cosine)
        shares.append(float((found >= 0).mean()) if len(found) else 0.0)
    note = f"fine concepts whose center has a cosine of at least {settings.match_cosine:g} to that of a recurring one"
    null = (shares[1], "features of the same images put into groups of the same sizes at random")
    return [
        figure("recurring_concepts", len(recurring), "concepts", len(images)),
        figure("concepts_that_recur", shares[0], "share", len(center), null, note),
    ]


def figure(
    name: str,
    value: float,
    unit: str,
    n: int,
    null: tuple[float | None, str] = (None, ""),
    note: str = "",
) -> dict[str, Any]:
    """Return a figure of this stage as a row of the report; null is its value and its name."""
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
