"""Image tables (Parquet, Arrow, JSON lines, CSV) of many tools, read in batches into the atlas's own columns.

Column names are matched without case: LAION's URL and TEXT, Re-LAION's url and caption,
img2dataset's and clip-retrieval's metadata, Hugging Face datasets.
"""

from __future__ import annotations

import codecs
import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import draft
from atlas.base.text import clean_text
from atlas.inputs.arrow_file import SUFFIXES as ARROW
from atlas.inputs.arrow_file import arrow_batches
from atlas.inputs.unsafe import marks, why_withheld

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH = 8192
TEXT_LOOKED_AT = 1 << 20
"""Bytes of a text file that tell its encoding."""
ROWS_PER_GROUP = 131_072
"""Rows of a Parquet row group; at most so many are held in memory."""
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", *ARROW)
"""Endings of the tables that are read."""
NAME_COLUMNS = (
    "name",
    "key",
    "image_path",
    "file_name",
    "filename",
    "path",
    "uid",
    "sample_id",
    "id",
)
ID_COLUMNS = ("key", "uid", "sample_id", "id")
"""Columns that name each image once; other names may repeat, as those of files in folders do."""
CAPTION_COLUMNS = ("caption", "text", "title", "alt_text", "description", "prompt")
URL_COLUMNS = ("url", "image_url", "source_url")


def read_tables(path: Path) -> Iterator[pa.Table]:
    """Yield a table's rows, a batch at a time, with the columns of image_columns.

    Raises:
        InputError: The file is damaged, of no known kind, or has no column of captions; or, after
            the last batch, its ids are not each there once.
    """
    first, column = 0, None
    ids: list[NDArray[np.int64]] = []
    for batch in raw_batches(path):
        column = find_column(batch.column_names, ID_COLUMNS)
        if column is not None:
            ids.append(np.array([hash(one) for one in _texts(batch, column)], np.int64))
        yield image_columns(batch, path, first)
        first += len(batch)
    if column is not None and ids:
        _check_ids(path, column, np.concatenate(ids))


def _texts(batch: pa.Table, column: str) -> list[str | None]:
    return [clean_text(one) or None for one in _cells(batch[column])]


def _check_ids(path: Path, column: str, hashes: NDArray[np.int64]) -> None:
    """Refuse a table in which an id is there twice; empty cells are no ids.

    Raises:
        InputError: With the first row whose id an earlier one has, and that row.
    """
    order = np.argsort(hashes, kind="stable")
    suspects = set(hashes[order[1:]][np.diff(hashes[order]) == 0].tolist())
    seen: dict[str, int] = {}
    row = 0
    for batch in raw_batches(path) if suspects else ():
        for one in _texts(batch, column):
            if one and hash(one) in suspects:
                if one in seen:
                    raise InputError(
                        f"{path}: row {row} has {column} {one!r}, which row {seen[one]} has, "
                        "expected each once; fix the table, or rename the column if it is no id"
                    )
                seen[one] = row
            row += 1


def raw_batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield a table's rows as they are, a batch at a time.

    Args:
        path: Parquet, Arrow, JSON lines, CSV or TSV, by its ending.
        columns: Of a Parquet or Arrow file, the ones wanted.

    Raises:
        InputError: The file is damaged, or of no known kind.
    """
    import pyarrow as pa

    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_batches(path, columns)
    elif suffix in ARROW:
        yield from _arrow_tables(path, columns)
    elif suffix in SUFFIXES:
        lines = _json_lines(path) if suffix in (".jsonl", ".ndjson") else _csv_lines(path)
        while rows := list(islice(lines, ROWS_PER_BATCH)):
            names = list(dict.fromkeys(name for row in rows for name in row))
            yield pa.table(
                {name: _text_or_values([row.get(name) for row in rows]) for name in names}
            )
    else:
        raise InputError(f"{path} is no table that is read; use {', '.join(SUFFIXES)}")


def _parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            wanted = None if columns is None else list(columns)
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=wanted):
                yield pa.Table.from_batches([batch])
    # Columns may be called what is no UTF-8.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or not Parquet ({reason}); restore it") from error


def _arrow_tables(path: Path, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    import pyarrow as pa

    try:
        for batch in arrow_batches(path):
            table = pa.Table.from_batches([batch])
            table = table if columns is None else table.select(list(columns))
            for start in range(0, len(table), ROWS_PER_BATCH):
                yield table.slice(start, ROWS_PER_BATCH)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is damaged or not Arrow ({reason}); restore it") from error


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: line {number} is not JSON ({error}); fix it") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is no JSON object; fix it")
            yield {clean_text(name): _without_nan(value) for name, value in row.items()}


def _without_nan(value: Any) -> Any:
    """Return a cell that Arrow can hold: text cleaned, and nothing for NaN."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def open_text(path: Path) -> TextIO:
    """Open a text file as an editor may have written it; see decode_text."""
    with path.open("rb") as file:
        start = file.read(TEXT_LOOKED_AT)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    else:
        try:
            # A character may be cut at the end of what is looked at.
            codecs.getincrementaldecoder("utf-8")().decode(start, final=False)
            encoding = "utf-8-sig"
        except UnicodeDecodeError:
            encoding = "cp1252"
    return path.open(encoding=encoding, errors="replace", newline="")


