"""Find images that repeat another one, by embedding and, where there are pictures, by hash.

The same picture under many addresses is common in collections from the web. Candidates come
from 128-bit sketches of the centered embeddings, sorted several times and compared with the
next ones, so that time grows with n log n and memory by some 60 bytes an image. Each
candidate is then decided by its cosine, so that none is marked that isn't alike; a pair that
no sorting brings together is missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.base.float64 import inner_products
from atlas.inputs.embeddings import EmbeddingSet, read_blocks

SKETCH_BYTES = 16
SEED = 0
AHEAD = 2
"""Next ones in a sorted list that each sketch is compared with."""
LOOSE_COSINE = 0.9
"""Least cosine of two pictures whose difference hashes are equal."""
MEAN_ROWS = 65_536
"""Rows, evenly spread, that the mean embedding is taken of."""
PAIRS_PER_BLOCK = 16_384
ONES = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclass(frozen=True, slots=True)
class Twins:
    """Which image repeats which."""

    original: NDArray[np.int64]
    """(image,) the lowest image that it repeats; its own number where it repeats none."""
    firsts: tuple[int, ...]
    """Number of the first image of each shard."""

    @property
    def count(self) -> int:
        """How many images repeat another."""
        return int((self.original != np.arange(len(self.original))).sum())

    def first_image(self, shard: int) -> int:
        """Return the number of a shard's first image."""
        return self.firsts[shard]


