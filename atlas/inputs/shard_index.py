"""The stage's own records: the index of the shards, and the table of all images, numbered."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.base.errors import InputError
from atlas.base.files import read_parquet, write_json
from atlas.inputs.duplicates import Twins
from atlas.inputs.embeddings import INDEX, EmbeddingSet, Shard
from atlas.inputs.encoder import read_encoder_note
from atlas.inputs.found import Skipped
from atlas.run.stage import Job

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ["name", "caption", "url", "tags", "terms", "split", "sensitive", "withheld"]


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One shard of vectors, wherever it lies."""

    name: str
    path: Path
    rows: int
    width: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a source of images gives."""

    shards: list[ShardFile]
    tables: list[Iterator[pa.Table]]
    """Of each shard, or a single one for all: the columns of image_columns, in the order of the vectors."""
    skipped: list[Skipped]
    hashes: tuple[Path, ...] = ()
    """Tables with sha256 and dhash of each image; none where the pictures were not seen."""
    crops: tuple[ShardFile, ...] = ()
    """Of each shard its pictures' crops, where some are made."""


def number_images(found: Embedded, settings: Any, twins: Twins) -> Iterator[pa.Table]:
    """Yield the image table with the columns image, shard and row in front, duplicate_of behind.

    Raises:
        InputError: A table and its vectors disagree on how many images there are.
    """
    if len(found.tables) == 1:
        yield from _numbered(found.tables[0], found.shards, 0, settings, twins)
        return
    for number, (table, shard) in enumerate(zip(found.tables, found.shards, strict=True)):
        yield from _numbered(table, [shard], number, settings, twins)


def _numbered(
    tables: Iterable[pa.Table], shards: list[ShardFile], number: int, settings: Any, twins: Twins
) -> Iterator[pa.Table]:
    """Number the rows that describe some shards, of which the first has a number."""
    import pyarrow as pa

    ends = np.cumsum([shard.rows for shard in shards])
    expected, rows = int(ends[-1]), 0
    first = twins.first_image(number)
    for table in tables:
        row = rows + np.arange(len(table), dtype=np.int64)
        rows += len(table)
        if rows > expected:
            continue  # counted on, for the error
        of = np.searchsorted(ends, row, side="right")
        starts = ends - [shard.rows for shard in shards]
        numbers = {
            "image": pa.array(first + row),
            "shard": pa.array((number + of).astype(np.int32)),
            "row": pa.array((row - starts[of]).astype(np.int32)),
        }
        twin = twins.original[first + row]
        own = twin == first + row
        columns = {name: table[name] for name in IMAGE_COLUMNS}
        yield pa.table(numbers | columns | {"duplicate_of": pa.array(twin, mask=own)})
    if rows != expected:
        what = settings.images or settings.vectors
        raise InputError(
            f"{what} has {rows} rows, the vectors have {expected}"
            + (f" in {shards[0].name}" if len(shards) == 1 and number else "")
            + "; they must describe the same images"
        )


def read_texts(folder: Path) -> pa.Table:
    """Return caption, tags, split and duplicate_of of all images; what is withheld has neither of the first two.

    Args:
        folder: The embed stage's.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["caption", "tags", "split", "duplicate_of", "sensitive"]
    table = read_parquet(folder / "images.parquet", columns)
    withheld = table["sensitive"]
    if not pc.any(withheld).as_py():
        return table
    tags = [
        [] if hidden else one
        for hidden, one in zip(withheld.to_pylist(), table["tags"].to_pylist(), strict=True)
    ]
    caption = pc.if_else(withheld, "", table["caption"])
    table = table.set_column(0, "caption", caption)
    return table.set_column(1, "tags", pa.array(tags, pa.list_(pa.string())))


def embedding_set(files: list[ShardFile]) -> EmbeddingSet:
    """Return the vectors as later stages will read them, wherever they lie now."""
    firsts = np.cumsum([0, *(one.rows for one in files)])
    shards = tuple(
        Shard(one.name, one.path, one.rows, int(first), one.sha256)
        for one, first in zip(files, firsts[:-1], strict=True)
    )
    return EmbeddingSet(files[0].width, int(firsts[-1]), {}, False, shards)


def write_index(job: Job, shards: list[ShardFile], crops: list[ShardFile]) -> None:
    """Write embeddings.json; paths count from the published folder."""
    listed, first = _listed(job, shards)
    encoder = job.settings.encoder
    note = {} if encoder is None else read_encoder_note(encoder)
    value = {
        "width": shards[0].width,
        "rows": first,
        "encoder": note,
        "normalized": bool(note.get("normalized", False)),
        "shards": listed,
    }
    if job.settings.vectors is None:
        value["ground"] = job.settings.ground
    if crops:
        value["crops"] = _listed(job, crops)[0]
    write_json(job.out_dir / INDEX, value)


def _listed(job: Job, shards: list[ShardFile]) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of the index for some shards, and how many images they hold."""
    first = 0
    listed = []
    for shard in shards:
        made_here = shard.path.is_relative_to(job.out_dir)
        home = job.out_dir if made_here else job.published_home
        listed.append(
            {
                "name": shard.name,
                "path": Path(os.path.relpath(shard.path, home)).as_posix(),
                "rows": shard.rows,
                "first_image": first,
                "sha256": shard.sha256,
            }
        )
        first += shard.rows
    return listed, first
