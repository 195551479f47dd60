"""The neighbors stage: features with similar directions, co-activations, near misses, the image index.

Inner products decide the order only after they are taken in float64; float32 products, by
BLAS or by FAISS, merely say which pairs to look at. So the tables do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import MissingError
from atlas.base.files import draft, read_parquet, write_json, write_parquet
from atlas.base.float64 import inner_products
from atlas.inputs.embeddings import EmbeddingSet, read_embeddings
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations, ImageActivations, read_every_firing
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import limit_threads, pre_activations
from atlas.sae.model import SAE, unit_directions
from atlas.settings.study import NeighborsSettings

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_INDEX = "image_index.faiss"
IMAGE_MEAN = "image_mean.npy"
QUERIES_PER_BLOCK = 512
PRODUCTS_PER_BLOCK = 1 << 26
"""Inner products held at once, 256 MB of them: with millions of rows fewer queries make a block."""
IMAGES_LOOKED_AT = 20_000
"""Images of a feature among which its co-activations are counted; of more a sample is drawn."""
SPARE = 32
"""More that FAISS is asked for than is kept, as its own order is only float32's."""


def run(job: Job) -> None:
    """Write the neighbor tables and the image index.

    Raises:
        MissingError: FAISS is not installed.
        InputError: An input is damaged.
    """
    faiss = import_faiss()
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
    centered, mean = center(embeddings)
    _write_index(faiss, job.out_dir, centered, mean)
    tops = read_parquet(scan_dir / "top_images.parquet", ["feature", "rank", "image"])
    misses = near_misses(_Surroundings(sae, embeddings, centered, by_feature), tops, job)
    write_parquet(job.out_dir / "near_misses.parquet", misses)
    job.progress.advance(len(live))
    facts = {"live_features": len(live), "images": embeddings.rows, "width": sae.width}
    write_json(job.out_dir / "neighbors.json", facts)


