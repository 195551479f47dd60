"""Every activation again, feature by feature, with medians and the images of each quantile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import draft
from atlas.sae.activations import BY_FEATURE, ImageActivations, allocate, make_tensors, pack_ids
from atlas.scan.encode import CHUNK_IMAGES
from atlas.scan.quantiles import pick_quantiles
from atlas.scan.tally import Tally, places_in_groups
from atlas.settings.scan import ScanSettings

if TYPE_CHECKING:
    import pyarrow as pa

FIRINGS_PER_BLOCK = 4_000_000
"""Firings sorted at once when the feature side is finished."""
SCRATCH = "firings.tmp"


def write_by_feature(
    out_dir: Path, whole: Tally, settings: ScanSettings
) -> tuple[NDArray[np.float32], pa.Table]:
    """Write the activations feature by feature; return (feature,) medians and the picks."""
    starts = np.concatenate([[0], np.cumsum(whole.count)]).astype(np.int64)
    scratch = out_dir / SCRATCH
    image, half = _sort_by_feature(ImageActivations(out_dir), starts, scratch)
    medians = np.full(len(whole.count), np.nan, np.float32)
    picks: list[pa.Table] = []
    far: list[dict[str, NDArray[Any]]] = []
    for first, last in _feature_blocks(starts):
        block = slice(int(starts[first]), int(starts[last]))
        owner = np.repeat(np.arange(first, last), whole.count[first:last])
        images = image[block].astype(np.int64)
        order = _strongest_first(owner, half[block])
        activation = half[block][order].astype(np.float32)
        medians[first:last] = _medians(activation, whole.count[first:last])
        picks.append(pick_quantiles(owner, images[order], activation, settings))
        # In place: what is packed takes no more room than what it replaces.
        packed = pack_ids(starts[first : last + 1] - block.start, images, "image")
        image[block] = packed["image_low"]
        packed["image_overflow_at"] += block.start
        far.append({name: packed[name] for name in packed if name != "image_low"})
    with draft(out_dir / BY_FEATURE) as unfinished:
        _write_file(unfinished, starts, image, half, far)
    del image, half
    scratch.unlink()
    return medians, _concat(picks)


def _write_file(
    path: Path,
    starts: NDArray[np.int64],
    low: NDArray[np.uint32],
    half: NDArray[np.float16],
    far: Sequence[dict[str, NDArray[Any]]],
) -> None:
    """Write the activations feature by feature, a piece at a time: they may exceed the memory."""
    few = {name: np.concatenate([one[name] for one in far]) for name in far[0]}
    few["start"] = starts
    shapes = {name: (array.dtype, array.shape) for name, array in few.items()}
    shapes["activation"] = (np.dtype(np.float16), half.shape)
    shapes["image_low"] = (np.dtype(np.uint16), low.shape)
    rooms = make_tensors(path, shapes)
    for name, array in few.items():
        rooms[name][...] = array
    for start in range(0, len(half), FIRINGS_PER_BLOCK):
        piece = slice(start, start + FIRINGS_PER_BLOCK)
        rooms["activation"][piece] = half[piece]
        rooms["image_low"][piece] = low[piece]


def _concat(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(tables).combine_chunks()


def _sort_by_feature(
    by_image: ImageActivations, starts: NDArray[np.int64], scratch: Path
) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
    """Return (image, activation) of every firing, features in turn, images ascending.

    The arrays lie in a scratch file: with billions of firings they exceed the memory.
    """
    n = int(starts[-1])
    allocate(scratch, 6 * max(n, 1))
    table = np.memmap(scratch, np.uint16, mode="r+")
    image, activation = table[: 2 * n].view(np.uint32), table[2 * n : 3 * n].view(np.float16)
    free = starts[:-1].copy()
    for block in by_image.blocks(CHUNK_IMAGES):
        n_images = len(block.starts) - 1
        row = np.repeat(np.arange(n_images, dtype=np.int64), np.diff(block.starts))
        order = np.argsort(block.features, kind="stable")
        feature = block.features[order]
        place = free[feature] + places_in_groups(feature)
        image[place] = (row[order] + block.first_image).astype(np.uint32)
        activation[place] = block.activations[order]
        free += np.bincount(feature, minlength=len(free))
    return image, activation


def _feature_blocks(starts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) features that have about as many firings as fit in memory."""
    n_features = len(starts) - 1
    goals = np.arange(0, starts[-1], FIRINGS_PER_BLOCK)
    edges = np.unique([0, *(np.searchsorted(starts, goals, side="right") - 1), n_features])
    yield from pairwise(int(edge) for edge in edges)


def _strongest_first(
    owner: NDArray[np.int64], activation: NDArray[np.float16]
) -> NDArray[np.int64]:
    """Return the order that leaves each owner's entries together, strongest first, ties as given.

    Args:
        owner: (firing,) feature, ascending.
        activation: (firing,) greater than 0.
    """
    # One sort of one number each: owner, activation (positive float16 order as their bits), place.
    place_bits = max(len(owner) - 1, 1).bit_length()
    weakness = 0xFFFF - activation.view(np.uint16).astype(np.uint64)
    key = (owner - owner[:1]).astype(np.uint64) << np.uint64(16) | weakness
    assert not len(key) or int(key[-1]) >> (64 - place_bits) == 0, (len(key), int(key[-1]))
    key = key << np.uint64(place_bits) | np.arange(len(key), dtype=np.uint64)
    key.sort()
    return (key & np.uint64((1 << place_bits) - 1)).astype(np.int64)


def _medians(activation: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return each feature's median activation where it fires; NaN for dead ones.

    Args:
        activation: (firing,) ordered by feature, then by strength.
        counts: (feature,) firings.
    """
    ordered = np.append(activation.astype(np.float64), np.nan)
    begins = np.cumsum(counts) - counts
    low = np.where(counts > 0, begins + (counts - 1) // 2, len(ordered) - 1)
    high = np.where(counts > 0, begins + counts // 2, len(ordered) - 1)
    medians: NDArray[np.float32] = ((ordered[low] + ordered[high]) / 2).astype(np.float32)
    return medians
