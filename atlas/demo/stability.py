"""Step stability: the demo's SAE trained twice more, with other seeds; what all three agree on.

Of the other two the decoder directions alone ship: a feature's page says in how many it is found.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from atlas.base.files import draft
from atlas.base.progress import Progress
from atlas.demo.figures import replace_figures
from atlas.demo.places import DEMO, REPLICATES
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config
from atlas.study.compare import Comparison, Matching, compare
from atlas.study.families import DIRECTIONS
from atlas.study.matching import CLOSE

BUILD = DEMO.parents[1] / "build"
SEEDS = (0, 1, 2)
COMMAND = "python -m atlas.demo stability"


def run() -> None:
    """Train, scan and compare; put the mean over the three pairs into figures.json."""
    folders = [build_seed(seed) for seed in SEEDS]
    for seed in SEEDS[1:]:
        ship_directions(seed)
    pairs = [(a, b) for i, a in enumerate(folders) for b in folders[i + 1 :]]
    found = [compare(a, b) for a, b in pairs]
    replace_figures(COMMAND, stability_figures(found))


def build_seed(seed: int) -> Path:
    """Build what compare needs of the SAE with this seed, and return its folder."""
    folder = BUILD / f"demo-train-{seed}"
    changes = [f'out_dir="{folder}"', f"train.seed={seed}"]
    config = load_config(DEMO / "train.toml", changes)
    build_atlas(config, ("families",), progress=Progress())
    return folder


def ship_directions(seed: int) -> None:
    """Keep the decoder directions (live feature, d) of the SAE with this seed in data/demo."""
    with draft(REPLICATES / f"{seed}.npy") as path:
        shutil.copyfile(BUILD / f"demo-train-{seed}" / "families" / DIRECTIONS, path)


def stability_figures(found: list[Comparison]) -> list[dict[str, Any]]:
    """Return the shares matched, means over the comparisons, each beside its null."""
    rows = []
    for by, null_name, what in (
        ("directions", "dimensions of the second SAE permuted", "decoder cosine"),
        ("firing", "images of the second SAE permuted", "correlation of activations"),
    ):
        matchings: list[Matching] = [getattr(one, by) for one in found]
        for name, note in (
            ("mutual", f"each the other's best by {what}"),
            ("close", f"each the other's best by {what}, which is {CLOSE:g} or more"),
        ):
            values = [getattr(one, name) for one in matchings]
            nulls = [getattr(one, f"{name}_null") for one in matchings]
            rows.append(_row(f"stability_{by}_{name}", values, nulls, found, null_name, note))
    both = [one.both for one in found]
    note = "the same close match by decoder cosine and by correlation of activations"
    nulls = [one.both_null for one in found]
    permuted = "dimensions and images of the second SAE permuted"
    rows.append(_row("stability_both_close", both, nulls, found, permuted, note))
    return rows


def _row(
    name: str,
    values: list[float],
    nulls: list[float],
    found: list[Comparison],
    null_name: str,
    note: str,
) -> dict[str, Any]:
    spread = f"{len(values)} pairs of {len(SEEDS)} seeds, {min(values):.3f} to {max(values):.3f}"
    return {
        "name": name,
        "value": round(float(np.mean(values)), 4),
        "unit": "share",
        "n": sum(one.live_a for one in found),
        "null_value": round(float(np.mean(nulls)), 4),
        "null_name": null_name,
        "command": COMMAND,
        "note": f"{note}; {spread}",
    }
