"""The list of what must not be published: takedown.txt, an entry a line, a kind and a value.

    key 000123              an image, by its name or key
    url https://x.org/a.jpg an image, by where it was found
    sha256 9f86d0…          an image, by its file
    dhash 00ff18e7c3813c00  images that look the same, by difference hash
    picture blocked/a.jpg   both of a picture's file, which lies below the list's folder
    feature 17              a feature
    caption text            images of which a text holds it: caption, name, tags; and names that do

Empty lines and those that begin with # are passed over.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from atlas.base.errors import ConfigError, InputError
from atlas.base.text import decode_text
from atlas.inputs.beside import key_of
from atlas.inputs.picture import decode_picture, difference_hash

SHORTEST_CAPTION = 6
"""Characters of a caption's text: a shorter one would be found in words that have nothing to do with it."""
SAME_BITS = 6
"""Bits of 64 in which the difference hashes of one picture may differ once it was saved again."""
ROWS_AT_ONCE = 65_536
FORMS: dict[str, tuple[str, str]] = {
    "key": (r".+", "a name or key"),
    "url": (r"\S+", "an address"),
    "sha256": (r"[0-9a-f]{64}", "64 hex digits"),
    "dhash": (r"[0-9a-f]{16}", "16 hex digits"),
    "picture": (r".+", "a file"),
    "feature": (r"[0-9]{1,9}", "a number"),
    "caption": (rf".{{{SHORTEST_CAPTION},}}", f"a text of {SHORTEST_CAPTION} characters or more"),
}
"""Kind of an entry -> what its value has to match, and that in words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list."""

    line: int
    kind: str
    value: str

    def digest(self) -> str:
        """Return the SHA-256 of kind and value, which tells nobody what it is who does not know."""
        return hashlib.sha256(f"{self.kind} {self.value}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TakenDown:
    """What a list is about in one atlas."""

    images: NDArray[np.int64]
    """Ascending; copies of a listed image, as far as they are known, included."""
    features: NDArray[np.int64]
    captions: tuple[str, ...]
    """Texts that no label and no word may hold, case folded."""
    unmatched: tuple[int, ...]
    """Lines that are about nothing here."""
    lines: Mapping[int, int]
    """Image -> the first line that is about it; 0 for a copy of another."""


def read_takedown(path: Path) -> tuple[Entry, ...]:
    """Return the entries of a list.

    Raises:
        ConfigError: A line is of no known kind, or its value is of another form.
    """
    found = []
    for number, line in enumerate(decode_text(path.read_bytes()).splitlines(), start=1):
        kind, _, value = line.strip().partition(" ")
        if not kind or kind.startswith("#"):
            continue
        kind, value = kind.lower().rstrip(":"), value.strip()
        if kind not in FORMS:
            raise ConfigError(
                f"{path}: line {number} begins with {kind!r}; write one of {', '.join(FORMS)}"
            )
        form, words = FORMS[kind]
        value = value if kind in ("key", "url", "picture") else value.casefold()
        if not re.fullmatch(form, value):
            raise ConfigError(f"{path}: line {number}: {kind} needs {words}, got {value!r}")
        if kind == "picture":
            found += _hashes_of(path.parent / value, number, f"{path}: line {number}")
        else:
            found.append(Entry(number, kind, value))
    return tuple(found)


def _hashes_of(picture: Path, line: int, where: str) -> list[Entry]:
    """Return a picture's two hashes as entries."""
    try:
        data = picture.read_bytes()
        bits = difference_hash(decode_picture(data).picture) % 2**64
    except (InputError, OSError) as error:
        raise ConfigError(f"{where}: {picture} can't be read ({error}); fix the line") from error
    sha256 = hashlib.sha256(data).hexdigest()
    return [Entry(line, "sha256", sha256), Entry(line, "dhash", f"{bits:016x}")]


def find_taken_down(entries: tuple[Entry, ...], embed: Path) -> TakenDown:
    """Return the images and features that a list is about.

    Args:
        entries: The list.
        embed: Folder of the embed stage, with the images and what is known of their files.
    """
    hits: dict[int, set[int]] = {entry.line: set() for entry in entries}
    lists = _Lists(entries)
    duplicate_of: dict[int, int] = {}
    for row in _rows(embed / "images.parquet"):
        if row.duplicate_of is not None:
            duplicate_of[row.image] = row.duplicate_of
        for line in lists.about(row):
            hits[line].add(row.image)
    if any(entry.kind in ("sha256", "dhash") for entry in entries):
        seen = _seen(embed)
        for entry in entries:
            hits[entry.line] |= seen.of(entry)
    features = sorted({int(entry.value) for entry in entries if entry.kind == "feature"})
    images = set().union(*hits.values())
    firsts = {duplicate_of.get(image, image) for image in images}
    images |= firsts | {image for image, first in duplicate_of.items() if first in firsts}
    first_lines = {image: line for line in sorted(hits, reverse=True) for image in hits[line]}
    return TakenDown(
        np.array(sorted(images), np.int64),
        np.array(features, np.int64),
        tuple(entry.value for entry in entries if entry.kind == "caption"),
        tuple(e.line for e in entries if e.kind != "feature" and not hits[e.line]),
        {image: first_lines.get(image, 0) for image in images},
    )


class _Row(NamedTuple):
    """What is known of an image."""

    image: int
    name: str
    caption: str
    url: str | None
    tags: Sequence[str] | None
    terms: Sequence[str] | None
    duplicate_of: int | None


def _rows(path: Path) -> Iterator[_Row]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(_Row._fields)):
            columns = (batch[name].to_pylist() for name in _Row._fields)
            yield from map(_Row._make, zip(*columns, strict=True))


