"""The owner's decisions on images: review.csv, as the page of `atlas review` saves it.

    image,key,decision
    17,5f0c9a2b7d1e4a66,withhold
    23,0b1d77e2c4a95f38,show
    40,c2f5a1d09be83741,unsure

The key is of the image's name and url, so that a decision stays with its image when the numbers
change, and the file holds no text of any image. What is unsure stays withheld.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from atlas.base.errors import ConfigError
from atlas.base.text import decode_text

HEAD = ("image", "key", "decision")
SHOW, WITHHOLD, UNSURE = "show", "withhold", "unsure"
DECISIONS = (SHOW, WITHHOLD, UNSURE)
KEY_DIGITS = 16
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the file."""

    line: int
    image: int
    key: str
    """Empty in a line written by hand: the number alone counts."""
    what: str
    """One of DECISIONS."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What decisions are about in one atlas."""

    images: dict[int, str]
    """Image -> decision; of several on one image the strictest."""
    unmatched: tuple[int, ...]
    """Lines that are about no image here."""

    def having(self, *decisions: str) -> list[int]:
        """Return the images with one of some decisions, ascending."""
        return sorted(image for image, what in self.images.items() if what in decisions)


def image_key(name: str, url: str | None) -> str:
    """Return what an image is known by, which tells nobody what it is."""
    return hashlib.sha256(f"{name}\n{url or ''}".encode()).hexdigest()[:KEY_DIGITS]


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Return the decisions of a file.

    Raises:
        ConfigError: It has other columns, or a line says something else.
    """
    rows = csv.reader(io.StringIO(decode_text(path.read_bytes())))
    try:
        head = tuple(cell.strip().lower() for cell in next(rows, ()))
        if head != HEAD:
            raise ConfigError(
                f"{path} begins with {','.join(head)!r}, expected {','.join(HEAD)!r}; "
                "save it with the page that atlas review writes"
            )
        found = [
            _decision(path, rows.line_num, [cell.strip() for cell in row])
            for row in rows
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise ConfigError(
            f"{path}: line {rows.line_num} is no CSV ({error}); fix the line"
        ) from error
    return tuple(found)


def _decision(path: Path, line: int, cells: list[str]) -> Decision:
    image, key, what = [*cells, "", "", ""][:3]
    if len(cells) != len(HEAD) or not image.isascii() or not image.isdigit() or len(image) > 15:
        raise ConfigError(f"{path}: line {line} needs an image's number, its key and a decision")
    if what.lower() not in DECISIONS:
        raise ConfigError(f"{path}: line {line} says {what!r}; write one of {', '.join(DECISIONS)}")
    return Decision(line, int(image), key.lower(), what.lower())


def match_decisions(decisions: Iterable[Decision], table: Path) -> Decided:
    """Return which images decisions are about: by number where the key fits, else by the key.

    Args:
        decisions: From read_decisions.
        table: The embed stage's images.parquet.
    """
    given = tuple(decisions)
    wanted = {one.key for one in given if one.key}
    keys: dict[int, str] = {}
    places: dict[str, list[int]] = {}
    numbers = {one.image for one in given}
    for image, key in _keys(table) if given else ():
        if image in numbers:
            keys[image] = key
        if key in wanted:
            places.setdefault(key, []).append(image)
    images: dict[int, str] = {}
    unmatched = []
    for one in given:
        here = one.image in keys and one.key in ("", keys[one.image])
        found = [one.image] if here else places.get(one.key, [])
        if not found or (one.what == SHOW and len(found) > 1):
            unmatched.append(one.line)  # which of several to show is not known
            continue
        for image in found:
            images[image] = _strictest(images.get(image, SHOW), one.what)
    return Decided(images, tuple(unmatched))


def _keys(table: Path) -> Iterator[tuple[int, str]]:
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=["image", "name", "url"]):
            for image, name, url in zip(
                *(batch[column].to_pylist() for column in ("image", "name", "url")), strict=True
            ):
                yield image, image_key(name, url)


def _strictest(first: str, second: str) -> str:
    order = (SHOW, UNSURE, WITHHOLD)
    return max(first, second, key=order.index)
