"""Figures of families, each beside a null that breaks only what is claimed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import write_parquet
from atlas.inputs.embeddings import EmbeddingSet, Shard, check_vectors, read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations
from atlas.settings.study import FamiliesSettings
from atlas.study import monosemanticity as mono
from atlas.study.clusters import LEVELS
from atlas.study.relatives import (
    Firing,
    Relative,
    corrected_z,
    count_common,
    likely_parents,
    most_opposed,
)
from atlas.study.units import Units, center_directions

if TYPE_CHECKING:
    import pyarrow as pa

JUDGED_BY_NULL = 512
"""Features, drawn by seed, on which each null is measured."""
NULL_IMAGES = 200_000
"""Images on which random directions are measured: 1 GB of embeddings of 1,280 numbers."""
COMMAND = "atlas build CONFIG families"


def _figure(
    name: str, value: float, n: int, null: float | None, null_name: str, note: str
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 6),
        "unit": "share",
        "n": n,
        "null_value": None if null is None else round(null, 6),
        "null_name": null_name,
        "command": COMMAND,
        "note": note,
    }


def family_figures(
    firing: Firing,
    live: NDArray[np.int64],
    directions: NDArray[np.float32],
    rows: list[Relative],
    settings: FamiliesSettings,
) -> list[dict[str, Any]]:
    """Return the share of live features with a relative of each kind, beside its null."""
    n = len(live)
    if n < 2:
        return []
    random = np.random.default_rng(settings.seed)
    sample = np.sort(random.permutation(n)[:JUDGED_BY_NULL])
    shuffled = random.permuted(directions, axis=1)
    opposed = most_opposed(shuffled, sample)[1]
    again = random.permuted(directions[sample], axis=1)
    alike = -most_opposed(np.concatenate([shuffled, -again]), n + np.arange(len(sample)))[1]
    null_parents = _null_parents(firing, live, live[sample], settings, random)
    have = {kind: {row.feature for row in rows if row.kind == kind} for kind in
            ("duplicate", "antipode", "parent")}  # fmt: skip
    dimensions = "directions whose dimensions are shuffled, each by itself"
    return [
        _figure(
            "features_with_duplicate", len(have["duplicate"]) / n, n,
            float((alike > settings.duplicate_cosine).mean()), dimensions,
            f"decoder cosine above {settings.duplicate_cosine:g}, and each fires on "
            f"{settings.duplicate_share:.0%} or more of the other's images",
        ),
        _figure(
            "features_with_antipode", len(have["antipode"]) / n, n,
            float((opposed <= -settings.antipode_cosine).mean()), dimensions,
            f"decoder cosine of -{settings.antipode_cosine:g} or less",
        ),
        _figure(
            "features_with_parent", len(have["parent"]) / n, n, null_parents,
            "the child's images moved on by a random number",
            f"fires on {settings.parent_share:.0%} or more of the child's strongest "
            f"{settings.strong_share:.0%} of firings, and the child on {settings.child_share:.0%} or "
            "less of its own; interval above the parent's density, corrected for all pairs",
        ),
    ]  # fmt: skip


def _null_parents(
    firing: Firing,
    live: NDArray[np.int64],
    sample: NDArray[np.int64],
    settings: FamiliesSettings,
    random: np.random.Generator,
) -> float:
    """Return the share of the sample that still has a parent when its firings are moved."""
    images = len(firing.every)
    densities = firing.by_feature.counts() / max(images, 1)
    z = corrected_z(len(live) * (len(live) - 1))
    found = 0
    for child in sample.tolist():
        step = int(random.integers(1, max(images, 2)))
        strong = np.sort((firing.strong(child) + step) % images)
        mine = np.sort((firing.images(child) + step) % images)
        found += any(
            count_common(firing.strong(parent), mine)
            <= settings.child_share * len(firing.strong(parent))
            for parent, _ in likely_parents(firing, strong, child, densities, settings, z)
        )
    return found / max(len(sample), 1)


def cluster_figures(
    live: NDArray[np.int64], levels: list[NDArray[np.int64]], near: pa.Table
) -> list[dict[str, Any]]:
    """Return how often a feature's nearest neighbor is in its cluster, at each level."""
    first = near["rank"].to_numpy() == 0
    feature, neighbor = (near[name].to_numpy()[first] for name in ("feature", "neighbor"))
    rows = []
    for level in range(LEVELS if len(feature) else 0):
        of = dict(zip(live.tolist(), levels[level].tolist(), strict=True))
        same = [of[a] == of[b] for a, b in zip(feature.tolist(), neighbor.tolist(), strict=True)]
        sizes = np.bincount(levels[level])
        chance = float((sizes * (sizes - 1)).sum()) / max(len(live) * (len(live) - 1), 1)
        rows.append(
            _figure(
                f"nearest_in_cluster_level_{level}", float(np.mean(same)), len(same), chance,
                "another feature at random", f"{len(sizes):,} clusters of {len(live):,} live features",
            )
        )  # fmt: skip
    return rows


