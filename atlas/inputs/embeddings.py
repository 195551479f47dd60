"""Embedding shards: where they lie, and the checks that every row passes before it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import read_json
from atlas.base.npy import map_npy

INDEX = "embeddings.json"
ROWS_PER_BLOCK = 8192
"""Rows looked at together, so that a shard larger than memory can be read."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One .npy file of embeddings."""

    name: str
    path: Path
    rows: int
    first_image: int
    """Number of the image in row 0; the numbers run on through the shards."""
    sha256: str


@dataclass(frozen=True, slots=True)
class EmbeddingSet:
    """All embeddings that an atlas is made from."""

    width: int
    """Dimensions of an embedding."""
    rows: int
    """Images in all shards together."""
    encoder: Mapping[str, Any]
    """What made the vectors, as the embed stage recorded it."""
    normalized: bool
    """True where every row has unit length; the length is lost then."""
    shards: tuple[Shard, ...]
    ground: str = ""
    """What transparent pictures were laid on, #rrggbb; empty where the vectors came from outside."""
    crops: tuple[Shard, ...] = ()
    """Of each shard the embeddings of its pictures' crops, picture after picture; for training alone."""

    def read_shard(self, shard: Shard) -> NDArray[np.floating[Any]]:
        """Return a shard's (row, dimension) embeddings, float16 or float32, mapped not loaded.

        Raises:
            InputError: The file is not what the index says, or a row is not finite or zero.
        """
        return check_vectors(shard.path, self.width, shard.rows)

    def read_rows(self, shard: Shard, start: int, stop: int) -> NDArray[np.floating[Any]]:
        """Return some (row, dimension) embeddings of a shard, as stored, read not mapped.

        Raises:
            InputError: As read_shard does.
        """
        vectors = _map_array(shard.path)
        _check_header(shard.path, vectors, self.width, shard.rows)
        if vectors.flags.c_contiguous:
            with shard.path.open("rb", buffering=0) as file:
                file.seek(vectors.offset + start * vectors.strides[0])
                rows = np.fromfile(file, vectors.dtype, (stop - start) * self.width)
        else:
            rows = np.array(vectors[start:stop]).ravel()
        if len(rows) != (stop - start) * self.width:
            raise InputError(f"{shard.path} ended while it was read; restore it")
        block: NDArray[np.floating[Any]] = rows.reshape(stop - start, self.width)
        _check_rows(shard.path, np.arange(start, stop), block)
        return block

    def stored_as(self) -> np.dtype[Any]:
        """Return the kind of number that holds every shard's exactly: float16 or float32."""
        return np.result_type(*{_map_array(shard.path).dtype for shard in self.shards})

    def blocks(self, rows: int = ROWS_PER_BLOCK) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (number of the first image, (row, dimension) embeddings) in order."""
        for shard in self.shards:
            vectors = self.read_shard(shard)
            for start in range(0, shard.rows, rows):
                block = np.asarray(vectors[start : start + rows], dtype=np.float32)
                yield shard.first_image + start, block

    def take(self, images: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (image, dimension) the embeddings of some images, by number.

        Raises:
            InputError: As read_shard does, of the rows that are taken.
        """
        wanted = np.asarray(images, np.int64)
        found = np.empty((len(wanted), self.width), np.float32)
        last = np.array([shard.first_image + shard.rows for shard in self.shards])
        home = np.searchsorted(last, wanted, side="right")
        for place in np.unique(home).tolist():
            shard, mine = self.shards[place], home == place
            rows = wanted[mine] - shard.first_image
            vectors = _map_array(shard.path)
            _check_header(shard.path, vectors, self.width, shard.rows)
            block = vectors[rows]
            _check_rows(shard.path, rows, block)
            found[mine] = block
        return found

    def read_all(self) -> NDArray[np.float32]:
        """Return every embedding as one (image, dimension) array, in memory."""
        everything = np.empty((self.rows, self.width), np.float32)
        for first, block in self.blocks():
            everything[first : first + len(block)] = block
        return everything


