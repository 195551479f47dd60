"""Where each live feature lies on the map: seeded UMAP of the decoder directions."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import MissingError

FEWEST_FOR_UMAP = 8
"""Below this many features a layout by neighbors means nothing; they are put in a row."""


def lay_out(
    directions: NDArray[np.float32], *, neighbors: int, min_dist: float, seed: int
) -> NDArray[np.float32]:
    """Return a place for every direction.

    One thread and one seed, so that the same input gives the same map on one machine.

    Args:
        directions: (feature, d) decoder rows of the live features.
        neighbors: Neighbors that UMAP considers.
        min_dist: UMAP's least distance between points.
        seed: Seed of the layout.

    Returns:
        (feature, 2) float32 coordinates, each axis from 0 to 1.

    Raises:
        MissingError: umap-learn is not installed.
    """
    n = len(directions)
    if n < FEWEST_FOR_UMAP:
        row = (np.arange(n, dtype=np.float32) + 0.5) / max(n, 1)
        return np.stack([row, np.full(n, 0.5, np.float32)], axis=1)
    with warnings.catch_warnings():
        # UMAP remarks on TensorFlow's absence, and on its seed costing parallelism.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError as error:
            raise MissingError(
                "the map needs umap-learn, which is not installed: pip install 'feature-atlas[map]'"
            ) from error
        reducer = UMAP(
            n_neighbors=min(neighbors, n - 1),
            min_dist=min_dist,
            metric="cosine",
            random_state=seed,
            n_jobs=1,
            init="pca" if n < 4 * neighbors else "spectral",
        )
        places = reducer.fit_transform(directions)
    low, high = places.min(axis=0), places.max(axis=0)
    spread = np.where(high > low, high - low, 1)
    found: NDArray[np.float32] = ((places - low) / spread).astype(np.float32)
    return found


def trustworthiness(
    directions: NDArray[np.float32],
    places: NDArray[np.float32],
    *,
    neighbors: int,
    most: int,
    seed: int,
) -> float:
    """Return how far neighbors on the map are neighbors by decoder cosine, 0 to 1.

    The usual definition (Venna and Kaski 2001), on at most `most` features drawn by seed,
    since it needs every pair.

    Args:
        directions: (feature, d) decoder rows.
        places: (feature, 2) their places.
        neighbors: Neighbors of each that are judged.
        most: Features judged at most.
        seed: Seed of the draw.
    """
    from sklearn.manifold import trustworthiness as measure

    n = len(directions)
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:most])
    count = min(neighbors, (len(chosen) - 1) // 2 - 1)
    if count < 1:
        return 1.0
    return float(measure(directions[chosen], places[chosen], n_neighbors=count, metric="cosine"))
