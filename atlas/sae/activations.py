"""Sparse activations on disk: how they are packed, and how one feature or image is read.

A packed list of rows holds ascending ids as differences: the low 16 bits of each, and a
short list of the few that need more. The first id of a row counts from 0.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from atlas.base.compiled import find_loops
from atlas.base.errors import InputError, MissingError
from atlas.base.files import read_json

BY_FEATURE = "by_feature.safetensors"
SCAN = "scan.json"
PAIRS_PER_BLOCK = 8_000_000
"""Firings beside other firings that are looked at together."""
WORTH_COMPILING = 2_000_000
"""Firings of a scan from which on a compiled loop is worth its start, most of a second."""
HALF_SMALLEST = np.float32(2.0**-24)
"""Least positive float16; weaker activations are stored as this, never as 0."""
HALF_LARGEST = np.float32(65504.0)
"""Greatest float16; stronger activations are stored as this."""
DTYPES = {
    "I64": np.int64,
    "F64": np.float64,
    "F32": np.float32,
    "U32": np.uint32,
    "I32": np.int32,
    "F16": np.float16,
    "U16": np.uint16,
}
"""Names in a safetensors header -> numpy dtypes, in the order in which the format has them."""


def to_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round activations to float16 for storage; all stay greater than 0 and finite.

    What is lost: from 6.1e-5 to 65504 at most 0.05 % of a value; below that at most 6e-8;
    above it the excess. Counts, sums, maxima, histograms and top images are made from float32,
    before this; medians and the images picked of each quantile after it.
    """
    return np.clip(values, HALF_SMALLEST, HALF_LARGEST).astype(np.float16)


def pack_ids(
    starts: NDArray[np.int64], ids: NDArray[np.int64], name: str
) -> dict[str, NDArray[Any]]:
    """Pack rows of ascending ids.

    Args:
        starts: (row + 1,) where each row begins in ids, and its end.
        ids: (entry,) ascending within a row, at least 0.
        name: Prefix of the arrays' names.

    Returns:
        <name>_low (entry,) low 16 bits of each difference; <name>_overflow_at (few,) entries
        whose difference is larger; <name>_overflow (few,) its higher bits.
    """
    # Ascending ids differ by little, so 16 bits hold nearly every step; the rest go to a short list.
    steps = np.diff(ids, prepend=0)
    firsts = starts[:-1][starts[:-1] < starts[1:]]
    steps[firsts] = ids[firsts]
    far = np.flatnonzero(steps > 0xFFFF)
    return {
        f"{name}_low": (steps & 0xFFFF).astype(np.uint16),
        f"{name}_overflow_at": far.astype(np.int64),
        f"{name}_overflow": (steps[far] >> 16).astype(np.uint32),
    }


def unpack_ids(
    tensors: Mapping[str, NDArray[Any]], name: str, start: int, stop: int
) -> NDArray[np.int64]:
    """Return the ids of the one row that lies in entries start to stop."""
    steps = tensors[f"{name}_low"][start:stop].astype(np.int64)
    at = tensors[f"{name}_overflow_at"]
    if len(at):
        first, last = np.searchsorted(at, [start, stop])
        steps[at[first:last] - start] += tensors[f"{name}_overflow"][first:last].astype(
            np.int64
        ) << np.int64(16)
    ids: NDArray[np.int64] = np.cumsum(steps)
    return ids