def with_crops(
    embeddings: EmbeddingSet, chosen: NDArray[np.bool_]
) -> tuple[EmbeddingSet, NDArray[np.bool_]]:
    """Return a set with its pictures' crops behind its images, and which rows are of chosen images.

    Args:
        embeddings: The images.
        chosen: (image,) which of them.
    """
    shards, masks = list(embeddings.shards), [chosen]
    rows = embeddings.rows
    for whole, crops in zip(embeddings.shards, embeddings.crops, strict=False):
        mine = chosen[whole.first_image : whole.first_image + whole.rows]
        masks.append(np.repeat(mine, crops.rows // whole.rows))
        shards.append(replace(crops, name=f"crops-{crops.name}", first_image=rows))
        rows += crops.rows
    return replace(embeddings, rows=rows, shards=tuple(shards)), np.concatenate(masks)


def read_embeddings(folder: Path) -> EmbeddingSet:
    """Read the index that the embed stage wrote.

    Args:
        folder: The embed stage's folder.

    Raises:
        MissingError: There is no index.
        InputError: The index contradicts itself.
    """
    path = folder / INDEX
    raw = read_json(path)
    try:
        shards, crops = (
            tuple(
                Shard(
                    name=str(item["name"]),
                    path=folder / item["path"],
                    rows=int(item["rows"]),
                    first_image=int(item["first_image"]),
                    sha256=str(item["sha256"]),
                )
                for item in items
            )
            for items in (raw["shards"], raw.get("crops", []))
        )
        found = EmbeddingSet(
            width=int(raw["width"]),
            rows=int(raw["rows"]),
            encoder=dict(raw["encoder"]),
            normalized=bool(raw["normalized"]),
            shards=shards,
            ground=str(raw.get("ground", "")),
            crops=crops,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} lacks or garbles {error}; build the embed stage again") from error
    _check_numbering(found, path)
    return found


def _check_numbering(found: EmbeddingSet, path: Path) -> None:
    expected = 0
    for shard in found.shards:
        if shard.first_image != expected:
            raise InputError(
                f"{path}: shard {shard.name} starts at image {shard.first_image}, expected "
                f"{expected}; build the embed stage again"
            )
        expected += shard.rows
    if expected != found.rows:
        raise InputError(
            f"{path}: the shards hold {expected} rows, the index says {found.rows}; "
            "build the embed stage again"
        )


def check_vectors(
    path: Path, width: int | None = None, rows: int | None = None
) -> NDArray[np.floating[Any]]:
    """Return the (row, dimension) vectors of a .npy file, mapped, after checking each of them.

    Args:
        path: The file.
        width: Dimensions that it must have; None accepts any.
        rows: Rows that it must have; None accepts any.

    Raises:
        InputError: The file is missing, damaged, of another kind or size, or has a row that
            is not finite or has no direction.
    """
    vectors = _map_array(path)
    _check_header(path, vectors, width, rows)
    if not len(vectors):
        raise InputError(f"{path} has 0 rows, expected at least 1; leave the file out")
    for start, block in read_blocks(path, vectors):
        _check_rows(path, np.arange(start, start + len(block)), block)
    return vectors


def _check_header(path: Path, vectors: NDArray[Any], width: int | None, rows: int | None) -> None:
    if vectors.dtype not in (np.dtype("<f2"), np.dtype("<f4")):
        raise InputError(
            f"{path} holds {vectors.dtype}, expected float16 or float32; convert the file"
        )
    if vectors.ndim != 2:
        raise InputError(
            f"{path} has shape {vectors.shape}, expected (rows, dimensions); convert the file"
        )
    if width is not None and vectors.shape[1] != width:
        raise InputError(
            f"{path} has {vectors.shape[1]} columns, expected {width}; "
            "use embeddings of the encoder that the SAE was trained on"
        )
    if rows is not None and len(vectors) != rows:
        raise InputError(
            f"{path} has {len(vectors)} rows, expected {rows}; restore it or build embed again"
        )


def read_blocks(
    path: Path, vectors: NDArray[np.floating[Any]]
) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
    """Yield (first row, rows) of a mapped file, read into memory that is used again.

    Reading by way of the map would count the whole file as this process's memory.
    """
    offset = getattr(vectors, "offset", None)
    if offset is None or not vectors.flags.c_contiguous:
        for start in range(0, len(vectors), ROWS_PER_BLOCK):
            yield start, vectors[start : start + ROWS_PER_BLOCK]
        return
    block = np.empty((min(ROWS_PER_BLOCK, len(vectors)), vectors.shape[1]), vectors.dtype)
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        for start in range(0, len(vectors), ROWS_PER_BLOCK):
            rows = block[: len(vectors) - start]
            got = file.readinto(rows.view(np.uint8).data)
            if got != rows.nbytes:
                raise InputError(f"{path} ended while it was read; restore it")
            yield start, rows


def _map_array(path: Path) -> np.memmap[Any, np.dtype[Any]]:
    try:
        return map_npy(path)
    except FileNotFoundError as error:
        raise InputError(f"no embeddings at {path}; restore the file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder, expected a .npy file") from error
    except ValueError as error:
        raise InputError(
            f"{path} is not a whole .npy file of numbers ({path.stat().st_size} bytes); "
            "replace the file"
        ) from error


BITS = {
    2: (np.uint16, np.uint16(0x7C00), np.uint16(0x7FFF)),
    4: (np.uint32, np.uint32(0x7F800000), np.uint32(0x7FFFFFFF)),
}
"""Bytes of a number -> its bits' kind, those of the exponent, all but the sign."""


def _check_rows(path: Path, numbers: NDArray[np.int64], block: NDArray[np.floating[Any]]) -> None:
    kind, exponent, size = BITS[block.dtype.itemsize]
    bits = np.ascontiguousarray(block).view(kind)  # by their bits: five times as fast
    if ((bits & exponent) == exponent).any():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(block))[0])
        raise InputError(
            f"{path}: row {numbers[row]} has {block[row, column]} in column {column}, expected a "
            "finite number; embed that image again or drop it"
        )
    zero = ~(bits & size).any(axis=1)
    if zero.any():
        raise InputError(
            f"{path}: row {numbers[int(np.argmax(zero))]} has length 0, expected more; "
            "embed that image again or drop it"
        )
