"""The catalog's tables as files of the site: whole, or of the images that its pages show."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.base.tables import TABLES
from atlas.site import links
from atlas.site.output import Output
from atlas.site.pages.data import PER_IMAGE
from atlas.site.picture_sheets import ON_FEATURES
from atlas.site.queries import read_column
from atlas.site.shown import LISTED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS_PER_GROUP = 131_072
"""As in the catalog's own files."""


def write_tables(out: Output, db: DuckDBPyConnection) -> None:
    """Write the tables that site.tables asks for."""
    asked, folder = out.job.settings.tables, out.job.inputs["catalog"] / "parquet"
    if asked == "none":
        return
    shown = images_shown(db) if asked == "shown" else ()
    for table in TABLES:
        path = folder / f"{table.name}.parquet"
        some = asked == "shown" and table.name in PER_IMAGE
        data = rows_of(path, shown) if some else path.read_bytes()
        out.put(links.parquet_file(table.name), data)


def images_shown(db: DuckDBPyConnection) -> list[int]:
    """Return the images that any page shows, ascending; none that is withheld."""
    query = f"""SELECT image FROM ({ON_FEATURES} UNION {LISTED} UNION SELECT image FROM examples
                UNION SELECT image FROM where_maps)
                JOIN images USING (image) WHERE NOT sensitive ORDER BY image"""
    return read_column(db, query)


def rows_of(path: Path, images: Collection[int]) -> bytes:
    """Return a Parquet file with the rows of a table that are about some images, a part in memory at a time."""
    wanted, data = np.array(images, np.int64), io.BytesIO()
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        with pq.ParquetWriter(
            data, schema, compression="zstd", write_page_checksum=True, store_schema=False
        ) as writer:
            kept = []
            for batch in file.iter_batches(1 << 16):
                mask = np.isin(batch["image"].to_numpy(), wanted)
                kept.append(batch.filter(pa.array(mask)))
            writer.write_table(
                pa.Table.from_batches(kept, schema).combine_chunks(), row_group_size=ROWS_PER_GROUP
            )
    return data.getvalue()
