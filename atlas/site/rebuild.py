"""Digests of all that decides the pages of a block of features: a block with the same digest is unchanged.

A digest covers the rows that chapter.read_chapter reads, what the frame of every page shows, and
the names and icons of the features that these pages link to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from atlas.base.files import digest_json
from atlas.site.book import ROW_FIELDS, Book, name_of
from atlas.site.chapter import chapter_queries
from atlas.site.pages.evidence import names_were_looked_for
from atlas.site.pages.feature import frame_view

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEATURES_A_BLOCK = 64
"""Those of one JSON file, so that no file belongs to two blocks."""
BLOCKS_AT_ONCE = 256
POINTERS = frozenset({"feature", "neighbor", "other", "child"})
"""Columns of the chapter's queries that refer to other features."""
Adjacent = Mapping[int, tuple[int | None, int | None]]
"""Live feature -> the live ones before and after it; None at the ends."""


def digest_blocks(
    db: DuckDBPyConnection, book: Book, adjacent: Adjacent, others: str
) -> Iterator[tuple[int, str]]:
    """Yield each block with live features, and a digest of all that decides its files.

    Args:
        db: The catalog.
        book: What every page may need.
        adjacent: The features that each page's arrows lead to.
        others: Digest of what decides the files apart from the catalog: settings, pictures.
    """
    shared = digest_json(
        [
            others,
            book.layout,
            book.shown.mode,
            book.icon_px,
            frame_view(book),
            names_were_looked_for(book),
            list(book.decomposed),
        ]
    )
    at_once = FEATURES_A_BLOCK * BLOCKS_AT_ONCE
    for start in range(0, book.n_features, at_once):
        tables = _read(db, start, start + at_once, with_urls=book.shown.linked)
        for first in range(start, min(start + at_once, book.n_features), FEATURES_A_BLOCK):
            live = [f for f in range(first, first + FEATURES_A_BLOCK) if f in book.live]
            if live:
                ends = [shared, adjacent[live[0]][0], adjacent[live[-1]][1]]
                yield first // FEATURES_A_BLOCK, _digest(book, tables, first, ends)


def _read(db: DuckDBPyConnection, first: int, last: int, *, with_urls: bool) -> dict[str, pa.Table]:
    own = f"""SELECT {", ".join(ROW_FIELDS)} FROM features
              WHERE alive AND feature >= {first} AND feature < {last} ORDER BY feature"""
    queries = {"own": own, **chapter_queries(first, last, with_urls=with_urls)}
    return {
        name: db.sql(query).to_arrow_table().combine_chunks() for name, query in queries.items()
    }


def _digest(book: Book, tables: Mapping[str, pa.Table], first: int, ends: Sequence[object]) -> str:
    found = hashlib.sha256(digest_json(ends).encode())
    shown: set[int] = set()
    for name, table in tables.items():
        features = table["feature"].to_numpy()
        start, stop = np.searchsorted(features, (first, first + FEATURES_A_BLOCK))
        found.update(f"{name} {stop - start}\n".encode())
        if start == stop:
            continue
        (batch,) = table.slice(start, stop - start).to_batches()
        found.update(_bytes_of(batch))
        for column in POINTERS.intersection(table.column_names):
            shown.update(batch[column].to_pylist())
    for feature in sorted(shown & book.live.keys()):  # names from elsewhere may be of dead ones
        link = (name_of(book, feature), book.icons.get(feature), book.live[feature].sensitive)
        found.update(f"{feature} {link}\n".encode())
    return found.hexdigest()


def _bytes_of(batch: pa.RecordBatch) -> bytes:
    """Return bytes that depend only on the rows; Arrow leaves the memory below a null undefined."""
    gaps = {name for name in batch.schema.names if batch[name].null_count}
    whole = batch.select([name for name in batch.schema.names if name not in gaps])
    with_gaps = [(name, batch[name].to_pylist()) for name in sorted(gaps)]
    return bytes(whole.serialize()) + repr(with_gaps).encode()
