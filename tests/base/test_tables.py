"""The tables are documented column by column, and the documents agree with the code."""

from pathlib import Path

import duckdb

from atlas.base.tables import TABLES, create_sql

ROOT = Path(__file__).parents[2]


def test_every_table_can_be_created_and_sorted():
    with duckdb.connect() as db:
        for table in TABLES:
            db.execute(create_sql(table))
            db.execute(f"SELECT * FROM {table.name} ORDER BY {table.order}")
            names = [row[0] for row in db.execute(f"DESCRIBE {table.name}").fetchall()]
            assert names == [column.name for column in table.columns]
