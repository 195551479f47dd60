"""The map: where each live feature lies (seeded UMAP of the decoder directions), and the order of the wall that follows."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import MissingError

FEWEST_FOR_UMAP = 8
"""Below this many features a layout by neighbors means nothing; they are put in a row."""
CURVE_ORDER = 10
"""The curve visits 2^10 by 2^10 cells."""


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
            import umap
        except ImportError as error:
            raise MissingError(
                "the map needs umap-learn, which is not installed: pip install 'feature-atlas[map]'"
            ) from error
        _cache_compiled_loops()
        # One job and a seed: with several threads UMAP's stochastic descent differs from run to run.
        reducer = umap.UMAP(
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


def _cache_compiled_loops() -> None:
    """Have numba keep UMAP's loops on disk, as it keeps our own.

    UMAP asks for no cache, so every process would compile them again: 22 of the 25 s that a map
    of 60 features takes. The compiled code is the same.
    """
    from umap import umap_, utils

    for module, name in (
        (utils, "fast_knn_indices"),
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
    ):
        loop = getattr(module, name, None)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # no folder that the cache could lie in
                loop.enable_caching()


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


def map_order(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the order in which a Hilbert curve over the map meets the points.

    Ties keep the order given. The curve runs over ranks, not places, so that a crowded map
    spreads evenly.

    Args:
        x: (point,) 0 to 1.
        y: (point,) 0 to 1.
    """
    side = 1 << CURVE_ORDER
    cells = [_ranks(axis) * side // max(len(axis), 1) for axis in (x, y)]
    return np.argsort(_along_curve(*cells), kind="stable")


def _ranks(values: NDArray[np.float32]) -> NDArray[np.int64]:
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _along_curve(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each cell's distance along the Hilbert curve (Skilling's walk, one bit a step)."""
    x, y = x.copy(), y.copy()
    distance = np.zeros_like(x)
    step = 1 << (CURVE_ORDER - 1)
    while step:
        right, up = (x & step) > 0, (y & step) > 0
        distance += step * step * ((3 * right) ^ up)
        flip = ~up & right
        x, y = (
            np.where(flip, 2 * step - 1 - (x & (2 * step - 1)), x),
            np.where(flip, 2 * step - 1 - (y & (2 * step - 1)), y),
        )
        x, y = np.where(~up, y, x), np.where(~up, x, y)
        step >>= 1
    return distance


def wall(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    worth: NDArray[np.float64],
    columns: int,
    rows: int,
) -> list[int]:
    """Return the points for a wall, row by row: the best of each cell of the map.

    The map is cut into columns with equally many points, and each column into rows.

    Args:
        x: (point,) from left to right.
        y: (point,) from top to bottom.
        worth: (point,) how much one would like to see it; points at or below 0 are left out.
        columns: Icons side by side.
        rows: Icons above each other.
    """
    wanted = np.flatnonzero(worth > 0)
    if not len(wanted):
        return []
    if len(wanted) < columns * rows:
        columns, rows = len(wanted), 1
    by_x = wanted[np.argsort(x[wanted], kind="stable")]
    chosen = [
        [int(cell[np.argmax(worth[cell])]) for cell in np.array_split(column, rows)]
        for column in (
            strip[np.argsort(y[strip], kind="stable")] for strip in np.array_split(by_x, columns)
        )
        if len(column)
    ]
    return [column[row] for row in range(rows) for column in chosen]