def judge_purity(
    job: Job, by_feature: FeatureActivations, live: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Write every feature's monosemanticity, and return the figures of the whole.

    Raises:
        InputError: The second encoder's vectors are not one row an image.
    """
    import pyarrow as pa

    files = job.files.get("second_vectors", ())
    scores = np.full(len(by_feature), np.nan)
    figures: list[dict[str, Any]] = []
    if files:
        seen, counted = second_view(files, read_embeddings(job.inputs["embed"]).rows)
        features = (by_feature[feature] for feature in range(len(by_feature)))
        scores = mono.score_features(features, seen, counted)
        figures = purity_figures(job, by_feature, live, scores, (seen, counted))
    held = pa.array(scores, pa.float64(), mask=np.isnan(scores))
    numbers = np.arange(len(scores), dtype=np.int32)
    table = pa.table({"feature": numbers, "monosemanticity": held})
    write_parquet(job.out_dir / "monosemanticity.parquet", table)
    return figures


def second_view(files: tuple[Path, ...], images: int) -> tuple[Units, NDArray[np.bool_]]:
    """Return the second encoder's (image, d) centered directions, and which are no copies.

    Raises:
        InputError: There are more or fewer rows than images.
    """
    shards, rows, width = [], 0, None
    for path in files:
        vectors = check_vectors(path, width)
        width = vectors.shape[1]
        shards.append(Shard(path.stem, path, len(vectors), rows, ""))
        rows += len(vectors)
    if rows != images:
        raise InputError(
            f"{files[0].parent} holds {rows} second vectors, the atlas has {images} images; "
            "make one a row for the same images in the same order"
        )
    second = EmbeddingSet(width or 0, rows, {}, normalized=False, shards=tuple(shards))
    return center_directions(second), mono.first_copies(block for _, block in second.blocks())


def purity_figures(
    job: Job,
    by_feature: FeatureActivations,
    live: NDArray[np.int64],
    scores: NDArray[np.float64],
    view: tuple[Units, NDArray[np.bool_]],
) -> list[dict[str, Any]]:
    """Return the mean over live features beside random directions and raw dimensions.

    Of more than NULL_IMAGES images both nulls are measured on so many drawn at random, at the
    features' densities.
    """
    seed = job.settings.seed
    known = scores[live][~np.isnan(scores[live])]
    if len(known) < 2:
        return []
    embeddings = read_embeddings(job.inputs["embed"])
    drawn = np.random.default_rng(seed).permutation(embeddings.rows)[:NULL_IMAGES]
    images = np.sort(drawn)
    taken = embeddings.take(images)
    centered = taken - taken.mean(axis=0, dtype=np.float64).astype(np.float32)
    seen = view[0][images], view[1][images]
    chosen = live[np.sort(np.random.default_rng(seed).permutation(len(live))[:JUDGED_BY_NULL])]
    densities = by_feature.counts()[chosen] / embeddings.rows
    counts = np.maximum(np.rint(densities * len(images)), 1).astype(np.int64)
    random = _known(mono.score_features(mono.random_directions(centered, counts, seed), *seen))
    raw = _known(mono.score_features(mono.raw_dimensions(centered, counts, seed), *seen))
    asked = (
        "cosine of the images it fires on in a second encoder, weighted by activation "
        "(arXiv 2504.02821); centered, copies counted once"
    )
    matched = "random directions, each on as many images as a feature"
    low, high = mono.interval_of_mean(known, seed)
    raw_low, raw_high = mono.interval_of_mean(raw, seed)
    above = float((known > np.quantile(random, 0.95)).mean())
    return [
        _figure("monosemanticity_mean", float(known.mean()), len(known), float(random.mean()),
                matched, f"{asked}; 95 % interval {low:.3f} to {high:.3f}")
        | {"unit": "cosine"},
        _figure("monosemanticity_raw_dimensions", float(raw.mean()), len(raw), float(random.mean()),
                matched, "the same of the embedding's own dimensions, each cut at the density of a "
                f"feature; 95 % interval {raw_low:.3f} to {raw_high:.3f}")
        | {"unit": "cosine"},
        _figure("monosemanticity_above_random", above, len(known), 0.05, matched,
                "features above the 95th percentile of the random directions"),
    ]  # fmt: skip


def _known(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = scores[~np.isnan(scores)]
    return found
