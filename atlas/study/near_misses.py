"""Near misses of features: images that look like their top images and on which they do not fire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.embeddings import EmbeddingSet
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations
from atlas.sae.encoding import pre_activations
from atlas.sae.model import SAE
from atlas.settings.study import NeighborsSettings
from atlas.study.exact_search import exact_top
from atlas.study.image_index import center, center_all, is_exact, to_card

if TYPE_CHECKING:
    import pyarrow as pa

FEATURES_PER_BLOCK = 2048
"""Where an index is asked: with 16 top images each, 170 MB of embeddings of 1,280 numbers."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a search for near misses looks at."""

    sae: SAE
    embeddings: EmbeddingSet
    mean: NDArray[np.float32]
    """(dimension,) of all embeddings."""
    index: Any
    """FAISS index of the centered embeddings."""
    by_feature: FeatureActivations

    @property
    def exact(self) -> bool:
        """Return whether every image is compared; otherwise the index is asked."""
        return is_exact(self.embeddings.rows)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Top images of some features, and the images nearest to each."""

    features: range
    edges: NDArray[np.int64]
    """(feature + 1,) where each feature's top images begin in which."""
    which: NDArray[np.int64]
    """Rows of images, feature after feature."""
    images: NDArray[np.int64]
    """(query,) different images, ascending."""
    pool: NDArray[np.int64]
    """(query, nearest) images, nearest first; -1 where an index found no more."""
    similarity: NDArray[np.float32]
    """(query, nearest) cosines of centered embeddings, as far as known."""


def near_misses(around: Surroundings, tops: pa.Table, job: Job) -> pa.Table:
    """Return images that look like a feature's top images and on which it does not fire.

    For each of the first top images the nearest such image is taken, if there is one among its
    nearest `near_miss_pool` that is no duplicate of it; an image already taken for this feature
    is not taken twice. Of many images the nearest are those that the index
    finds; the cosines written are exact.

    Args:
        around: SAE, embeddings, index and activations.
        tops: feature, rank, image of all top images, ordered.
        job: Settings, device and progress.

    Returns:
        feature, rank, image, top_image, similarity (cosine of centered embeddings),
        pre_activation (how far below firing).
    """
    import pyarrow as pa

    settings: NeighborsSettings = job.settings
    tables = []
    for asked in _ask(around, tops, settings, job.runtime.device):
        rows = _choose_exactly(around, asked, settings)
        tables.append(_near_miss_table(around, rows))
        job.progress.advance(int((np.diff(asked.edges) > 0).sum()))
    return pa.concat_tables(tables)


def _ask(
    around: Surroundings, tops: pa.Table, settings: NeighborsSettings, device: str
) -> Iterator[_Asked]:
    """Yield the surroundings of the top images, for all features or for blocks of them."""
    feature, rank, image = (np.asarray(tops[name]) for name in ("feature", "rank", "image"))
    chosen = rank < settings.near_miss_top_images
    feature, image = feature[chosen].astype(np.int64), image[chosen].astype(np.int64)
    n_features = len(around.by_feature)
    edges = np.searchsorted(feature, np.arange(n_features + 1))
    if around.exact:
        everything = center_all(around.embeddings, around.mean)
        images, which = np.unique(image, return_inverse=True)
        pool, similarity = exact_top(everything, images, settings.near_miss_pool, device)
        yield _Asked(range(n_features), edges, which, images, pool, similarity)
        return
    index = to_card(around.index, device)
    for first in range(0, n_features, FEATURES_PER_BLOCK):
        features = range(first, min(first + FEATURES_PER_BLOCK, n_features))
        mine = edges[features.start : features.stop + 1]
        images, which = np.unique(image[mine[0] : mine[-1]], return_inverse=True)
        pool, similarity = _ask_index(around, index, images, settings.near_miss_pool)
        yield _Asked(features, mine - mine[0], which, images, pool, similarity)


