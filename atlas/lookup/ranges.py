"""Tables at an address, read by DuckDB in ranges: only the columns and row groups that a query needs."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from atlas.base.errors import InputError, MissingError
from atlas.base.web import open_address

PROTOCOL = "published"
TAIL_BYTES = 1 << 16
"""Fetched of each file at first: most tables' columns and places stand in it, and small tables whole."""
MOST_WHOLE_BYTES = 1 << 26
"""Most that is taken of a server which sends whole files only."""
CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a file."""

    size_bytes: int
    """Of the whole file."""
    first: int
    """Place of the first byte of data in it."""
    data: bytes


class Ranges(AbstractFileSystem):  # type: ignore[misc]  # fsspec is untyped
    """The files below an address, for DuckDB's register_filesystem; read-only."""

    protocol = (PROTOCOL,)
    cachable = False

    def __init__(self, address: str, names: Iterable[str]) -> None:
        """Fetch the ends of these files; those that are not there count as missing."""
        super().__init__()
        self._address = address.rstrip("/")
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            found = dict(zip(names, pool.map(self._tail, names), strict=True))
        self._tails = {name: tail for name, tail in found.items() if tail is not None}

    def _tail(self, name: str) -> Tail | None:
        try:
            answer = open_address(f"{self._address}/{name}", {"Range": f"bytes=-{TAIL_BYTES}"})
        except MissingError:
            return None
        with answer:
            if answer.status != 206 and int(answer.headers.get("Content-Length", 0)) > (
                MOST_WHOLE_BYTES
            ):
                raise InputError(
                    f"{self._address} sends no ranges of files, and {name} is large; copy the site "
                    "to a folder and open that"
                )
            data = answer.read()
        size = int(answer.headers.get("Content-Range", f"/{len(data)}").rpartition("/")[2])
        return Tail(size, size - len(data), data)

    def has(self, name: str) -> bool:
        """Return whether the file is there."""
        return name in self._tails

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Return a range of a file's bytes."""
        tail = self._tails[name]
        if start >= tail.first:
            return tail.data[start - tail.first : stop - tail.first]
        with open_address(
            f"{self._address}/{name}", {"Range": f"bytes={start}-{stop - 1}"}
        ) as answer:
            data: bytes = answer.read()
        return data

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return what fsspec asks of a file."""
        name = self._strip_protocol(path)
        if name not in self._tails:
            raise FileNotFoundError(path)
        return {"name": path, "size": self._tails[name].size_bytes, "type": "file"}

    def modified(self, _: str) -> datetime:
        """Return one time for all: nothing is cached beyond this connection."""
        return datetime(2000, 1, 1, tzinfo=UTC)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> _RangeFile:
        size = self.info(path)["size"]
        return _RangeFile(self, path, mode, block_size=TAIL_BYTES, size=size)


class _RangeFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec is untyped
    def _fetch_range(self, start: int, end: int) -> bytes:
        found: bytes = self.fs.read(self.fs._strip_protocol(self.path), start, end)
        return found
