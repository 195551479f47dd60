"""What search by meaning needs: a prototype of each feature, and the nearest features of each word."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import draft, read_parquet, write_json
from atlas.catalog.figures import Figure
from atlas.inputs.embeddings import EmbeddingSet, read_embeddings
from atlas.inputs.vocabulary import drop_words, read_vocabulary
from atlas.run.stage import Job
from atlas.study.meanings import list_words, recall_of_pairs, write_lists


def write_search(
    job: Job, alive: NDArray[np.int64], hidden: Sequence[int], gone: Sequence[str]
) -> list[Figure]:
    """Write what look-ups by meaning need: a prototype a live feature, the vocabulary, word lists.

    A feature's prototype is the mean of its top images' embeddings, weighted by activation,
    each embedding at unit length and centered; decoder directions themselves are known to
    lie off the directions of text.

    Args:
        job: The stage's.
        alive: (feature,) numbers of the live features, ascending.
        hidden: Those that no search may show.
        gone: Case-folded texts that no word may hold.

    Returns:
        How much the lists find, where there is a vocabulary with pairs of words.
    """
    folder = job.out_dir / "search"
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(_prototypes(job, alive), allow_pickle=False) as arrays:
        prototypes, center = arrays["prototypes"], arrays["center"]
    with draft(folder / "prototypes.npy") as path, path.open("wb") as file:
        np.save(file, prototypes.astype(np.float16))
    with draft(folder / "features.npy") as path, path.open("wb") as file:
        np.save(file, alive.astype(np.int32))
    with draft(folder / "center.npy") as path, path.open("wb") as file:
        np.save(file, center.astype(np.float32))
    write_json(folder / "search.json", {"width": len(center), "features": len(alive)})
    if "vocabulary" not in job.inputs:
        return []
    shutil.copytree(job.inputs["vocabulary"], folder / "vocabulary", dirs_exist_ok=True)
    drop_words(folder / "vocabulary", gone)
    shown = ~np.isin(alive, hidden)
    return write_word_lists(folder, alive[shown].astype(np.int32), prototypes[shown])


def _prototypes(job: Job, alive: NDArray[np.int64]) -> Path:
    """Return the part that holds the prototypes and the center of the embeddings."""

    def write(path: Path) -> None:
        embeddings = read_embeddings(job.inputs["embed"])
        top = read_parquet(job.inputs["scan"] / "top_images.parquet")
        prototypes, center = make_prototypes(embeddings, top, alive)
        with path.open("wb") as file:
            np.savez(file, prototypes=prototypes, center=center)

    key = {name: job.digests[name] for name in ("embed", "scan")}
    return job.part("prototypes", ".npz", key, write)


def write_word_lists(
    folder: Path, numbers: NDArray[np.int32], prototypes: NDArray[np.float32]
) -> list[Figure]:
    """Write the nearest features of every word, and return how much they find of pairs of words.

    Args:
        folder: The search folder, with the vocabulary in it.
        numbers: (feature,) which features may be shown.
        prototypes: (feature, d) theirs.
    """
    vocabulary = read_vocabulary(folder / "vocabulary")
    lists = list_words(vocabulary, numbers, prototypes)
    write_lists(folder, lists)
    recall = recall_of_pairs(vocabulary, lists)
    if recall is None:
        return []
    figure = Figure(
        "search_recall_at_10", recall.share, "share", recall.n, recall.null, "words of another pair",
        note="of the ten features nearest to a pair of words by the text encoder, how many the site finds by adding up the lists of the two words",
    )  # fmt: skip
    return [figure]


def make_prototypes(
    embeddings: EmbeddingSet, top: Any, alive: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return each live feature's prototype and the mean unit embedding.

    Args:
        embeddings: The scanned set; each shard is read once.
        top: Table with columns feature, image, activation.
        alive: (feature,) numbers of the live features, ascending.

    Returns:
        (live feature, d) unit rows, and (d,) the mean of all unit embeddings.
    """
    place = np.searchsorted(alive, top["feature"].to_numpy())
    image = top["image"].to_numpy()
    weight = top["activation"].to_numpy().astype(np.float64)
    by_image = np.argsort(image, kind="stable")
    place, image, weight = place[by_image], image[by_image], weight[by_image]
    sums = np.zeros((len(alive), embeddings.width))
    total = np.zeros(embeddings.width)
    for shard in embeddings.shards:
        rows = np.asarray(embeddings.read_shard(shard), dtype=np.float32)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        total += rows.sum(axis=0, dtype=np.float64)
        low, high = np.searchsorted(image, [shard.first_image, shard.first_image + shard.rows])
        picked = rows[image[low:high] - shard.first_image]
        _add_rows(sums, place[low:high], picked, weight[low:high])
    center = total / embeddings.rows
    mass = np.bincount(place, weights=weight, minlength=len(alive))
    sums -= mass[:, None] * center
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32), center


def _add_rows(
    sums: NDArray[np.float64],
    place: NDArray[np.int64],
    rows: NDArray[np.float32],
    weight: NDArray[np.float64],
) -> None:
    """Add weight * row to sums[place], in place, in the order given within each place."""
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    if len(order):
        weighted = rows[order] * weight[order][:, None]
        sums[place[order][starts]] += np.add.reduceat(weighted, starts, axis=0)