class _Lists:
    """Entries by what they are compared with, so that a row costs the same however many there are."""

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self._by_key: dict[str, list[int]] = {}
        self._by_url: dict[str, list[int]] = {}
        self._captions = [(e.value, e.line) for e in entries if e.kind == "caption"]
        for entry in entries:
            if entry.kind == "key":
                self._by_key.setdefault(key_of(entry.value), []).append(entry.line)
            elif entry.kind == "url":
                self._by_url.setdefault(entry.value, []).append(entry.line)

    def about(self, row: _Row) -> Iterator[int]:
        """Yield the lines that are about an image."""
        yield from self._by_key.get(key_of(row.name), ())
        yield from self._by_url.get(row.url or "", ())
        if self._captions:
            texts = (row.name, row.caption, row.url or "", *(row.tags or ()), *(row.terms or ()))
            folded = "\n".join(texts).casefold()
            yield from (line for text, line in self._captions if text in folded)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Hashes of the images' pictures."""

    images: NDArray[np.int64]
    files: list[str]
    """SHA-256 of each file; empty where only thumbnails are at hand."""
    bits: NDArray[np.uint64]
    """Difference hashes."""

    def of(self, entry: Entry) -> set[int]:
        """Return the images of an entry's file, or that look like it."""
        if entry.kind == "dhash":
            near = count_bits(self.bits ^ np.uint64(int(entry.value, 16))) <= SAME_BITS
            return set(self.images[near].tolist())
        places = [i for i, one in enumerate(self.files) if one == entry.value]
        return set(self.images[places].tolist()) if entry.kind == "sha256" else set()


def _seen(embed: Path) -> _Seen:
    """Return what the embed stage noted of each picture; of thumbnails alone, what they look like."""
    files: list[str] = []
    bits: list[int] = []
    images: list[int] = []
    for path in sorted((embed / "parts").glob("pictures-*.parquet")):
        table = pq.read_table(path, columns=["sha256", "dhash", "why"])
        table = table.filter(table["why"].is_null())
        files += table["sha256"].to_pylist()
        bits += [one % 2**64 for one in table["dhash"].to_pylist()]
    if files:
        return _Seen(np.arange(len(files)), files, np.array(bits, np.uint64))
    for path in sorted((embed / "parts").glob("thumbnails-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(1024):
            images += batch["image"].to_pylist()
            bits += [_bits_of(webp) for webp in batch["webp"].to_pylist()]
    return _Seen(np.array(images, np.int64), [], np.array(bits, np.uint64))


def _bits_of(webp: bytes) -> int:
    with Image.open(io.BytesIO(webp), formats=("WEBP",)) as opened:
        return difference_hash(opened.convert("RGB")) % 2**64


def count_bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return how many of its 64 bits are set in each number."""
    bits = np.unpackbits(np.ascontiguousarray(values)[:, None].view(np.uint8), axis=1)
    found: NDArray[np.int64] = bits.sum(axis=1, dtype=np.int64)
    return found
