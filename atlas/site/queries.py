"""Rows of a catalog query as columns, records and groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Record = TypeVar("Record")


def read_column(db: DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> list[Any]:
    """Return the first column of a query's rows."""
    return [row[0] for row in db.execute(query, list(values)).fetchall()]


def read_records(db: DuckDBPyConnection, kind: Callable[..., Record], source: str) -> list[Record]:
    """Return rows as records; the fields of the record name the columns.

    Args:
        db: The catalog.
        kind: A dataclass or NamedTuple without inherited fields.
        source: What follows FROM, with its conditions and order.
    """
    columns = ", ".join(kind.__annotations__)
    return [kind(*row) for row in db.execute(f"SELECT {columns} FROM {source}").fetchall()]


def read_groups(
    db: DuckDBPyConnection, query: str, values: Sequence[Any] = ()
) -> dict[Any, list[tuple[Any, ...]]]:
    """Return the rows of a query by their first column, in order and without it.

    Returns:
        A dictionary that has an empty list for any other key.
    """
    groups: dict[Any, list[tuple[Any, ...]]] = defaultdict(list)
    for key, *rest in db.execute(query, list(values)).fetchall():
        groups[key].append(tuple(rest))
    return groups