def _csv_lines(path: Path) -> Iterator[dict[str, Any]]:
    with open_text(path) as file:
        try:
            header = file.readline()
            file.seek(0)
            # Spreadsheets of many countries write semicolons.
            delimiter = max(",;\t", key=header.count)
            lines = (clean_text(line.replace("\0", "")) for line in file)
            for row in csv.DictReader(lines, delimiter=delimiter):
                yield {str(key): value for key, value in row.items() if key is not None}
        except csv.Error as error:
            raise InputError(f"{path} is not CSV ({error}); fix it") from error


def _text_or_values(values: list[Any]) -> pa.Array:
    """Return values as Arrow; as text where they are of several kinds."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([clean_text(value) or None for value in values], pa.string())


def find_column(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return the first of the wanted columns that is there, in whatever case; or None."""
    lowered = {name.lower(): name for name in reversed(names)}
    return next((lowered[name] for name in wanted if name in lowered), None)


def image_columns(table: pa.Table, path: Path, first: int) -> pa.Table:
    """Return the columns of IMAGE_COLUMNS of some rows, missing ones filled in.

    Args:
        table: The rows as they were found.
        path: Where, for the error.
        first: Number of the first row; a row without any name is called by its number.

    Raises:
        InputError: There is no column of captions, or one holds something else.
    """
    import pyarrow as pa

    names = table.column_names
    _refuse_repeated(names, path)
    if find_column(names, CAPTION_COLUMNS) is None:
        raise InputError(
            f"{path} has no column caption (or {', '.join(CAPTION_COLUMNS[1:])}); it has {names}"
        )
    try:
        return _known_columns(table, first)
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: a column holds something unexpected ({reason})") from error


def _known_columns(table: pa.Table, first: int) -> pa.Table:
    import pyarrow as pa

    n, names = len(table), table.column_names

    def texts(wanted: Sequence[str]) -> list[str] | None:
        found = find_column(names, wanted)
        return None if found is None else [clean_text(cell) for cell in _cells(table[found])]

    def lists(wanted: str) -> list[list[str]] | None:
        found = find_column(names, (wanted,))
        if found is None or not _is_list(table[found].type):
            return None
        cells = _cells(table[found])
        return [list(filter(None, map(clean_text, cell or []))) for cell in cells]

    caption = texts(CAPTION_COLUMNS) or [""] * n
    terms = lists("terms")
    name = texts((*NAME_COLUMNS, *URL_COLUMNS)) or [f"{first + row}" for row in range(n)]
    listed, withheld = pa.list_(pa.string()), _withheld(table)
    return pa.table(
        {
            "name": pa.array(name, pa.string()),
            "caption": pa.array(caption, pa.string()),
            "url": pa.array([one or None for one in texts(URL_COLUMNS) or [""] * n], pa.string()),
            "tags": pa.array(lists("tags") or [[]] * n, listed),
            "terms": pa.array(
                [[text] if text else [] for text in caption] if terms is None else terms, listed
            ),
            "split": pa.array(texts(("split",)) or [""] * n, pa.string()),
            "sensitive": pa.array([why != "" for why in withheld], pa.bool_()),
            "withheld": pa.array(withheld, pa.string()),
        }
    )


def row_dicts(table: pa.Table, path: Path) -> list[dict[str, Any]]:
    """Return rows as dictionaries; what is no UTF-8 has marks in its place.

    Raises:
        InputError: Two columns have one name, or a text within a list or record is no UTF-8.
    """
    names = table.column_names
    _refuse_repeated(names, path)
    try:
        columns = [_as_text(_cells(table[name]), table[name].type) for name in names]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} has text that is no UTF-8 ({error.reason}); mend it") from error
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _as_text(cells: list[Any], kind: pa.DataType) -> list[Any]:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return cells
    return [None if one is None else one.decode("utf-8", errors="replace") for one in cells]


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    repeated = next((name for name in names if list(names).count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"{path} has two columns called {repeated}; rename one of them")


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's cells, text as bytes: what is no UTF-8 can't be read as text."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = column.cast(pa.large_binary())
    elif _is_list(kind) and pa.types.is_string(kind.value_type):
        column = column.cast(pa.large_list(pa.large_binary()))
    cells: list[Any] = column.to_pylist()
    return cells


def _withheld(table: pa.Table) -> list[str]:
    """Return why each row is to be withheld; empty where no column says so."""
    cells = {name: _cells(table[name]) for name in marks(table.column_names)}
    if not cells:
        return [""] * len(table)
    rows = zip(*cells.values(), strict=True)
    return [why_withheld(dict(zip(cells, row, strict=True))) for row in rows]


def write_image_table(path: Path, tables: Iterable[pa.Table]) -> int:
    """Write tables of one schema as one file, a row group in memory at a time; return the rows.

    The bytes depend on the rows alone, not on how they are cut into tables.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    held: list[pa.Table] = []
    writer: pq.ParquetWriter | None = None
    rows = n_held = 0
    with draft(path) as unfinished:
        for table in tables:
            held.append(table)
            rows, n_held = rows + len(table), n_held + len(table)
            writer = writer or pq.ParquetWriter(
                unfinished,
                table.schema,
                compression="zstd",
                write_page_checksum=True,
                store_schema=False,
            )
            while n_held >= ROWS_PER_GROUP:
                whole = pa.concat_tables(held).combine_chunks()
                writer.write_table(whole.slice(0, ROWS_PER_GROUP), row_group_size=ROWS_PER_GROUP)
                held, n_held = [whole.slice(ROWS_PER_GROUP)], n_held - ROWS_PER_GROUP
        assert writer is not None, "no tables"
        if n_held:
            writer.write_table(
                pa.concat_tables(held).combine_chunks(), row_group_size=ROWS_PER_GROUP
            )
        writer.close()
    return rows
