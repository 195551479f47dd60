"""What is written by hand beside the library that would do it: families and repeated images.

usage: OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m tests.benchmarks.bench_by_hand [RESULT.json]

CPU seconds of one thread, on made-up data of the demo's kind. Families: spherical k-means beside
scikit-learn's KMeans of the same vectors, first centers chosen the same way, one start each; the mean
cosine of a point and its center says how good each is. Repeated images: sketches beside FAISS's exact
search for the ten nearest of every image; found is the share of planted copies that are marked.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.duplicates import find_twins
from atlas.inputs.embeddings import EmbeddingSet, Shard
from atlas.study.clusters import spherical_k_means

POINTS, WIDTH, KINDS = 8192, 256, 400
IMAGES, COPIES, COSINE = 100_000, 5_000, 0.98


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def families() -> dict[str, Any]:
    """Measure k-means at the finest level of a family tree."""
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(0)
    kinds = unit(rng.normal(size=(KINDS, WIDTH)).astype(np.float32))
    noise = rng.normal(size=(POINTS, WIDTH)).astype(np.float32)
    points = unit(kinds[rng.integers(KINDS, size=POINTS)] + 0.06 * noise)
    k = round(POINTS**0.75)
    began = time.process_time()
    labels, centers = spherical_k_means(
        points.astype(np.float64), np.ones(POINTS), k, np.random.default_rng(0)
    )
    own_s = time.process_time() - began
    own = float((points * centers[labels]).sum(axis=1).mean())
    began = time.process_time()
    fitted = KMeans(k, n_init=1, random_state=0).fit(points)
    library_s = time.process_time() - began
    library = float((points * unit(fitted.cluster_centers_)[fitted.labels_]).sum(axis=1).mean())
    return {
        "points": POINTS, "width": WIDTH, "clusters": k,
        "own_cpu_s": round(own_s, 2), "sklearn_cpu_s": round(library_s, 2),
        "own_mean_cosine": round(own, 4), "sklearn_mean_cosine": round(library, 4),
    }  # fmt: skip


def repeats(folder: Path) -> dict[str, Any]:
    """Measure the search for repeated images."""
    import faiss

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    base = rng.normal(size=(IMAGES - COPIES, WIDTH)).astype(np.float32)
    source = rng.permutation(len(base))[:COPIES]
    copies = base[source] + 0.15 * rng.normal(size=(COPIES, WIDTH)).astype(np.float32)
    np.save(folder / "0000.npy", np.concatenate([base, copies]).astype(np.float16))
    began = time.process_time()
    shard = Shard("0000", folder / "0000.npy", IMAGES, 0, "")
    found = find_twins(EmbeddingSet(WIDTH, IMAGES, {}, False, (shard,)), (), COSINE).original
    own_s = time.process_time() - began
    own = float((found[len(base) :] == source).mean())
    began = time.process_time()
    rows = np.load(folder / "0000.npy").astype(np.float32)
    rows = unit(rows - rows.mean(axis=0))
    index = faiss.IndexFlatIP(WIDTH)
    index.add(rows)
    cosines, others = index.search(rows[len(base) :], 10)
    part_s = time.process_time() - began
    marked = [
        int(near[far >= COSINE].min()) for far, near in zip(cosines, others, strict=True)
    ]  # the image itself is always near
    return {
        "images": IMAGES, "width": WIDTH, "copies": COPIES,
        "own_cpu_s": round(own_s, 2), "faiss_cpu_s_all_images": round(part_s * IMAGES / COPIES, 1),
        "own_found": round(own, 4), "faiss_found": round(float((np.array(marked) == source).mean()), 4),
    }  # fmt: skip


def main() -> None:
    """Measure both and print, or write, what came out."""
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "command": "python -m tests.benchmarks.bench_by_hand",
            "families": families(),
            "repeats": repeats(Path(folder)),
        }
    text = json.dumps(figures, indent=1) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