def unpack_all_ids(
    tensors: Mapping[str, NDArray[Any]], name: str, starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the ids of some rows that follow one another; starts as in pack_ids."""
    sums = unpack_ids(tensors, name, int(starts[0]), int(starts[-1]))
    before = np.concatenate([[0], sums])[starts[:-1] - starts[0]]
    ids: NDArray[np.int64] = sums - np.repeat(before, np.diff(starts))
    return ids


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as one safetensors file; equal arrays give equal bytes."""
    shapes = {name: (array.dtype, array.shape) for name, array in tensors.items()}
    for name, room in make_tensors(path, shapes).items():
        room[...] = tensors[name]


def make_tensors(
    path: Path, shapes: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]
) -> dict[str, NDArray[Any]]:
    """Make a safetensors file and return its arrays, mapped, to be filled a piece at a time.

    The library itself would hold all of it in memory twice. Its files are the same bytes.

    Args:
        path: The file.
        shapes: Name -> (dtype, shape).
    """
    kinds = {np.dtype(kind): (rank, name) for rank, (name, kind) in enumerate(DTYPES.items())}
    header: dict[str, Any] = {}
    end = 0
    for name in sorted(shapes, key=lambda name: (kinds[shapes[name][0]][0], name)):
        dtype, shape = shapes[name]
        start, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        kind = kinds[dtype][1]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    words = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    words += b" " * (-len(words) % 8)
    allocate(path, 8 + len(words) + end)
    with path.open("r+b") as file:
        file.write(len(words).to_bytes(8, "little") + words)
    return _map_arrays(path, "r+")


