"""The concepts stage: every image's features in groups, coarse and fine, and what recurs.

Every image is grouped by the seed's iterated grouping at two thresholds tau. Concepts of
different images with similar centers are one recurring concept. A hundred examples, chosen
so that they cover the features, keep their concepts whole; where a decoder is named, the first
of them are drawn with knobs. The unit of resuming is one part of the scan, or one drawn image.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from atlas.base.files import read_json, write_json
from atlas.concepts.across_images import Parts, concepts_of, join_samples, write_recurring
from atlas.concepts.every_image import group_all, scale_taus
from atlas.concepts.example_tables import write_examples
from atlas.concepts.examples import choose_examples, open_example
from atlas.concepts.figures import grouping_figures, recurring_figures
from atlas.concepts.knobs import draw_knobs
from atlas.concepts.recurring import find_recurring
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import limit_threads
from atlas.sae.model import unit_directions
from atlas.settings.icons import ConceptsSettings


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
    sampled = np.sort(
        np.random.default_rng(settings.seed).permutation(len(reader))[: settings.matched_images]
    )
    parts = Parts(reader, paths)
    sample = join_samples(
        [concepts_of(block, tensors, directions, sampled) for block, tensors in parts],
        sae.width,
    )
    recurring = find_recurring(
        sample.center, sample.image, settings.match_cosine, settings.recurring
    )
    write_recurring(job, parts, directions, recurring)
    chosen = choose_examples(job, reader)
    opened = [open_example(sae, reader, image, hand, taus, settings) for image, hand in chosen]
    figures = [
        *grouping_figures(parts, opened),
        *recurring_figures(parts, directions, recurring, sampled, settings),
    ]
    write_examples(job, opened, sample, recurring, directions)
    figures += draw_knobs(job, opened)
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
