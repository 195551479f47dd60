"""Sets of pictures (folders, tars, Parquet, Arrow), cut into shards and read one picture at a time.

A folder of pictures with captions beside them, img2dataset's tars, or tables that hold the
pictures themselves (Parquet, or Arrow as Hugging Face's datasets save them). Nothing is
extracted to the disk, and what can't be used is said, with the reason, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.base.errors import InputError
from atlas.base.files import read_json
from atlas.base.text import clean_text
from atlas.inputs.archives import read_tar
from atlas.inputs.arrow_file import SUFFIXES as ARROW
from atlas.inputs.arrow_file import arrow_batches
from atlas.inputs.captions import Captions, known_facts
from atlas.inputs.found import OTHER_PICTURES, PICTURE_SUFFIXES, Found, Skipped
from atlas.inputs.image_table import (
    NAME_COLUMNS,
    find_column,
    image_columns,
    row_dicts,
)
from atlas.inputs.unsafe import why_withheld

if TYPE_CHECKING:
    import pyarrow as pa

PICTURE_COLUMNS = ("image", "webp", "jpg", "jpeg", "png", "image_bytes", "bytes", "picture", "img")


@dataclass(frozen=True, slots=True)
class PictureShard:
    """Pictures that are embedded together: the unit of resuming."""

    name: str
    files: tuple[Path, ...]
    """One archive or table, or many pictures."""
    digest: str
    """Digest of all that decides what is read from it."""


def is_picture_set(path: Path) -> bool:
    """Return whether a path is a folder, an archive or a table that is read as a set of pictures."""
    return path.is_dir() or path.suffix.lower() in (".tar", ".parquet", *ARROW)


def containers(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the archives of a set, or else its tables of pictures; none if it is loose pictures.

    A Parquet file that goes with an archive of the same name is its metadata, not pictures.
    """
    for suffixes in ((".tar",), (*ARROW, ".parquet")):
        found = tuple(path for path in files if path.suffix.lower() in suffixes)
        if found and not any(path.suffix.lower() in PICTURE_SUFFIXES for path in files):
            return found
    return ()


def loose_pictures(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files that are pictures by their ending."""
    return tuple(path for path in files if path.suffix.lower() in PICTURE_SUFFIXES)


def loose_files(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files that are pictures by their ending, and those that have to be skipped aloud."""
    known = (*PICTURE_SUFFIXES, *OTHER_PICTURES)
    return tuple(path for path in files if path.suffix.lower() in known)


def count_pictures(files: Sequence[Path]) -> int:
    """Return about how many pictures a set holds, from names, headers and notes alone.

    Pictures that turn out broken are counted too. Archives without img2dataset's note are taken
    to hold as many for their size as the first such does.

    Raises:
        InputError: A table is damaged.
    """
    boxes = containers(files)
    if not boxes:
        return len(loose_pictures(files))
    counts = {path: _told_count(path) for path in boxes}
    untold = [path for path, count in counts.items() if count is None]
    each = 0.0
    if untold:
        first = sum(isinstance(one, Found) for one in read_tar(untold[0].name, untold[0]))
        each = first / max(untold[0].stat().st_size, 1)
    guessed = sum(round(each * path.stat().st_size) for path in untold)
    return guessed + sum(count for count in counts.values() if count is not None)


def _told_count(path: Path) -> int | None:
    """Return how many pictures a table has rows for, or an archive's note says; None if untold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix.lower() == ".tar":
        stats = path.with_name(f"{path.stem}_stats.json")
        counts = read_json(stats) if stats.exists() else None
        count = counts.get("successes") if isinstance(counts, dict) else None
        return count if isinstance(count, int) else None
    try:
        if path.suffix.lower() == ".parquet":
            return int(pq.read_metadata(path).num_rows)
        return sum(int(batch.num_rows) for batch in arrow_batches(path))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or not a table ({reason}); restore it") from error


def read_shard(root: Path, shard: PictureShard, captions: Captions) -> Iterator[Found | Skipped]:
    """Yield the pictures of a shard, and what of it is skipped, in a fixed order.

    What people keep among pictures that is none that can be read is skipped, with its reason.

    Args:
        root: The folder that names count from.
        shard: Which files.
        captions: Of loose pictures.
    """
    for path in shard.files:
        if path.suffix.lower() == ".tar":
            yield from read_tar(_name_below(root, path), path)
        elif path.suffix.lower() in (".parquet", *ARROW):
            yield from _read_table(root, path)
        elif path.suffix.lower() in OTHER_PICTURES:
            name = _name_below(root, path)
            yield Skipped(
                name, "", f"{OTHER_PICTURES[path.suffix.lower()]}; save it as PNG or JPEG"
            )
        else:
            name = _name_below(root, path)
            yield Found(name, captions.of(path), None, path)


def _name_below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _read_table(root: Path, path: Path) -> Iterator[Found | Skipped]:
    """Yield the pictures that a table holds."""
    file, row = _name_below(root, path), 0
    for batch in _picture_batches(path):
        column = find_column(batch.column_names, PICTURE_COLUMNS)
        if column is None:
            yield Skipped(file, "", f"no column of pictures; it has {batch.column_names}")
            return
        rest = batch.drop_columns([column])
        for cell, facts in zip(batch[column].to_pylist(), row_dicts(rest, path), strict=True):
            inside = cell.get("bytes") if isinstance(cell, dict) else cell
            named = find_column(list(facts), NAME_COLUMNS)
            name = clean_text(facts[named]) if named else f"{Path(file).with_suffix('')}/{row:06d}"
            row += 1
            if isinstance(inside, bytes):
                yield Found(name, known_facts(facts), inside, path)
            else:
                yield Skipped(file, name, "the table holds no bytes of it")


def _picture_batches(path: Path) -> Iterator[pa.Table]:
    """Yield the rows of a table of pictures, a few at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(64):
                    yield pa.Table.from_batches([batch])
        else:
            for batch in arrow_batches(path):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or not a table ({reason}); restore it") from error


def facts_table(found: Sequence[Found], root: Path) -> pa.Table:
    """Return the columns that the atlas knows, of some pictures."""
    import pyarrow as pa

    def texts(column: str, default: str | None) -> list[str | None]:
        values = [one.facts.get(column, default) for one in found]
        return [clean_text(value) or default for value in values]

    withheld = [why_withheld(one.facts) for one in found]
    tags = [one.facts.get("tags") for one in found]
    table = pa.table(
        {
            "name": [clean_text(one.name) for one in found],
            "caption": pa.array(texts("caption", ""), pa.string()),
            "url": pa.array(texts("url", None), pa.string()),
            "tags": pa.array(
                [list(map(clean_text, tag)) if isinstance(tag, list) else [] for tag in tags],
                pa.list_(pa.string()),
            ),
            "split": pa.array(texts("split", ""), pa.string()),
        }
    )
    known = image_columns(table, root, 0)
    reasons = {
        "sensitive": pa.array([why != "" for why in withheld], pa.bool_()),
        "withheld": pa.array(withheld, pa.string()),
    }
    return pa.table({name: known[name] for name in known.column_names} | reasons)
