"""The index of images: which of them lie nearest to a vector, by FAISS.

Up to EXACT_IMAGES every image is compared. Beyond, images are put into lists by their nearest of
some thousand centers, and a search looks into a few lists only (FAISS: IVF); each image is kept
as 256 principal components of a byte each, 1.3 GB for five million. Centers and components are
learned from a sample, and no stage holds all embeddings at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import MissingError
from atlas.base.files import draft
from atlas.inputs.embeddings import EmbeddingSet

IMAGE_INDEX = "image_index.faiss"
IMAGE_MEAN = "image_mean.npy"
EXACT_IMAGES = 100_000
COMPONENTS = 256
LISTS_LOOKED_INTO = 1 / 32
"""Share of the lists that a search looks into, but MIN_LISTS at least."""
MIN_LISTS = 16
SAMPLE_PER_LIST = 64
"""Images from which centers are learned; FAISS warns below 39."""
COMPONENT_SAMPLE = 65_536
SEED = 0


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


def faiss_has_gpu() -> bool:
    """Return whether the installed FAISS can use cards."""
    return hasattr(import_faiss(), "StandardGpuResources")


def to_card(index: Any, device: str) -> Any:
    """Return an index on the card that a torch device names, or itself."""
    if not (device.startswith("cuda") and faiss_has_gpu()):
        return index
    faiss = import_faiss()
    card = int(device.partition(":")[2] or 0)
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), card, index)


def is_exact(n_images: int) -> bool:
    """Return whether an index of so many images compares every one."""
    return n_images <= EXACT_IMAGES


def mean_embedding(embeddings: EmbeddingSet) -> NDArray[np.float32]:
    """Return the mean of all embeddings, (dimension,), the same however they are cut into blocks."""
    total = np.zeros((1, embeddings.width))
    for _, block in embeddings.blocks():
        # Row by row from the first image on, so that no cut into blocks changes the sum.
        total = np.concatenate([total, block]).sum(axis=0, keepdims=True, dtype=np.float64)
    mean: NDArray[np.float32] = (total[0] / embeddings.rows).astype(np.float32)
    return mean


def center(block: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings (row, dimension) less the mean, scaled to length 1.

    Raw embeddings all lean the same way; without the mean, cosines tell images apart better.
    A row equal to the mean has no direction and stays 0.
    """
    off = block - mean
    lengths = np.sqrt(np.einsum("rd,rd->r", off, off, dtype=np.float64))
    centered: NDArray[np.float32] = (off / np.where(lengths > 0, lengths, 1.0)[:, None]).astype(
        np.float32, copy=False
    )
    return centered


