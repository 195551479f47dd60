"""The neighbors stage: features with similar directions, co-activations, near misses, the image index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.base.largest import largest
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations, ImageActivations, read_every_firing
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import limit_threads
from atlas.sae.model import SAE, unit_directions
from atlas.settings.study import NeighborsSettings
from atlas.study.exact_search import exact_top
from atlas.study.image_index import (
    NEAREST,
    build_index,
    import_faiss,
    mean_embedding,
    measure_recall,
    write_index,
)
from atlas.study.near_misses import Surroundings, near_misses

if TYPE_CHECKING:
    import pyarrow as pa

IMAGES_LOOKED_AT = 20_000
"""Images of a feature among which its co-activations are counted; of more a sample is drawn."""


def run(job: Job) -> None:
    """Write the neighbor tables and the image index.

    Raises:
        MissingError: FAISS is not installed.
        InputError: An input is damaged.
    """
    import_faiss()
    settings: NeighborsSettings = job.settings
    limit_threads(job.runtime.threads)
    sae = load_sae(job.inputs["sae"])
    scan_dir = job.inputs["scan"]
    by_feature = FeatureActivations(scan_dir)
    live = np.flatnonzero(by_feature.counts() > 0)
    total = 2 * len(live) + len(by_feature)
    job.progress.start("neighbors", total=total, unit="features")
    nearest = feature_neighbors(sae, live, settings.feature_neighbors, job.runtime.device)
    write_parquet(job.out_dir / "feature_neighbors.parquet", nearest)
    job.progress.advance(len(live))
    together = coactivations(by_feature, ImageActivations(scan_dir), settings.coactivations)
    write_parquet(job.out_dir / "coactivations.parquet", together)
    job.progress.advance(len(by_feature))
    embeddings = read_embeddings(job.inputs["embed"])
    mean = mean_embedding(embeddings)
    index = build_index(embeddings, mean)
    write_index(job.out_dir, index, mean)
    tops = read_parquet(scan_dir / "top_images.parquet", ["feature", "rank", "image"])
    around = Surroundings(sae, embeddings, mean, index, by_feature)
    misses = near_misses(around, tops, job)
    write_parquet(job.out_dir / "near_misses.parquet", misses)
    facts = {"live_features": len(live), "images": embeddings.rows, "width": sae.width}
    write_json(job.out_dir / "neighbors.json", facts | _recall(around, tops))


def _recall(around: Surroundings, tops: pa.Table) -> dict[str, Any]:
    """Return how much of the exact answer the index finds around top images, where it was asked."""
    images = np.unique(np.asarray(tops["image"]).astype(np.int64))
    if around.exact or not len(images):
        return {}
    found = measure_recall(around.embeddings, around.mean, around.index, images)
    return {f"recall_at_{NEAREST}": found.share, "recall_queries": found.n_queries}


def feature_neighbors(sae: SAE, live: NDArray[np.int64], k: int, device: str) -> pa.Table:
    """Return feature, rank, neighbor, cosine: the live features with the most similar decoder directions."""
    import pyarrow as pa

    directions = unit_directions(sae)[live]
    rows, cosine = exact_top(directions, np.arange(len(live)), k, device)
    width = rows.shape[1]
    return pa.table(
        {
            "feature": np.repeat(live, width).astype(np.int32),
            "rank": np.tile(np.arange(width, dtype=np.int32), len(live)),
            "neighbor": live[rows.ravel()].astype(np.int32),
            "cosine": cosine.ravel(),
        }
    )


def coactivations(
    by_feature: FeatureActivations, by_image: ImageActivations, most: int
) -> pa.Table:
    """Return the features that fire most often on the same images.

    Exact for features that fire on at most IMAGES_LOOKED_AT images. Of a more frequent one so
    many of its images are drawn, by its number, and counts are scaled up from those.

    Args:
        by_feature: Images of each feature.
        by_image: Features of each image.
        most: Features kept of each; of equal counts those with the lower number.

    Returns:
        feature, rank, other, count, p_other_given_feature, its standard_error (0 where exact),
        p_feature_given_other, and lift: the count over what independent firing would give.
    """
    import pyarrow as pa

    totals = by_feature.counts()
    every = read_every_firing(by_image, len(totals))
    found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for one in range(len(by_feature)):
        counts = every.count_together(_some_images(by_feature[one][0], one))
        counts[one] = 0
        found.append(_most_frequent(counts, most))
    feature = np.repeat(np.arange(len(totals)), [len(other) for other, _ in found])
    rank = np.concatenate([np.arange(len(other)) for other, _ in found])
    other = np.concatenate([other for other, _ in found])
    seen = np.concatenate([count for _, count in found])
    n, looked_at = totals[feature], np.minimum(totals[feature], IMAGES_LOOKED_AT)
    share = seen / looked_at
    # A sampled count can't be known to exceed what the other feature has in all.
    count = np.minimum(np.rint(share * n).astype(np.int64), totals[other])
    spread = (n - looked_at) / np.maximum(n - 1, 1)  # a sample without replacement
    return pa.table(
        {
            "feature": feature.astype(np.int32),
            "rank": rank.astype(np.int32),
            "other": other.astype(np.int32),
            "count": count,
            "p_other_given_feature": share,
            "standard_error": np.sqrt(share * (1 - share) / looked_at * spread),
            "p_feature_given_other": count / totals[other],
            "lift": count * float(len(every)) / (n * totals[other].astype(float)),
        }
    )


def _some_images(images: NDArray[np.int64], feature: int) -> NDArray[np.int64]:
    """Return a feature's images, or so many of them as are looked at, ascending."""
    if len(images) <= IMAGES_LOOKED_AT:
        return images
    chosen = np.random.default_rng(feature).choice(len(images), IMAGES_LOOKED_AT, replace=False)
    return images[np.sort(chosen)]


def _most_frequent(
    counts: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (features, counts) of the largest counts, largest first, ties by feature."""
    best = largest(counts, most)
    best = best[counts[best] > 0]
    return best, counts[best]
