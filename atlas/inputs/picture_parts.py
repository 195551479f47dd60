"""The parts that a shard of pictures leaves: vectors, thumbnails, a table of used and skipped pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.found import Found, Skipped
from atlas.inputs.image_table import write_image_table
from atlas.inputs.picture_sets import facts_table

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_WRITE = 1024
SEEN_SUFFIX, VECTORS_SUFFIX = ".parquet", ".npy"


@dataclass(frozen=True, slots=True)
class IngestedShard:
    """One shard that was looked at."""

    name: str
    vectors: Path
    rows: Path
    """Table of the pictures: the columns of image_columns, sha256, dhash, file, and why, null where it was used."""
    n_images: int
    n_skipped: int
    crops: Path | None = None
    """(crop, d) vectors of all pictures' crops, picture after picture; None where none are made."""


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """One picture after decoding."""

    found: Found
    sha256: str
    dhash: int
    webp: bytes
    levels: NDArray[np.uint8] | None
    vector: NDArray[np.float16] | None
    note: str = ""
    """What was odd about its file; empty where nothing was."""
    crops: tuple[NDArray[np.uint8], ...] = ()
    """Levels of crops for training, of the encoder's size."""
    crop_vectors: NDArray[np.float16] | None = None
    """(crop, d)."""


def write_seen(
    path: Path, results: Iterable[list[SeenPicture | Skipped]], skipped: list[Skipped]
) -> None:
    """Write all that is known of a shard's pictures, the skipped ones last."""
    writer: pq.ParquetWriter | None = None
    held: list[SeenPicture] = []
    for result in results:
        held += [one for one in result if isinstance(one, SeenPicture)]
        skipped += [one for one in result if isinstance(one, Skipped)]
        if len(held) >= ROWS_PER_WRITE:
            writer = _append(path, writer, _seen_table(held))
            held = []
    if held:
        writer = _append(path, writer, _seen_table(held))
    writer = _append(path, writer, _skipped_table(skipped))
    writer.close()


def _append(path: Path, writer: pq.ParquetWriter | None, table: pa.Table) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
    writer.write_table(table)
    return writer


def _seen_table(seen: list[SeenPicture]) -> pa.Table:
    import pyarrow as pa

    known = facts_table([one.found for one in seen], Path())
    vectors = [one.vector.tobytes() if one.vector is not None else None for one in seen]
    columns = {name: known[name] for name in known.column_names}
    return pa.table(
        columns
        | {
            "sha256": pa.array([one.sha256 for one in seen], pa.string()),
            "dhash": pa.array([one.dhash for one in seen], pa.int64()),
            "file": pa.array([one.found.path.name for one in seen], pa.string()),
            "why": pa.array([None] * len(seen), pa.string()),
            "note": pa.array([one.note for one in seen], pa.string()),
            "webp": pa.array([one.webp for one in seen], pa.binary()),
            "vector": pa.array(vectors, pa.binary()),
            "crops": pa.array(
                [None if one.crop_vectors is None else one.crop_vectors.tobytes() for one in seen],
                pa.binary(),
            ),
        }
    )


def _skipped_table(skipped: list[Skipped]) -> pa.Table:
    import pyarrow as pa

    n = len(skipped)
    texts = pa.list_(pa.string())
    empty = {name: pa.array([None] * n, pa.string()) for name in ("caption", "url")}
    return pa.table(
        {
            "name": pa.array([one.name for one in skipped], pa.string()),
            **empty,
            "tags": pa.array([[]] * n, texts),
            "terms": pa.array([[]] * n, texts),
            "split": pa.array([""] * n, pa.string()),
            "sensitive": pa.array([False] * n, pa.bool_()),
            "withheld": pa.array([""] * n, pa.string()),
            "sha256": pa.array([None] * n, pa.string()),
            "dhash": pa.array([None] * n, pa.int64()),
            "file": pa.array([one.file for one in skipped], pa.string()),
            "why": pa.array([one.why for one in skipped], pa.string()),
            "note": pa.array([""] * n, pa.string()),
            "webp": pa.array([None] * n, pa.binary()),
            "vector": pa.array([None] * n, pa.binary()),
            "crops": pa.array([None] * n, pa.binary()),
        }
    )


def batches_of(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield a shard's table of pictures, ROWS_PER_WRITE rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_PER_WRITE, columns=columns):
            yield pa.Table.from_batches([batch])


def used_rows(path: Path, columns: list[str]) -> Iterator[pa.Table]:
    """Yield columns of the pictures that were used, in their order."""
    for table in batches_of(path, [*columns, "why"]):
        yield table.filter(table["why"].is_null()).select(columns)


def skipped_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield file, name and why of what was skipped."""
    for table in batches_of(path, ["file", "name", "why"]):
        yield from table.filter(table["why"].is_valid()).to_pylist()


def count_notes(rows: Path) -> Counter[str]:
    """Return how many pictures have each oddity."""
    found: Counter[str] = Counter()
    for table in batches_of(rows, ["note"]):
        found.update(one for one in table["note"].to_pylist() if one)
    return found


def count_rows(rows: Path) -> tuple[int, int]:
    """Return how many pictures were used, and how many skipped."""
    skipped = total = 0
    for table in batches_of(rows, ["why"]):
        total += len(table)
        skipped += len(table) - table["why"].null_count
    return total - skipped, skipped


def write_rows(path: Path, seen: Path) -> None:
    """Write a shard's table of pictures without their bytes."""
    write_image_table(
        path, (table.drop_columns(["webp", "vector", "crops"]) for table in batches_of(seen))
    )


def write_vectors(path: Path, seen: Path, rows: int, column: str = "vector") -> None:
    """Write the vectors of the pictures that were used, or their crops', as .npy.

    Args:
        path: Where to.
        seen: The shard's table.
        rows: Vectors of all pictures together.
        column: vector or crops.
    """
    each = rows // sum(len(table) for table in used_rows(seen, ["name"]))
    with path.open("wb") as file:
        width = None
        for table in used_rows(seen, [column]):
            data = b"".join(table[column].to_pylist())
            if width is None and data:
                width = len(data) // len(table) // each // 2
                header = {"descr": "<f2", "fortran_order": False, "shape": (rows, width)}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(data)


def write_thumbnails(path: Path, seen: Path, first: int) -> None:
    """Write the thumbnails of the pictures that were used, numbered from the shard's first image."""
    import pyarrow as pa

    def tables() -> Iterator[pa.Table]:
        image = first
        for table in used_rows(seen, ["webp"]):
            numbers = np.arange(image, image + len(table), dtype=np.int64)
            image += len(table)
            yield pa.table({"image": numbers, "webp": table["webp"]})

    write_image_table(path, tables())


def first_reason(gathered: Iterable[IngestedShard]) -> str:
    """Return why the first skipped picture was skipped."""
    for one in gathered:
        for row in skipped_rows(one.rows):
            return f"{row['file']} {row['name']}: {row['why']}"
    return "the set is empty"
