"""Opening the tables of an atlas, wherever they are: its database, a published site, an address.

Tables of an earlier version of this program are shown with today's columns; what they lack is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.errors import InputError, MissingError
from atlas.base.extras import explain_missing_package
from atlas.base.tables import TABLES, TABLES_VERSION, Table, tables_digest
from atlas.base.web import is_address, open_address
from atlas.settings.paths import database_path

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CLOSED: dict[str, Any] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
}
"""A query reads the atlas and nothing else."""
FACTS = "parquet/provenance.parquet"
"""File that every published site with tables has."""


def open_tables(place: str) -> DuckDBPyConnection:
    """Return a connection in which every table of today's version can be asked.

    Args:
        place: Folder of an atlas, folder of a published site, or the address of one or of a bundle.

    Raises:
        MissingError: There is no atlas.
        InputError: It is damaged, or of a later version.
    """
    if is_address(place):
        return _open_address(place)
    if database_path(Path(place)).exists():
        return _open_database(Path(place))
    if (Path(place) / FACTS).exists():
        return _open_site(Path(place))
    if (Path(place) / "api").is_dir():
        raise MissingError(f"the site at {place} carries no tables (site.tables = none)")
    raise MissingError(f"no atlas at {place}; build one with: atlas build CONFIG")


def _open_database(folder: Path) -> DuckDBPyConnection:
    import duckdb

    path = str(database_path(folder))
    db = duckdb.connect(path, read_only=True, config=CLOSED)
    facts = dict(db.execute("SELECT key, value FROM provenance").fetchall())
    if facts.get("tables") == tables_digest():
        return db
    _require_readable(facts, str(folder))
    db.close()
    views = duckdb.connect(config={"autoload_known_extensions": "false"})
    quoted = path.replace("'", "''")
    views.execute(f"ATTACH '{quoted}' AS built (READ_ONLY)")
    views.execute("SET enable_external_access = false")
    rows = views.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'built'")
    there = {row[0] for row in rows.fetchall()}
    for table in TABLES:
        _show(views, table, f"built.{table.name}" if table.name in there else None)
    return views


def _open_site(folder: Path) -> DuckDBPyConnection:
    import duckdb

    db = duckdb.connect(config={"autoload_known_extensions": "false"})
    parquet = folder.resolve() / "parquet"
    _close(db, f"{parquet}/")
    for table in TABLES:
        path = parquet / f"{table.name}.parquet"
        _show(db, table, _parquet(str(path)) if path.exists() else None)
    _require_readable(_facts(db), str(folder))
    return db


def _open_address(address: str) -> DuckDBPyConnection:
    import duckdb

    address = address.removesuffix("index.html").removesuffix("manifest.json").rstrip("/")
    folder, names = _tables_at(address)
    with explain_missing_package("opening an address"):
        from atlas.lookup.ranges import PROTOCOL, Ranges

        files = Ranges(address, names)
    db = duckdb.connect(config={"autoload_known_extensions": "false"})
    db.register_filesystem(files)
    _close(db, f"{PROTOCOL}://{folder}/")
    for table, name in zip(TABLES, names, strict=True):
        _show(db, table, _parquet(f"{PROTOCOL}://{name}") if files.has(name) else None)
    _require_readable(_facts(db), address)
    return db


def _tables_at(address: str) -> tuple[str, list[str]]:
    """Return the folder of the tables below an address, and each one's file: of a site or a bundle."""
    names = [f"parquet/{table.name}.parquet" for table in TABLES]
    try:
        open_address(f"{address}/{FACTS}", {"Range": "bytes=0-3"}).close()
    except MissingError:
        from atlas.lookup.bundles import Bundle

        try:
            files = Bundle(address).manifest.files
        except MissingError:
            pass
        else:
            found = (files.get(f"catalog/{name}") for name in names)
            return "objects", [one.address if one else "objects/none" for one in found]
        raise
    return "parquet", names


def _close(db: DuckDBPyConnection, folder: str) -> None:
    """Let queries read the files of one folder and nothing else."""
    quoted = folder.replace("'", "''")
    db.execute(f"SET allowed_directories = ['{quoted}']")
    db.execute("SET enable_external_access = false")


def _parquet(path: str) -> str:
    from glob import escape

    quoted = escape(path).replace("'", "''")
    return f"read_parquet('{quoted}')"


def _show(db: DuckDBPyConnection, table: Table, source: str | None) -> None:
    """Make a view of a table with today's columns; those that the source lacks are null."""
    known: set[str] = set()
    if source is not None:
        known = {row[0] for row in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = ", ".join(
        f'"{column.name}"' if column.name in known else f'NULL::{column.type} AS "{column.name}"'
        for column in table.columns
    )
    rows = f"FROM {source}" if source is not None else "WHERE false"
    db.execute(f"CREATE VIEW {table.name} AS SELECT {columns} {rows}")


def _facts(db: DuckDBPyConnection) -> dict[str, str]:
    return dict(db.execute("SELECT key, value FROM provenance").fetchall())


def _require_readable(facts: Mapping[str, str], place: str) -> None:
    version = int(facts.get("tables_version", 0))
    if version > TABLES_VERSION:
        raise InputError(
            f"{place} has tables of version {version} ({facts.get('made_with', 'unknown')}), and "
            f"this program reads up to {TABLES_VERSION}; install a newer one: "
            "pip install --upgrade feature-atlas"
        )
