"""WebP pictures of Parquet tables, read by number without holding them in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import pyarrow.parquet as pq
from PIL import Image


class PictureStore:
    """Pictures by number, in a file."""

    def __init__(self, file: IO[bytes], places: Mapping[int, tuple[int, int]]) -> None:
        """Wrap an open file; places are number -> (start, length) of a picture in it."""
        self._file = file
        self._places = places

    def __contains__(self, number: int) -> bool:
        """Return whether there is a picture of that number."""
        return number in self._places

    def __getitem__(self, number: int) -> bytes:
        """Return the WebP of a picture.

        Raises:
            KeyError: There is no picture of that number.
        """
        start, length = self._places[number]
        self._file.seek(start)
        return self._file.read(length)


@contextmanager
def open_pictures(tables: Iterable[Path], column: str, wanted: set[int]) -> Iterator[PictureStore]:
    """Copy the wanted pictures of Parquet tables to a temporary file, to read them by number.

    Parquet has no quick access to a single row: it would decompress a whole row group each time.

    Args:
        tables: Parquet files with a column of numbers and a column webp.
        column: Name of the column of numbers, for instance image.
        wanted: Numbers of the pictures to copy.
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
        yield PictureStore(file, places)


def picture_side(tables: Iterable[Path]) -> int:
    """Return the side in pixels of the first picture in Parquet tables; 0 if there is none."""
    for path in tables:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1, columns=["webp"]):
            with Image.open(io.BytesIO(batch["webp"][0].as_py()), formats=("WEBP",)) as picture:
                return picture.width
    return 0