def _ask_index(
    around: Surroundings, index: Any, images: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (query, k) nearest images without the one that asks, and about how near they are."""
    if not len(images):
        return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    queries = center(around.embeddings.take(images), around.mean)
    similarity, found = index.search(queries, k + 1)
    itself = found == images[:, None]
    itself[~itself.any(axis=1), -1] = True
    kept = (len(images), k)
    return found[~itself].reshape(kept), similarity[~itself].reshape(kept)


def _choose_exactly(
    around: Surroundings, asked: _Asked, settings: NeighborsSettings
) -> dict[str, NDArray[Any]]:
    """Choose near misses; where cosines are an index's, take exact ones of what is chosen.

    A duplicate that only its exact cosine shows is marked as one, and the choice made again.
    """
    while True:
        rows = _choose(around, asked, settings)
        if around.exact or not len(rows["image"]):
            return rows
        exact = _cosines(around, rows["image"], rows["top_image"])
        duplicates = exact >= settings.duplicate_cosine
        if not duplicates.any():
            return rows | {"similarity": exact}
        asked.similarity[rows["query"][duplicates], rows["column"][duplicates]] = 1.0


def _choose(
    around: Surroundings, asked: _Asked, settings: NeighborsSettings
) -> dict[str, NDArray[Any]]:
    """Return feature, rank, image, top_image, similarity of each near miss, and where it stands."""
    found: list[tuple[int, int, int, int]] = []
    for place, feature in enumerate(asked.features):
        mine = asked.which[asked.edges[place] : asked.edges[place + 1]]
        fires, _ = around.by_feature[feature]
        twin = asked.similarity[mine] >= settings.duplicate_cosine
        columns = _first_outside(asked.pool[mine], fires, twin)
        taken: set[int] = set()
        for query, column in zip(mine.tolist(), columns.tolist(), strict=True):
            near = int(asked.pool[query, column]) if column >= 0 else -1
            if near < 0 or near in taken or len(taken) == settings.near_misses:
                continue
            found.append((feature, len(taken), query, column))
            taken.add(near)
    feature_, rank, query_, column_ = np.array(found, np.int64).reshape(-1, 4).T
    return {
        "feature": feature_,
        "rank": rank,
        "image": asked.pool[query_, column_],
        "top_image": asked.images[query_],
        "similarity": asked.similarity[query_, column_],
        "query": query_,
        "column": column_,
    }


def _first_outside(
    pool: NDArray[np.int64], fires: NDArray[np.int64], twin: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return, per row of pool, the first column that neither fires nor is a twin; else -1."""
    if not pool.size:
        return np.full(len(pool), -1)
    outside = ~np.isin(pool, fires, kind="sort") & ~twin
    return np.where(outside.any(axis=1), outside.argmax(axis=1), -1)


def _cosines(
    around: Surroundings, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the cosine of the centered embeddings of each pair of images."""
    images, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    units = center(around.embeddings.take(images), around.mean)
    a, b = places[: len(one)], places[len(one) :]
    cosines = np.concatenate(
        [
            np.einsum("pd,pd->p", units[a[some]], units[b[some]], dtype=np.float64)
            for some in np.array_split(np.arange(len(one)), max(1, len(one) // 4096))
        ]
    )
    return cosines.astype(np.float32)


def _near_miss_table(around: Surroundings, rows: dict[str, NDArray[Any]]) -> pa.Table:
    import pyarrow as pa

    images, row = np.unique(rows["image"], return_inverse=True)
    if len(images):
        taken = around.embeddings.take(images)
        pre = pre_activations(around.sae, taken, row, rows["feature"])
    else:
        pre = np.empty(0, np.float32)
    columns: dict[str, NDArray[Any]] = {
        "feature": rows["feature"].astype(np.int32),
        "rank": rows["rank"].astype(np.int32),
        "image": rows["image"].astype(np.int64),
        "top_image": rows["top_image"].astype(np.int64),
        "similarity": rows["similarity"].astype(np.float32),
        "pre_activation": pre,
    }
    return pa.table(columns)