def center_all(embeddings: EmbeddingSet, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return every embedding centered, (image, dimension): in memory at once, for small sets."""
    unit = np.empty((embeddings.rows, embeddings.width), np.float32)
    for first, block in embeddings.blocks():
        unit[first : first + len(block)] = center(block, mean)
    return unit


def build_index(embeddings: EmbeddingSet, mean: NDArray[np.float32]) -> Any:
    """Return a FAISS index of the centered embeddings, by inner product.

    Args:
        embeddings: All images.
        mean: Their mean, (dimension,).
    """
    index = _empty_index(embeddings, mean)
    for _, block in embeddings.blocks():
        index.add(center(block, mean))
    return index


def _empty_index(embeddings: EmbeddingSet, mean: NDArray[np.float32]) -> Any:
    faiss = import_faiss()
    kinds, product = faiss.ScalarQuantizer, faiss.METRIC_INNER_PRODUCT
    if is_exact(embeddings.rows):
        return faiss.IndexScalarQuantizer(embeddings.width, kinds.QT_fp16, product)
    width = min(COMPONENTS, embeddings.width)
    n_lists = n_lists_of(embeddings.rows)
    components = faiss.PCAMatrix(embeddings.width, width)
    components.train(_sample(embeddings, mean, COMPONENT_SAMPLE))
    centers = faiss.IndexFlatIP(width)
    lists = faiss.IndexIVFScalarQuantizer(centers, width, n_lists, kinds.QT_8bit, product)
    sample = _sample(embeddings, mean, SAMPLE_PER_LIST * n_lists, components)
    lists.cp.seed = SEED + 1
    lists.train(sample)
    lists.nprobe = max(MIN_LISTS, round(n_lists * LISTS_LOOKED_INTO))
    index = faiss.IndexPreTransform(components, lists)
    # Python holds what the index points to; without this both would be freed at return.
    index.referenced_objects = [components, lists, centers]
    return index


def n_lists_of(n_images: int) -> int:
    """Return into how many lists images are put: a power of two near twice the root of their number."""
    return int(2 ** round(math.log2(2 * math.sqrt(n_images))))


def _sample(
    embeddings: EmbeddingSet, mean: NDArray[np.float32], n: int, components: Any = None
) -> NDArray[np.float32]:
    """Return centered embeddings of n images drawn at random, or their components, in order."""
    random = np.random.default_rng(SEED)
    rows = np.sort(random.choice(embeddings.rows, min(n, embeddings.rows), replace=False))
    found = []
    for some in np.array_split(rows, max(1, len(rows) // 8192)):
        block = center(embeddings.take(some), mean)
        found.append(block if components is None else components.apply(block))
    return np.concatenate(found)


def write_index(out_dir: Path, index: Any, mean: NDArray[np.float32]) -> None:
    """Keep an index and the mean that its images were centered by."""
    with draft(out_dir / IMAGE_INDEX) as unfinished:
        import_faiss().write_index(index, str(unfinished))
    with draft(out_dir / IMAGE_MEAN) as unfinished, unfinished.open("wb") as file:
        np.save(file, mean)


def search_images(
    neighbors_dir: Path, embedding: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (images, cosines) nearest to one raw embedding (dimension,), nearest first.

    Args:
        neighbors_dir: The neighbors stage's folder; its index is mapped, not read as a whole.
        embedding: Raw, of the encoder that made the atlas's.
        k: Images wanted; fewer if there are no more.
    """
    faiss = import_faiss()
    index = faiss.read_index(str(neighbors_dir / IMAGE_INDEX), faiss.IO_FLAG_MMAP)
    mean = np.load(neighbors_dir / IMAGE_MEAN, allow_pickle=False)
    query = center(embedding[None].astype(np.float32), mean)
    cosines, images = index.search(query, min(k, index.ntotal))
    found = images[0] >= 0
    return images[0][found], cosines[0][found]


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of the exact answer an index finds, on a sample of queries."""

    share: float
    """Of each query's nearest NEAREST images, the share found."""
    n_queries: int


NEAREST = 8
RECALL_QUERIES = 128


def measure_recall(
    embeddings: EmbeddingSet, mean: NDArray[np.float32], index: Any, images: NDArray[np.int64]
) -> Recall:
    """Compare an index with looking at every image, on a sample of some images as queries."""
    random = np.random.default_rng(SEED)
    chosen = np.sort(random.choice(images, min(RECALL_QUERIES, len(images)), replace=False))
    queries = center(embeddings.take(chosen), mean)
    _, found = index.search(queries, NEAREST + 1)
    exact = _nearest_of_all(embeddings, mean, queries)
    shares = [
        len(np.intersect1d(one, other)) / len(other)
        for one, other in zip(found, exact, strict=True)
    ]
    return Recall(float(np.mean(shares)), len(chosen))


def _nearest_of_all(
    embeddings: EmbeddingSet, mean: NDArray[np.float32], queries: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the NEAREST + 1 nearest images of each query, itself among them: (query, image)."""
    cosines = np.empty((len(queries), 0), np.float32)
    images = np.empty((len(queries), 0), np.int64)
    for first, block in embeddings.blocks():
        numbers = np.broadcast_to(np.arange(first, first + len(block)), (len(queries), len(block)))
        cosines = np.concatenate([cosines, queries @ center(block, mean).T], axis=1)
        images = np.concatenate([images, numbers], axis=1)
        kept = min(NEAREST + 1, cosines.shape[1])
        best = np.argpartition(-cosines, kept - 1, axis=1)[:, :kept]
        cosines = np.take_along_axis(cosines, best, axis=1)
        images = np.take_along_axis(images, best, axis=1)
    return images
