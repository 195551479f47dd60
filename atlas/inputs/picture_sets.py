"""Sets of pictures (folders, tars, Parquet, Arrow), cut into shards and read one picture at a time.

A folder of pictures with captions beside them, img2dataset's tars, or tables that hold the
pictures themselves (Parquet, or Arrow as Hugging Face's datasets save them). Nothing is
extracted to the disk, and what can't be used is said, with the reason, never dropped.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from atlas.base.errors import InputError
from atlas.base.files import read_json
from atlas.inputs.image_table import (
    CAPTION_COLUMNS,
    NAME_COLUMNS,
    SENSITIVE_COLUMNS,
    SUFFIXES,
    URL_COLUMNS,
    find_column,
    image_columns,
    is_sensitive,
    raw_batches,
)

if TYPE_CHECKING:
    import pyarrow as pa

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"),
    *(".avif", ".heic", ".heif"),
)
OTHER_PICTURES = {
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai", ".pdf"), "a drawing, not pixels"),
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "a camera's raw file"
    ),
    **dict.fromkeys(
        (".psd", ".xcf", ".jxl", ".jp2", ".ico", ".tga", ".ppm", ".pgm", ".exr", ".hdr"),
        "a kind of picture that is not read",
    ),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".webm", ".mkv"), "a film"),
}
"""Endings that are no mistake in a folder of pictures, and why they are skipped."""
CAPTION_TABLES = ("metadata", "captions")
"""Names, without ending, of a table in a folder of pictures that holds their captions."""
PICTURE_COLUMNS = ("image", "webp", "jpg", "jpeg", "png", "image_bytes", "bytes", "picture", "img")
MOST_BYTES = 256 << 20
"""A member of an archive that claims more is skipped."""
TEXT_BYTES = 1 << 20
"""Of a caption beside a picture, at most."""
TAR_END = 1024
"""Zero bytes that end a whole archive."""


@dataclass(frozen=True, slots=True)
class Found:
    """A picture, still encoded, where it was found."""

    name: str
    facts: Mapping[str, Any]
    """Caption and whatever else is known of it, by column."""
    data: bytes | None
    """The encoded picture, where it is not to be read from a file."""
    path: Path
    offset: int = 0
    size: int = -1
    """Bytes of the picture from offset on; -1 for all that follows."""

    def read(self) -> bytes:
        """Return the encoded picture.

        Raises:
            OSError: It can't be read.
        """
        if self.data is not None:
            return self.data
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not used, and why."""

    file: str
    """File, below the folder that is read."""
    name: str
    """What it holds that was skipped; empty where it is the file as a whole, or its rest."""
    why: str


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
    return path.is_dir() or path.suffix.lower() in (".tar", ".parquet", ".arrow")


