"""Pictures joined in sheets: a million small ones become some thousand files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pyarrow.parquet as pq
from PIL import Image

from atlas.base.files import digest_json


def join(webps: Sequence[bytes | None], columns: int, px: int, quality: int) -> bytes:
    """Return pictures as one WebP, row by row.

    Args:
        webps: Square pictures; None leaves its cell white.
        columns: Pictures in a row.
        px: Side of each picture in the sheet.
        quality: Of the WebP, 1 to 100.
    """
    sheet = Image.new("RGB", (columns * px, -(-len(webps) // columns) * px), "white")
    for number, webp in enumerate(webps):
        if webp is None:
            continue
        with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
            small = picture.convert("RGB")
        if small.size != (px, px):
            small = small.resize((px, px), Image.Resampling.LANCZOS)
        sheet.paste(small, (number % columns * px, number // columns * px))
    data = io.BytesIO()
    sheet.save(data, "WEBP", quality=quality, method=4)
    return data.getvalue()


def sheet_key(webps: Sequence[bytes | None], columns: int, px: int, quality: int) -> str:
    """Return a digest of all that decides a sheet's bytes."""
    digests = [hashlib.sha256(webp).hexdigest() if webp else "" for webp in webps]
    return digest_json([digests, columns, px, quality])


def side_of(tables: Iterable[Path]) -> int:
    """Return the side of the first picture of Parquet tables that each have one side; 0 without any."""
    for path in tables:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1, columns=["webp"]):
            with Image.open(io.BytesIO(batch["webp"][0].as_py()), formats=("WEBP",)) as picture:
                return picture.width
    return 0


class Shelf:
    """Pictures by number, on the disk rather than in memory."""

    def __init__(self, file: IO[bytes], places: Mapping[int, tuple[int, int]]) -> None:
        """Take a file and, for each number, where its bytes begin and how many they are."""
        self._file = file
        self._places = places

    def __contains__(self, number: int) -> bool:
        """Return whether there is such a picture."""
        return number in self._places

    def __getitem__(self, number: int) -> bytes:
        """Return a picture's WebP.

        Raises:
            KeyError: There is no such picture.
        """
        start, length = self._places[number]
        self._file.seek(start)
        return self._file.read(length)


@contextmanager
def shelf(tables: Iterable[Path], column: str, wanted: set[int]) -> Iterator[Shelf]:
    """Give access by number to pictures that lie in Parquet tables, for the time of a with block.

    Args:
        tables: Each with the given column and one of WebP files, webp.
        column: Of the numbers, for instance image.
        wanted: The numbers that may be asked for.
    """
    with TemporaryFile() as file:
        places = {}
        for path in tables:
            for batch in pq.ParquetFile(path).iter_batches(
                batch_size=4096, columns=[column, "webp"]
            ):
                for number, webp in zip(
                    batch[column].to_pylist(), batch["webp"].to_pylist(), strict=True
                ):
                    if number in wanted:
                        places[number] = (file.tell(), len(webp))
                        file.write(webp)
        yield Shelf(file, places)
