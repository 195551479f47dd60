"""The catalog stage: what the other stages found, as `atlas.duckdb` and as Parquet.

Columns are declared in `base/tables.py`. Parquet files must be byte-identical for identical input,
so every query that fills a table has a complete ORDER BY.
"""