@dataclass(frozen=True, slots=True)
class _Views:
    """All that two images are compared by."""

    embeddings: EmbeddingSet
    mean: NDArray[np.float32]
    files: NDArray[np.int64]
    """(image,) equal numbers for equal files; empty where none was seen."""
    hashes: NDArray[np.int64]
    """(image,) difference hashes; empty where no picture was seen."""
    cosine: float

    def alike(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (pair,) whether two images show the same."""
        found = np.empty(len(left), bool)
        for start in range(0, len(left), PAIRS_PER_BLOCK):
            block = slice(start, start + PAIRS_PER_BLOCK)
            cosine = self._cosines(left[block], right[block])
            least = np.full(len(cosine), self.cosine)
            if len(self.files):
                same = self.hashes[left[block]] == self.hashes[right[block]]
                least[same] = min(self.cosine, LOOSE_COSINE)
                least[self.files[left[block]] == self.files[right[block]]] = -1.0
            found[block] = cosine >= least
        return found

    def _cosines(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        images, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        rows = _take(self.embeddings, images) - self.mean
        a, b = places[: len(left)], places[len(left) :]
        own = np.arange(len(rows))
        lengths = np.sqrt(inner_products(rows, own, rows, own))
        both = lengths[a] * lengths[b]
        products = inner_products(rows, a, rows, b)
        # Two images that both are the mean are the same; else 0 / 0.
        return np.where(both > 0, products / np.where(both > 0, both, 1), lengths[a] == lengths[b])


def find_twins(embeddings: EmbeddingSet, hashes: Sequence[Path], cosine: float) -> Twins:
    """Find the images that repeat an earlier one.

    Args:
        embeddings: Of all images.
        hashes: A table a shard with sha256 and dhash of its pictures; a null sha256 is no image.
        cosine: Least cosine of centered embeddings of two images that repeat each other. Equal
            files always do; equal difference hashes from LOOSE_COSINE on.
    """
    firsts = tuple(shard.first_image for shard in embeddings.shards)
    own = np.arange(embeddings.rows)
    mean = _mean(embeddings)
    files, differences = _hashes(hashes)
    views = _Views(embeddings, mean, files, differences, cosine)
    left, right = _candidates(_sketches(embeddings, mean), files, differences)
    alike = views.alike(left, right)
    original = own.copy()
    left, right = left[alike], right[alike]
    open_ = np.unique(np.concatenate([left, right]))
    while len(open_):
        leader = _lowest_linked(own, left, right)[open_]
        true = (leader == open_) | views.alike(open_, leader)
        original[open_[true]] = leader[true]
        # Linked by way of others only: they may still repeat each other.
        left_out = np.zeros(embeddings.rows, bool)
        left_out[open_[~true]] = True
        kept = left_out[left] & left_out[right]
        left, right, open_ = left[kept], right[kept], open_[~true]
    return Twins(original, firsts)


def _lowest_linked(
    own: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return (image,) the lowest image that links lead to."""
    lowest = own.copy()
    while True:
        low = np.minimum(lowest[left], lowest[right])
        after = lowest.copy()
        np.minimum.at(after, left, low)
        np.minimum.at(after, right, low)
        after = after[after]
        if np.array_equal(after, lowest):
            return lowest
        lowest = after


def _mean(embeddings: EmbeddingSet) -> NDArray[np.float32]:
    step = max(1, embeddings.rows // MEAN_ROWS)
    total, n = np.zeros(embeddings.width, np.float64), 0
    for _, block in _blocks(embeddings):
        rows = block[::step].astype(np.float64)
        total, n = total + rows.sum(axis=0), n + len(rows)
    return (total / n).astype(np.float32)


def _blocks(embeddings: EmbeddingSet) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Yield (number of the first image, rows) without looking at each number once more."""
    for shard in embeddings.shards:
        for start, block in read_blocks(shard.path, _mapped(shard.path)):
            yield shard.first_image + start, block


def _mapped(path: Path) -> NDArray[np.floating]:
    return np.lib.format.open_memmap(path, mode="r")


def _take(embeddings: EmbeddingSet, images: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the embeddings of images, in ascending order."""
    found = np.empty((len(images), embeddings.width), np.float32)
    for shard in embeddings.shards:
        begin, end = np.searchsorted(images, [shard.first_image, shard.first_image + shard.rows])
        if begin < end:
            found[begin:end] = _mapped(shard.path)[images[begin:end] - shard.first_image]
    return found


def _sketches(embeddings: EmbeddingSet, mean: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (image, byte) on which side of random planes each centered embedding lies."""
    shape = (embeddings.width, 8 * SKETCH_BYTES)
    planes = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    level = mean @ planes
    found = np.empty((embeddings.rows, SKETCH_BYTES), np.uint8)
    for first, block in _blocks(embeddings):
        sides = block.astype(np.float32) @ planes > level
        found[first : first + len(block)] = np.packbits(sides, axis=1)
    return found


def _candidates(
    sketches: NDArray[np.uint8], files: NDArray[np.int64], hashes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of images that are worth a closer look, the lower one left."""
    n = len(sketches)
    keys: list[NDArray[np.int64]] = []
    for turn in range(SKETCH_BYTES):
        turned = np.ascontiguousarray(np.roll(sketches, -turn, axis=1)[:, :8])
        order = np.argsort(turned.view(">u8")[:, 0].astype(np.uint64), kind="stable")
        for step in range(1, AHEAD + 1):
            one, other = order[:-step], order[step:]
            differ = ONES[sketches[one] ^ sketches[other]].sum(axis=1, dtype=np.uint16)
            near = differ <= MOST_BITS
            keys.append(_pair_keys(one[near], other[near], n))
    for values in (files, hashes):
        order = np.argsort(values, kind="stable")
        same = values[order[:-1]] == values[order[1:]]
        keys.append(_pair_keys(order[:-1][same], order[1:][same], n))
    pairs = np.unique(np.concatenate(keys))
    return pairs // n, pairs % n


MOST_BITS = 24
"""Bits of 128 in which the sketches of two images may differ: 8 are expected at a cosine of 0.98."""


def _pair_keys(one: NDArray[np.int64], other: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.minimum(one, other) * n + np.maximum(one, other)


def _hashes(tables: Sequence[Path]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (image,) numbers of equal files, and difference hashes."""
    if not tables:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    names: list[str] = []
    hashes: list[NDArray[np.int64]] = []
    for path in tables:
        table = read_parquet(path, ["sha256", "dhash", "why"])
        used = table.filter(table["why"].is_null())
        names += used["sha256"].to_pylist()
        hashes.append(used["dhash"].to_numpy().astype(np.int64))
    _, files = np.unique(np.array(names), return_inverse=True)
    return files.astype(np.int64), np.concatenate(hashes)