def import_faiss() -> ModuleType:
    """Return the faiss module, whichever package holds it.

    Raises:
        MissingError: None does.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingError(
            "the neighbors stage needs FAISS; install it with: pip install "
            "'feature-atlas[neighbors]' (with an NVIDIA GPU: 'feature-atlas[gpu]')"
        ) from error
    module: ModuleType = faiss
    return module


def exact_top(
    vectors: NDArray[np.float32], queries: NDArray[np.int64], k: int, device: str = "cpu"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows with the largest inner product, without the row that asks.

    Args:
        vectors: (row, dimension), each of length 1 or 0.
        queries: (query,) rows of vectors.
        k: Rows wanted; fewer if there are no more.
        device: Torch device of the float32 products. On CUDA, FAISS takes them.

    Returns:
        (query, k) rows and products; largest first, of equal products the lower row.
    """
    k = min(k, len(vectors) - 1)
    rows = np.empty((len(queries), max(k, 0)), np.int64)
    products = np.empty(rows.shape, np.float32)
    if k < 1:
        return rows, products
    find = _faiss_pairs if device.startswith("cuda") and _faiss_has_gpu() else _blas_pairs
    a_block = min(QUERIES_PER_BLOCK, max(PRODUCTS_PER_BLOCK // len(vectors), 1))
    for start, asked, found in find(vectors, queries, k, device, a_block):
        block = slice(start, start + a_block)
        rows[block], products[block] = _order(vectors, queries[block], asked, found, k)
    return rows, products


def _order(
    vectors: NDArray[np.float32],
    queries: NDArray[np.int64],
    asked: NDArray[np.int64],
    found: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each query's k best of the pairs (asked: index into queries, found: row)."""
    product = inner_products(vectors, queries[asked], vectors, found).astype(np.float32)
    order = np.lexsort((found, -product, asked))
    begins = np.searchsorted(asked[order], np.arange(len(queries)))
    best = order[begins[:, None] + np.arange(k)]
    return found[best], product[best]


def _blas_pairs(
    vectors: NDArray[np.float32], queries: NDArray[np.int64], k: int, device: str, a_block: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (first query of a block, asked, found): all pairs that could be among the k best."""
    import torch

    everything = torch.from_numpy(vectors).to(device)
    # Two products may each be off by d u; the factor 2 more covers the rounding of lengths.
    margin = (vectors.shape[1] + 4) * 2.0**-22
    for start in range(0, len(queries), a_block):
        rows = torch.from_numpy(queries[start : start + a_block]).to(device)
        with torch.no_grad():
            products = everything[rows] @ everything.T
            products[torch.arange(len(rows), device=device), rows] = -torch.inf
            weakest = torch.topk(products, k, dim=1).values[:, -1:]
            pairs = torch.nonzero(products >= weakest - margin).cpu().numpy()
        itself = pairs[:, 1] == queries[start + pairs[:, 0]]
        yield start, pairs[~itself, 0], pairs[~itself, 1]


def _faiss_has_gpu() -> bool:
    return hasattr(import_faiss(), "StandardGpuResources")


def _faiss_pairs(
    vectors: NDArray[np.float32], queries: NDArray[np.int64], k: int, device: str, a_block: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield as _blas_pairs does, from a flat FAISS index: on the GPU where device names one."""
    faiss = import_faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    if device.startswith("cuda"):
        card = int(device.partition(":")[2] or 0)
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), card, index)
    index.add(vectors)
    wanted = min(k + 1 + SPARE, len(vectors))
    for start in range(0, len(queries), a_block):
        rows = queries[start : start + a_block]
        _, found = index.search(vectors[rows], wanted)
        asked = np.repeat(np.arange(len(rows)), wanted)
        flat = found.ravel().astype(np.int64)
        kept = (flat != rows[asked]) & (flat >= 0)
        yield start, asked[kept], flat[kept]


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
    place = max(len(counts) - most, 0)
    # A sort of all would take longer than counting them.
    least = max(np.partition(counts, place)[place], 1) if most < len(counts) else 1
    some = np.flatnonzero(counts >= least)
    best = some[np.lexsort((some, -counts[some]))[:most]]
    return best, counts[best]


def center(embeddings: EmbeddingSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (embeddings minus their mean, scaled to length 1; the mean).

    Raw embeddings all lean the same way; without the mean, cosines tell images apart better.
    A row equal to the mean has no direction and stays 0. A block at a time: the raw embeddings
    are never in memory together.
    """
    total = np.zeros((1, embeddings.width))
    for _, block in embeddings.blocks():
        # Row by row from the first image on, so that no cut into blocks changes the sum.
        total = np.concatenate([total, block]).sum(axis=0, keepdims=True, dtype=np.float64)
    mean = (total[0] / embeddings.rows).astype(np.float32)
    unit = np.empty((embeddings.rows, embeddings.width), np.float32)
    for first, block in embeddings.blocks():
        off = block - mean
        lengths = np.sqrt(np.einsum("rd,rd->r", off, off, dtype=np.float64))
        unit[first : first + len(off)] = off / np.where(lengths > 0, lengths, 1.0)[:, None]
    return unit, mean


def _write_index(
    faiss: ModuleType, out_dir: Path, centered: NDArray[np.float32], mean: NDArray[np.float32]
) -> None:
    """Write an exact index over float16 copies of the centered embeddings, and their mean."""
    kinds = faiss.ScalarQuantizer
    index = faiss.IndexScalarQuantizer(centered.shape[1], kinds.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.add(centered)
    with draft(out_dir / IMAGE_INDEX) as unfinished:
        faiss.write_index(index, str(unfinished))
    with draft(out_dir / IMAGE_MEAN) as unfinished, unfinished.open("wb") as file:
        np.save(file, mean)


def search_images(
    neighbors_dir: Path, embedding: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (images, cosines) nearest to one raw embedding (dimension,), nearest first."""
    faiss = import_faiss()
    index = faiss.read_index(str(neighbors_dir / IMAGE_INDEX))
    off = embedding - np.load(neighbors_dir / IMAGE_MEAN, allow_pickle=False)
    query = (off / max(float(np.linalg.norm(off)), 1e-30)).astype(np.float32)
    cosines, images = index.search(query[None], min(k, index.ntotal))
    return images[0], cosines[0]


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a search for near misses looks at."""

    sae: SAE
    embeddings: EmbeddingSet
    centered: NDArray[np.float32]
    """(image, dimension) of length 1."""
    by_feature: FeatureActivations


def near_misses(around: _Surroundings, tops: pa.Table, job: Job) -> pa.Table:
    """Return images that look like a feature's top images and on which it does not fire.

    For each of the first top images the nearest such image is taken, if there is one among its
    nearest `near_miss_pool` that is no duplicate of it; an image already taken for this feature
    is not taken twice.

    Args:
        around: SAE, embeddings and activations.
        tops: feature, rank, image of all top images, ordered.
        job: Settings and device.

    Returns:
        feature, rank, image, top_image, similarity (cosine of centered embeddings),
        pre_activation (how far below firing).
    """
    settings: NeighborsSettings = job.settings
    feature, rank, image = (np.asarray(tops[name]) for name in ("feature", "rank", "image"))
    chosen = rank < settings.near_miss_top_images
    feature, image = feature[chosen].astype(np.int64), image[chosen].astype(np.int64)
    asked, which = np.unique(image, return_inverse=True)
    pool, similarity = exact_top(
        around.centered, asked, settings.near_miss_pool, job.runtime.device
    )
    edges = np.searchsorted(feature, np.arange(len(around.by_feature) + 1))
    rows: list[tuple[int, int, int, int, float]] = []
    for one in range(len(around.by_feature)):
        mine = which[edges[one] : edges[one + 1]]
        fires, _ = around.by_feature[one]
        twin = similarity[mine] >= settings.duplicate_cosine
        found = _first_outside(pool[mine], fires, twin)
        taken: set[int] = set()
        for query, column in zip(mine, found, strict=True):
            near = int(pool[query, column]) if column >= 0 else -1
            if near < 0 or near in taken or len(taken) == settings.near_misses:
                continue
            rows.append(
                (one, len(taken), near, int(asked[query]), float(similarity[query, column]))
            )
            taken.add(near)
    return _near_miss_table(around, rows)


def _first_outside(
    pool: NDArray[np.int64], fires: NDArray[np.int64], twin: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return, per row of pool, the first column that neither fires nor is a twin; else -1."""
    if not pool.size:
        return np.full(len(pool), -1)
    outside = ~np.isin(pool, fires, kind="sort") & ~twin
    return np.where(outside.any(axis=1), outside.argmax(axis=1), -1)


def _near_miss_table(
    around: _Surroundings, rows: list[tuple[int, int, int, int, float]]
) -> pa.Table:
    import pyarrow as pa

    feature, rank, image, top_image, similarity = (
        (np.array(column) for column in zip(*rows, strict=True)) if rows else [np.empty(0)] * 5
    )
    images, row = np.unique(image.astype(np.int64), return_inverse=True)
    if len(images):
        pre = pre_activations(
            around.sae, around.embeddings.take(images), row, feature.astype(np.int64)
        )
    else:
        pre = np.empty(0, np.float32)
    columns: dict[str, NDArray[Any]] = {
        "feature": feature.astype(np.int32),
        "rank": rank.astype(np.int32),
        "image": image.astype(np.int64),
        "top_image": top_image.astype(np.int64),
        "similarity": similarity.astype(np.float32),
        "pre_activation": pre,
    }
    return pa.table(columns)
