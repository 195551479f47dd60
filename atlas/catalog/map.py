"""Places on the map, kept as a part, and how far its neighborhoods can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_json, read_parquet, write_json, write_parquet
from atlas.catalog.figures import Figure
from atlas.run.stage import Job
from atlas.sae.model import SAE
from atlas.study.map import lay_out, trustworthiness

FEATURES_JUDGED_ON_MAP = 4000


def map_key(job: Job) -> dict[str, Any]:
    """Return what decides the bytes of the map beside the code."""
    settings = job.settings
    return {
        "sae": job.digests["sae"],
        "scan": job.digests["scan"],
        "map": [settings.map_neighbors, settings.map_min_dist, settings.map_seed],
    }


def write_map(path: Path, job: Job, sae: SAE, alive: NDArray[np.int64]) -> None:
    """Place the live features on the map, and write where they lie."""
    import pyarrow as pa

    settings = job.settings
    job.progress.say(f"  map: placing {len(alive):,} live features")
    directions = sae.W_dec[alive]
    places = lay_out(
        directions,
        neighbors=settings.map_neighbors,
        min_dist=settings.map_min_dist,
        seed=settings.map_seed,
    )
    table = pa.table(
        {"feature": alive.astype(np.int32), "map_x": places[:, 0], "map_y": places[:, 1]}
    )
    write_parquet(path, table)


def map_figure(job: Job, read_sae: Callable[[], SAE], map_file: Path) -> Figure:
    """Return how well neighbors on the map are neighbors by decoder cosine; a part of its own.

    So that a catalog with another title, of the same map, is written without measuring again.
    """
    path = job.part(
        "map-figure",
        ".json",
        map_key(job) | {"judged": FEATURES_JUDGED_ON_MAP},
        lambda path: write_json(path, asdict(_judge(job, read_sae(), map_file))),
    )
    return Figure(**read_json(path))


def _judge(job: Job, sae: SAE, map_file: Path) -> Figure:
    table = read_parquet(map_file)
    places = np.stack([table["map_x"].to_numpy(), table["map_y"].to_numpy()], axis=1)
    directions = sae.W_dec[table["feature"].to_numpy()]
    judged = {"neighbors": 10, "most": FEATURES_JUDGED_ON_MAP, "seed": job.settings.map_seed}
    shuffled = np.random.default_rng(job.settings.map_seed).permutation(places)
    return Figure(
        "map_trustworthiness",
        trustworthiness(directions, places, **judged),
        "share",
        min(len(places), FEATURES_JUDGED_ON_MAP),
        trustworthiness(directions, shuffled, **judged),
        "the same places, shuffled",
        note="10 neighbors; 1 if all neighbors on the map are neighbors by decoder cosine",
    )
