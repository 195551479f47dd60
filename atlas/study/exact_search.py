"""Exact nearest rows by inner product: float32 products say where to look, float64 ones decide.

Float32 products, by BLAS or by FAISS, merely say which pairs could be among the nearest; their
order is that of float64. So the answer does not depend on threads, blocks or processors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import inner_products
from atlas.study.image_index import faiss_has_gpu, import_faiss, to_card

QUERIES_PER_BLOCK = 512
PRODUCTS_PER_BLOCK = 1 << 26
"""Inner products held at once, 256 MB of them: with millions of rows fewer queries make a block."""
SPARE = 32
"""More that FAISS is asked for than is kept, as its own order is only float32's."""


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
    find = _faiss_pairs if device.startswith("cuda") and faiss_has_gpu() else _blas_pairs
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


def _faiss_pairs(
    vectors: NDArray[np.float32], queries: NDArray[np.int64], k: int, device: str, a_block: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield as _blas_pairs does, from a flat FAISS index: on the GPU where device names one."""
    faiss = import_faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index = to_card(index, device)
    index.add(vectors)
    wanted = min(k + 1 + SPARE, len(vectors))
    for start in range(0, len(queries), a_block):
        rows = queries[start : start + a_block]
        _, found = index.search(vectors[rows], wanted)
        asked = np.repeat(np.arange(len(rows)), wanted)
        flat = found.ravel().astype(np.int64)
        kept = (flat != rows[asked]) & (flat >= 0)
        yield start, asked[kept], flat[kept]
