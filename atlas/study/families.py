"""The families stage: duplicates, antipodes, parents and clusters of features, and their monosemanticity.

Duplicates have like directions and fire alike. An antipode points away. A parent fires wherever
its child is strong, and the child seldom where the parent is. Clusters group all live features by
direction at three levels. Monosemanticity is judged by an encoder that had no part in the SAE,
where one is given. Everything is held against a null that breaks only what is claimed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import draft, read_parquet, write_json, write_parquet
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations, ImageActivations, read_every_firing
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import unit_directions
from atlas.settings.study import FamiliesSettings
from atlas.study.cluster_tables import cluster_tables
from atlas.study.clusters import cluster_levels
from atlas.study.family_figures import cluster_figures, family_figures, judge_purity
from atlas.study.relatives import Firing, antipodes, duplicates, parents, relatives_table
from atlas.study.replicates import (
    count_seen,
    read_directions,
    replicate_figures,
    replicates_table,
)

DIRECTIONS = "directions.npy"


def run(job: Job) -> None:
    """Write relatives, clusters, scores and their figures.

    Raises:
        InputError: The second encoder's vectors are not one row an image.
    """
    settings: FamiliesSettings = job.settings
    scan_dir = job.inputs["scan"]
    by_feature = FeatureActivations(scan_dir)
    live = np.flatnonzero(by_feature.counts() > 0)
    directions = unit_directions(load_sae(job.inputs["sae"]))[live]
    every = read_every_firing(ImageActivations(scan_dir), len(by_feature))
    firing = Firing(by_feature, every, settings.strong_share)
    job.progress.start("families", total=len(live), unit="features")
    near = read_parquet(job.inputs["neighbors"] / "feature_neighbors.parquet")
    rows = [
        *duplicates(firing, near, settings),
        *antipodes(firing, live, directions, settings),
        *parents(firing, live, directions, settings, job.progress.advance),
    ]
    write_parquet(job.out_dir / "relatives.parquet", relatives_table(rows, settings.relatives))
    levels = cluster_levels(directions, settings.seed) if len(live) else []
    clusters, members = cluster_tables(live, directions, levels)
    write_parquet(job.out_dir / "clusters.parquet", clusters)
    write_parquet(job.out_dir / "cluster_features.parquet", members)
    with draft(job.out_dir / DIRECTIONS) as path, path.open("wb") as file:
        np.save(file, directions.astype(np.float16))
    figures = family_figures(firing, live, directions, rows, settings)
    figures += cluster_figures(live, levels, near)
    figures += judge_purity(job, by_feature, live)
    figures += _judge_replicates(job, directions, live, len(by_feature))
    write_json(job.out_dir / "families.json", {"figures": figures})


def _judge_replicates(
    job: Job, directions: NDArray[np.float32], live: NDArray[np.int64], n_features: int
) -> list[dict[str, Any]]:
    """Write in how many SAEs of other seeds each feature is found, and return the figures."""
    paths = job.files.get("replicates", ())
    others = [read_directions(path, directions.shape[1]) for path in paths]
    seen = count_seen(directions, others)
    table = replicates_table(live, seen, n_features, len(others))
    write_parquet(job.out_dir / "replicates.parquet", table)
    return replicate_figures(directions, others, seen, job.settings.seed)
