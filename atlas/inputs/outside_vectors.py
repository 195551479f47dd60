"""Embeddings made elsewhere: checked, and paired with the tables that describe their images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import digest_file
from atlas.inputs.embeddings import check_vectors
from atlas.inputs.found import Skipped
from atlas.inputs.image_table import find_column, raw_batches, read_tables
from atlas.inputs.shard_index import Embedded, ShardFile
from atlas.run.stage import Job

if TYPE_CHECKING:
    import pyarrow as pa

VECTOR_COLUMNS = (
    *("embedding", "embeddings", "image_embedding", "image_embeddings", "img_emb"),
    *("clip_embedding", "vector", "emb", "features"),
)
"""Columns of a Parquet file that hold embeddings, in lower case."""


def outside_vectors(job: Job) -> Embedded:
    """Check vectors made elsewhere, row by row, and pair them with the tables that describe them.

    A single table describes all shards, in the order of their names. Of several, each goes with
    the shard of its number, as clip-retrieval has them; what has no partner is skipped.

    Raises:
        InputError: A file is damaged, or no shard has a partner.
        ConfigError: There is no table, and the vectors' files hold none.
    """
    vectors = dict(zip(job.files["vectors"], job.file_digests["vectors"], strict=True))
    tables = job.files.get("images", ())
    skipped: list[Skipped] = []
    if len(tables) > 1:
        pairs, skipped = pair_by_number(tuple(vectors), tables)
    elif tables:
        pairs = dict.fromkeys(vectors, tables[0])
    elif all(path.suffix == ".parquet" for path in vectors):
        pairs = {path: path for path in vectors}
    else:
        raise ConfigError("embed has no table of images; set embed.images or embed.pictures")
    job.progress.start("check", total=len(pairs), unit="shards")
    shards: list[ShardFile] = []
    for path in pairs:
        width = shards[0].width if shards else None
        shards.append(_outside_shard(job, path, vectors[path], width))
        job.progress.advance()
    job.progress.stop()
    read = [read_tables(path) for path in dict.fromkeys(pairs.values())]
    return Embedded(shards, read, skipped)


def _outside_shard(job: Job, path: Path, digest: str, width: int | None) -> ShardFile:
    if path.suffix == ".parquet":
        part = job.part(f"vectors-{path.stem}", ".npy", {"file": digest}, partial(_unpack, path))
        path, digest = part, digest_file(part)
    vectors = check_vectors(path, width)
    return ShardFile(path.stem, path, len(vectors), vectors.shape[1], digest)


def _unpack(source: Path, path: Path) -> None:
    """Write the column of embeddings of a Parquet file as .npy.

    Raises:
        InputError: There is no such column, or its rows are of several lengths.
    """
    import pyarrow.parquet as pq

    names = pq.read_schema(source).names
    column = find_column(names, VECTOR_COLUMNS)
    if column is None:
        raise InputError(
            f"{source} has no column of embeddings ({', '.join(VECTOR_COLUMNS)}); it has {names}"
        )
    rows, width = pq.read_metadata(source).num_rows, 0
    with path.open("wb") as file:
        first = 0
        for batch in raw_batches(source, [column]):
            lists = _as_lists(source, batch[column].combine_chunks(), first)
            flat = lists.flatten().to_numpy(zero_copy_only=False)
            block = flat.astype(np.float16 if flat.dtype == np.float16 else np.float32)
            lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
            if not width:
                width = int(lengths[0])
                shape = {"descr": block.dtype.str, "fortran_order": False, "shape": (rows, width)}
                np.lib.format.write_array_header_1_0(file, shape)
            odd = np.flatnonzero(lengths != width)
            if len(odd):
                raise InputError(
                    f"{source}: row {first + odd[0]} has an embedding of {lengths[odd[0]]} numbers, "
                    f"row 0 one of {width}; drop the odd ones"
                )
            file.write(block.tobytes())
            first += len(batch)
    if not rows:
        raise InputError(f"{source} has no rows; drop it")


def _as_lists(source: Path, column: pa.Array, first: int) -> pa.ListArray:
    """Return a column of embeddings as lists of numbers, unwrapped where each is a list of one list.

    Raises:
        InputError: A cell is empty, or something else.
    """
    import pyarrow as pa

    if column.null_count:
        row = first + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{source}: row {row} has no embedding; drop it")
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        column = column.cast(pa.list_(kind.value_type))
        kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise InputError(
            f"{source}: embeddings are stored as {kind}, expected lists of numbers; "
            f"row {first} begins with {str(column[0])[:40]!r}; convert them"
        )
    if pa.types.is_list(kind.value_type) or pa.types.is_large_list(kind.value_type):
        if set(column.value_lengths().to_pylist()) != {1}:
            raise InputError(
                f"{source}: row {first} holds several embeddings, expected one a row; convert them"
            )
        return _as_lists(source, column.flatten(), first)
    if not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise InputError(
            f"{source}: embeddings are lists of {kind.value_type}, expected numbers; convert them"
        )
    if column.flatten().null_count:
        raise InputError(
            f"{source}: an embedding from row {first} on holds an empty number; drop it"
        )
    return column


def pair_by_number(
    vectors: Sequence[Path], tables: Sequence[Path]
) -> tuple[dict[Path, Path], list[Skipped]]:
    """Pair files by the last number in their names, whatever the zeros before it.

    Never by position: where one shard's table is missing, every later caption would shift.

    Returns:
        (vectors -> table, what has no partner)

    Raises:
        InputError: A name has no number, a number is twice there, or nothing pairs.
    """
    left, right = _by_number(vectors), _by_number(tables)
    both = sorted(left.keys() & right.keys())
    if not both:
        raise InputError(
            f"no number of {vectors[0].name} and its like is that of a table ({tables[0].name}); "
            "name the files' shards by number"
        )
    skipped = [
        Skipped(files[number].name, "", f"there is no {what} of shard {number}")
        for files, other, what in ((left, right, "table"), (right, left, "file of vectors"))
        for number in sorted(files.keys() - other.keys())
    ]
    return {left[number]: right[number] for number in both}, skipped


def _by_number(paths: Sequence[Path]) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in paths:
        numbers = re.findall(r"\d+", path.stem)
        if not numbers:
            raise InputError(f"{path} has no shard number in its name; give it one")
        if int(numbers[-1]) in found:
            raise InputError(
                f"{path} and {found[int(numbers[-1])]} are both of shard {numbers[-1]}"
            )
        found[int(numbers[-1])] = path
    return found
