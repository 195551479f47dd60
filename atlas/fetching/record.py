"""What was fetched, on disk: parts of thumbnails, and beside them what became of each url.

Parts are written whole and never changed. Thumbnails come first, so that after a kill between the two
no url counts as kept without its picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.base.files import read_parquet, write_parquet
from atlas.fetching.outcomes import Outcome
from atlas.settings.paths import FETCHED_THUMBNAILS

OUTCOMES = "outcomes-"
DIGEST_LETTERS = 12
THUMBNAIL_SCHEMA = pa.schema([("image", pa.int64()), ("url", pa.string()), ("webp", pa.binary())])
OUTCOME_SCHEMA = pa.schema([("url", pa.string()), ("outcome", pa.string()), ("why", pa.string())])


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a url."""

    url: str
    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture that was fetched, small."""

    image: int
    url: str
    webp: bytes


class Record:
    """The parts of one set of images."""

    def __init__(self, folder: Path, embed_digest: str) -> None:
        """Look into a folder, which may not exist; the digest says which images rows are numbers of."""
        self._folder = folder
        self._digest = embed_digest[:DIGEST_LETTERS]

    def outcomes(self) -> Mapping[str, Told]:
        """Return what became of each url, by the newest part that tells."""
        return {told.url: told for path in self._parts(OUTCOMES) for told in read_outcomes(path)}

    def images(self) -> NDArray[np.int64]:
        """Return the images that have a fetched thumbnail."""
        held = [
            read_parquet(path, ["image"])["image"].to_numpy()
            for path in self._parts(FETCHED_THUMBNAILS)
        ]
        return np.concatenate([np.zeros(0, np.int64), *held])

    def write(self, thumbnails: list[Thumbnail], outcomes: list[Told]) -> None:
        """Write a part of each; of thumbnails only if there are some."""
        number = self._next_number()
        if thumbnails:
            rows = [[getattr(one, name) for one in thumbnails] for name in THUMBNAIL_SCHEMA.names]
            path = self._path(FETCHED_THUMBNAILS, number)
            write_parquet(path, pa.table(rows, schema=THUMBNAIL_SCHEMA))
        rows = [[str(getattr(one, name)) for one in outcomes] for name in OUTCOME_SCHEMA.names]
        write_parquet(self._path(OUTCOMES, number), pa.table(rows, schema=OUTCOME_SCHEMA))

    def _next_number(self) -> int:
        paths = [*self._parts(FETCHED_THUMBNAILS), *self._parts(OUTCOMES)]
        return max((_number_of(path) for path in paths), default=-1) + 1

    def _path(self, kind: str, number: int) -> Path:
        return self._folder / f"{kind}{self._digest}-{number:04d}.parquet"

    def _parts(self, kind: str) -> list[Path]:
        found = self._folder.glob(f"{kind}{self._digest}-*.parquet")
        return sorted(found, key=_number_of)


def _number_of(path: Path) -> int:
    found = re.search(r"-(\d+)\.parquet$", path.name)
    return int(found.group(1)) if found else -1


def read_outcomes(path: Path) -> Iterator[Told]:
    """Yield the rows of a part of outcomes."""
    table = read_parquet(path, OUTCOME_SCHEMA.names)
    for url, outcome, why in zip(
        *(table[name].to_pylist() for name in table.column_names), strict=True
    ):
        yield Told(url, Outcome(outcome), why)
