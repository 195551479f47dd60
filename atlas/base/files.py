"""Files written whole or not at all, and digests of their content."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.errors import InputError, MissingError

if TYPE_CHECKING:
    import pyarrow as pa

DRAFT_SUFFIX = ".part"
"""Suffix of a file that is still being written; such a file is never read."""


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which is renamed to the final one if nothing was raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + DRAFT_SUFFIX)
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        _remove(unfinished)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file is on the disk, so that a power cut can't leave it with missing data."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or leave the old one."""
    # Not with draft: creating the folder of each file takes a tenth of the time of a site's pages.
    unfinished = path.with_name(path.name + DRAFT_SUFFIX)
    try:
        try:
            unfinished.write_bytes(data)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(data)
        unfinished.replace(path)
    except BaseException:
        _remove(unfinished)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file, or leave the old one."""
    write_bytes(path, text.encode("utf-8"))


def write_or_link(path: Path, old: Path, data: bytes) -> None:
    """Write a whole file, or hard-link the old one if it holds the same bytes.

    An unchanged file keeps its modification time, so tools like rsync upload only what changed.

    Args:
        path: Where the file goes.
        old: The file that an earlier run wrote; may not exist.
        data: Its content.
    """
    try:
        same = old.stat().st_size == len(data) and old.read_bytes() == data
    except (FileNotFoundError, NotADirectoryError):
        same = False
    if not same or not _link(path, old):
        write_bytes(path, data)


def link_or_copy(old: Path, path: Path) -> None:
    """Hard-link a file, or copy it with its modification time where links are not possible."""
    if not _link(path, old):
        shutil.copy2(old, path)


def _link(path: Path, old: Path) -> bool:
    """Hard-link a file; return whether that is possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(old)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        MissingError: There is no such file.
        InputError: The file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"no file at {path}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); restore it or build it again") from error


def write_sealed(path: Path, value: object) -> None:
    """Write a value as JSON together with its digest, by which damage is noticed."""
    write_text(path, seal(value))


def seal(value: object) -> str:
    """Return a value and its digest as JSON."""
    return json.dumps({"sha256": digest_json(value), "value": value}, separators=(",", ":")) + "\n"


def read_sealed(path: Path) -> Any:
    """Return a value that write_sealed wrote; None if there is no such file.

    Raises:
        InputError: The file is damaged.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if digest_json(held["value"]) == held["sha256"]:
            return held["value"]
        reason = "its content differs from its digest"
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"it is not JSON as it was written: {error}"
    raise InputError(f"{path} is damaged ({reason}); delete it and build again")


ROWS_PER_GROUP = 131_072
PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "write_page_checksum": True,
    "store_schema": False,
}
"""How every table is written."""


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table; identical tables give identical bytes, and every page has a checksum."""
    import pyarrow.parquet as pq

    with draft(path) as unfinished:
        pq.write_table(table, unfinished, row_group_size=ROWS_PER_GROUP, **PARQUET)


@contextmanager
def parquet_writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Yield what appends a table to a file that is complete, and there, only at the end.

    The tables have one schema; each makes row groups of its own.
    """
    import pyarrow.parquet as pq

    with draft(path) as unfinished, ExitStack() as closing:
        writer: pq.ParquetWriter | None = None

        def write(table: pa.Table) -> None:
            nonlocal writer
            if writer is None:
                opened = pq.ParquetWriter(unfinished, table.schema, **PARQUET)
                writer = closing.enter_context(opened)
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)

        yield write


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a table, verifying the checksum of each page that has one.

    Raises:
        MissingError: There is no such file.
        InputError: The file is damaged, not Parquet, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise MissingError(f"no file at {path}")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            wanted = columns if columns is not None else file.schema_arrow.names
            missing = sorted(set(wanted) - set(file.schema_arrow.names))
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]}; it has {file.schema_arrow.names}"
                )
            return file.read(columns=wanted)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot read {path} as Parquet: {reason}; replace the file") from error


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex characters."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON as 64 hex characters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class DigestCache:
    """Digests of files, cached by size and modification time.

    So an input of many gigabytes is hashed once, not at each start.
    """

    def __init__(self, path: Path) -> None:
        """Read the cache of earlier runs; a damaged one counts as empty."""
        self._path = path
        self._known: dict[str, list[Any]] = {}
        try:
            known = read_sealed(path)
        except InputError:
            known = None
        if isinstance(known, dict):
            self._known = known

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file, from the cache if size and mtime are unchanged."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        name = str(path.resolve())
        known = self._known.get(name)
        if known and known[:2] == stamp:
            return str(known[2])
        found = digest_file(path)
        self._known[name] = [*stamp, found]
        return found

    def forget(self) -> None:
        """Empty the cache, so that every file is read again."""
        self._known = {}

    def save(self) -> None:
        """Write the cache for the next run."""
        write_sealed(self._path, self._known)


def list_files(root: Path) -> list[Path]:
    """Return every regular file under root, sorted by relative path."""
    found = [Path(folder) / name for folder, _, names in os.walk(root) for name in names]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def remove_tree(path: Path) -> None:
    """Delete a folder with everything in it, if it exists; of a link to one, the link alone."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