def allocate(path: Path, size_bytes: int) -> None:
    """Make a file of zeros, its room on the disk taken.

    Raises:
        OSError: The disk is full; writing into a mapped file would end the process without a word.
    """
    with path.open("wb") as file:
        file.truncate(size_bytes)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size_bytes)


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file, mapped not loaded.

    Raises:
        MissingError: There is no such file.
        InputError: The file is damaged.
    """
    if not path.is_file():
        raise MissingError(f"no file at {path}; build the scan stage again")
    try:
        return _map_arrays(path, "r")
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise InputError(f"{path} is damaged ({error}); build the scan stage again") from error


def _map_arrays(path: Path, mode: Literal["r", "r+"]) -> dict[str, NDArray[Any]]:
    data = np.memmap(path, np.uint8, mode=mode)
    header_bytes = int(data[:8].view(np.uint64)[0])
    header = json.loads(data[8 : 8 + header_bytes].tobytes())
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        raw = data[8 + header_bytes + first : 8 + header_bytes + last]
        found[name] = raw.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


class FeatureActivations:
    """The images on which each feature fires, read by memory map from a scan's folder."""

    def __init__(self, scan_dir: Path) -> None:
        """Map by_feature.safetensors in the folder."""
        self._tensors = map_tensors(scan_dir / BY_FEATURE)
        self._starts = self._tensors["start"]

    def __len__(self) -> int:
        """Return the number of features, dead ones included."""
        return len(self._starts) - 1

    def __getitem__(self, feature: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return (images ascending, activations rounded to float16) of one feature."""
        start, stop = int(self._starts[feature]), int(self._starts[feature + 1])
        images = unpack_ids(self._tensors, "image", start, stop)
        return images, self._tensors["activation"][start:stop].astype(np.float32)

    def counts(self) -> NDArray[np.int64]:
        """Return (feature,) the number of images on which each fires."""
        return np.diff(self._starts)


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """The activations of some consecutive images."""

    first_image: int
    starts: NDArray[np.int64]
    """(image + 1,) where each image begins in the arrays below, and its end."""
    features: NDArray[np.int64]
    """(firing,) ascending within an image."""
    activations: NDArray[np.float32]
    """(firing,) greater than 0, rounded to float16."""


class ImageActivations:
    """The features that fire on each image, read by memory map from a scan's parts."""

    def __init__(self, scan_dir: Path) -> None:
        """Read the list of parts in the folder; parts are mapped when they are needed."""
        parts = read_json(scan_dir / SCAN)["parts"]
        self._paths = [scan_dir / part["path"] for part in parts]
        self._firsts = np.array([part["first_image"] for part in parts], np.int64)
        self._images = sum(int(part["images"]) for part in parts)
        self._open: tuple[int, dict[str, NDArray[Any]], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return self._images

    def __getitem__(self, image: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return (features ascending, activations rounded to float16) of one image."""
        if not 0 <= image < self._images:
            raise IndexError(image)
        index = int(np.searchsorted(self._firsts, image, side="right")) - 1
        tensors, starts = self._part(index)
        row = image - int(self._firsts[index])
        start, stop = int(starts[row]), int(starts[row + 1])
        features = unpack_ids(tensors, "feature", start, stop)
        return features, tensors["activation"][start:stop].astype(np.float32)

    def l0(self) -> NDArray[np.int64]:
        """Return (image,) how many features fire on each."""
        parts = [map_tensors(path)["l0"].astype(np.int64) for path in self._paths]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def blocks(self, most: int | None = None) -> Iterator[ImageBlock]:
        """Yield all images in order: a part at a time, or at most so many images of one."""
        for index, first in enumerate(self._firsts.tolist()):
            tensors, whole = self._part(index)
            n_images = len(whole) - 1
            for row in range(0, n_images, most or max(n_images, 1)):
                starts = whole[row : row + (most or n_images) + 1]
                yield ImageBlock(
                    first_image=first + row,
                    starts=starts - starts[0],
                    features=unpack_all_ids(tensors, "feature", starts),
                    activations=tensors["activation"][starts[0] : starts[-1]].astype(np.float32),
                )

    def _part(self, index: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        if self._open is None or self._open[0] != index:
            tensors = map_tensors(self._paths[index])
            starts = np.concatenate([[0], np.cumsum(tensors["l0"], dtype=np.int64)])
            self._open = (index, tensors, starts)
        return self._open[1], self._open[2]


@dataclass(frozen=True, slots=True)
class EveryFiring:
    """All activations of a scan in memory, image by image."""

    n_features: int
    starts: NDArray[np.int64]
    """(image + 1,) where each image begins in the arrays below, and its end."""
    features: NDArray[np.int32]
    """(firing,) ascending within an image."""
    activations: NDArray[np.float16]
    """(firing,) greater than 0."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.starts) - 1

    def count_together(self, images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (feature,) on how many of these images each feature fires."""
        loops = find_loops() if len(self.features) >= WORTH_COMPILING else None
        if loops is not None:
            assert not len(images) or 0 <= images.min() <= images.max() < len(self)
            narrow = np.zeros(self.n_features, np.int32)  # half the cache that int64 would take
            loops.count_features(self.starts, self.features, images, narrow)
            return narrow.astype(np.int64)
        counts = np.zeros(self.n_features, np.int64)
        for _, _, entries in self._entries(images):
            counts += np.bincount(self.features[entries], minlength=self.n_features)
        return counts

    def sum_together(
        self, images: NDArray[np.int64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (feature,) the sum over these images of weight times activation.

        Args:
            images: (image,) rows.
            weights: (image,) what each of them counts.
        """
        sums = np.zeros(self.n_features)
        for of, lengths, entries in self._entries(images):
            products = np.repeat(weights[of], lengths) * self.activations[entries].astype(
                np.float64
            )
            sums += np.bincount(self.features[entries], products, self.n_features)
        return sums

    def _entries(
        self, images: NDArray[np.int64]
    ) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield (some of the images, firings of each, entries of those in turn)."""
        lengths = self.starts[images + 1] - self.starts[images]
        if not lengths.any():
            return
        ends = np.cumsum(lengths)
        edges = np.searchsorted(ends, np.arange(0, ends[-1], PAIRS_PER_BLOCK))
        for first, last in zip(edges, [*edges[1:], len(images)], strict=True):
            piece = lengths[first:last]
            entries = np.repeat(self.starts[images[first:last]] - np.cumsum(piece) + piece, piece)
            entries += np.arange(len(entries))
            yield slice(first, last), piece, entries


def read_every_firing(by_image: ImageActivations, n_features: int) -> EveryFiring:
    """Read a scan's activations into memory: six bytes a firing."""
    starts = np.concatenate([[0], np.cumsum(by_image.l0(), dtype=np.int64)])
    features = np.empty(starts[-1], np.int32)
    activations = np.empty(starts[-1], np.float16)
    for block in by_image.blocks():
        begin = starts[block.first_image]
        span = slice(begin, begin + block.starts[-1])
        features[span] = block.features
        activations[span] = to_half(block.activations)
    return EveryFiring(n_features, starts, features, activations)