def containers(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return the archives of a set, or else its tables of pictures; none if it is loose pictures.

    A Parquet file that goes with an archive of the same name is its metadata, not pictures.
    """
    for suffixes in ((".tar",), (".arrow", ".parquet")):
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
        first = sum(isinstance(one, Found) for one in _read_tar(untold[0].parent, untold[0]))
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
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            return sum(int(batch.num_rows) for batch in stream)
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
            yield from _read_tar(root, path)
        elif path.suffix.lower() in (".parquet", ".arrow"):
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


class Captions:
    """What lies beside loose pictures: a table of the whole folder, or a file a picture."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        """Read the folder's table, if there is one; files are all that lie below root.

        Raises:
            InputError: The table is damaged.
        """
        self._root = root
        self._beside = {path for path in files if path.suffix.lower() in (".txt", ".json")}
        self._table: dict[str, dict[str, Any]] = {}
        for path in files:
            if path.stem.lower() in CAPTION_TABLES and path.suffix.lower() in SUFFIXES:
                self._table |= _rows_by_name(path, path.parent)
            elif path.stem.lower() in CAPTION_TABLES and path.suffix.lower() == ".json":
                self._table |= _listed_captions(path)

    def of(self, picture: Path) -> dict[str, Any]:
        """Return what is known of a picture; what lies beside it goes before the table."""
        found = dict(self._table.get(str(picture), {}))
        note, text = picture.with_suffix(".json"), picture.with_suffix(".txt")
        if note in self._beside:
            facts = _json_facts(note.read_bytes())
            found |= facts
        if text in self._beside:
            found["caption"] = _plain_text(text.read_bytes())
        return found


def _rows_by_name(path: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Return a table's rows by the path of the picture that each is about."""
    rows: dict[str, dict[str, Any]] = {}
    for batch in raw_batches(path):
        named = find_column(batch.column_names, ("file_name", *NAME_COLUMNS))
        if named is None:
            raise InputError(f"{path} has no column file_name; it has {batch.column_names}")
        for row in batch.to_pylist():
            rows[str(folder / str(row[named]))] = _known_facts(row)
    return rows


def _listed_captions(path: Path) -> dict[str, dict[str, Any]]:
    """Return the captions of one JSON file: {file name: caption} or a list of objects."""
    value = read_json(path)
    if isinstance(value, dict):
        pairs = [(name, fact) for name, fact in value.items()]
    elif isinstance(value, list):
        rows = [row for row in value if isinstance(row, dict)]
        keys = [find_column(list(row), ("file_name", *NAME_COLUMNS)) for row in rows]
        pairs = [(row[key], row) for row, key in zip(rows, keys, strict=True) if key is not None]
    else:
        raise InputError(f"{path} is no object and no list; write file names and captions in it")
    return {
        str(path.parent / str(name)): _known_facts(fact)
        if isinstance(fact, dict)
        else {"caption": str(fact)}
        for name, fact in pairs
    }


def _known_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the atlas keeps of a row: caption, url, tags, split and what withholds it."""
    names = list(row)
    wanted = {
        "caption": CAPTION_COLUMNS,
        "url": URL_COLUMNS,
        "tags": ("tags",),
        "split": ("split",),
    }
    wanted |= {key: (key,) for key in SENSITIVE_COLUMNS}
    found = {key: find_column(names, columns) for key, columns in wanted.items()}
    return {key: row[name] for key, name in found.items() if name is not None}


def _json_facts(data: bytes) -> dict[str, Any]:
    """Return what a JSON file beside a picture says; nothing where it is not JSON."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    if isinstance(value, str):
        return {"caption": value}
    return _known_facts(value) if isinstance(value, dict) else {}


def _plain_text(data: bytes) -> str:
    return data[:TEXT_BYTES].decode("utf-8", errors="replace").strip()


def _read_tar(root: Path, path: Path) -> Iterator[Found | Skipped]:
    """Yield the pictures of an archive in its order; members of one key stand together."""
    file = _name_below(root, path)
    count = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for found in _tar_records(archive, file, path):
                count += isinstance(found, Found)
                yield found
            why = _why_unfinished(path, archive.offset)
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Skipped(file, "", f"the archive is damaged from here on: {error}")
        return
    if why:
        yield Skipped(file, "", why)
    stats = path.with_name(f"{path.stem}_stats.json")
    if stats.exists():
        counts = read_json(stats)
        expected = counts.get("successes") if isinstance(counts, dict) else None
        if isinstance(expected, int) and expected != count:
            yield Skipped(
                file, "", f"the archive holds {count} pictures, {stats.name} says {expected}"
            )


def _tar_records(archive: tarfile.TarFile, file: str, path: Path) -> Iterator[Found | Skipped]:
    key, held = "", None
    facts: dict[str, Any] = {}
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # typeshed lacks it; else the list of members grows with the archive
        name = PurePosixPath(member.name)
        stem, suffix = name.as_posix().removesuffix(name.suffix), name.suffix.lower()
        if not member.isreg() or suffix not in (*PICTURE_SUFFIXES, ".txt", ".json"):
            if not member.isdir():
                yield Skipped(file, member.name, "neither a picture nor a caption")
            continue
        if stem != key and held is not None:
            yield Found(key, facts, None, path, held.offset_data, held.size)
        if stem != key:
            key, held, facts = stem, None, {}
        if member.size > MOST_BYTES:
            yield Skipped(file, member.name, f"claims {member.size:,} bytes")
        elif suffix in PICTURE_SUFFIXES:
            held = member
        else:
            facts |= _member_facts(archive, member, suffix, facts)
    if held is not None:
        yield Found(key, facts, None, path, held.offset_data, held.size)


def _member_facts(
    archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str, known: Mapping[str, Any]
) -> dict[str, Any]:
    opened = archive.extractfile(member)
    assert opened is not None, member.name
    data = opened.read(TEXT_BYTES)
    if suffix == ".txt":
        return {"caption": _plain_text(data)}
    return {name: fact for name, fact in _json_facts(data).items() if name not in known}


def _why_unfinished(path: Path, end: int) -> str:
    """Return what is wrong where reading ended; nothing if the archive ends there as it should.

    Python's reader takes a cut between two members, and a garbled header, for the end.
    """
    with path.open("rb") as file:
        file.seek(end)
        left = file.read(TAR_END)
    if any(left):
        return f"the archive is damaged at byte {end:,}: what follows is lost"
    return "" if len(left) == TAR_END else "the archive is cut off: what followed is lost"


def _read_table(root: Path, path: Path) -> Iterator[Found | Skipped]:
    """Yield the pictures that a table holds."""
    file, row = _name_below(root, path), 0
    for batch in _picture_batches(path):
        column = find_column(batch.column_names, PICTURE_COLUMNS)
        if column is None:
            yield Skipped(file, "", f"no column of pictures; it has {batch.column_names}")
            return
        rest = batch.drop_columns([column])
        for cell, facts in zip(batch[column].to_pylist(), rest.to_pylist(), strict=True):
            inside = cell.get("bytes") if isinstance(cell, dict) else cell
            named = find_column(list(facts), NAME_COLUMNS)
            name = str(facts[named]) if named else f"{Path(file).with_suffix('')}/{row:06d}"
            row += 1
            if isinstance(inside, bytes):
                yield Found(name, _known_facts(facts), inside, path)
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
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                for batch in stream:
                    yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or not a table ({reason}); restore it") from error


def facts_table(found: Sequence[Found], root: Path) -> pa.Table:
    """Return the columns that the atlas knows, of some pictures."""
    import pyarrow as pa

    def texts(column: str, default: str | None) -> list[str | None]:
        values = [one.facts.get(column, default) for one in found]
        return [default if value is None else str(value) for value in values]

    withheld = [
        any(is_sensitive(one.facts.get(name)) for name in SENSITIVE_COLUMNS) for one in found
    ]
    tags = [one.facts.get("tags") for one in found]
    table = pa.table(
        {
            "name": [one.name for one in found],
            "caption": pa.array(texts("caption", ""), pa.string()),
            "url": pa.array(texts("url", None), pa.string()),
            "tags": pa.array(
                [[str(t) for t in tag] if isinstance(tag, list) else [] for tag in tags],
                pa.list_(pa.string()),
            ),
            "split": pa.array(texts("split", ""), pa.string()),
            "sensitive": pa.array(withheld, pa.bool_()),
        }
    )
    return image_columns(table, root, 0)
