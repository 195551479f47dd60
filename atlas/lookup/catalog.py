"""The catalog of a finished atlas, open for reading: rows, labels, any SQL.

Nothing at the top of the modules of this room imports torch, faiss, diffusers or pyarrow: a
look-up answers in a fraction of a second.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

from atlas.base.errors import InputError, MissingError
from atlas.base.web import is_address
from atlas.lookup.opening import open_tables
from atlas.settings.paths import database_path

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Limits:
    """What a query may take."""

    seconds: float = 300.0
    """0 for any time."""
    memory_gb: float = 4.0
    rows: int = 1_000_000


def _laid_out(place: str) -> Path | None:
    """Return a folder with what look-ups read, if the place is a bundle."""
    if database_path(Path(place)).exists() or is_address(place):
        return None
    from atlas.lookup.bundles import Bundle, is_bundle, lay_out

    return lay_out(Bundle(place)) if is_bundle(place) else None


def _delete(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


class Catalog:
    """A catalog, open for reading. Closing is optional; it may be used in a with block."""

    def __init__(self, path: str | PathLike[str] = "build/demo") -> None:
        """Open the catalog.

        Args:
            path: The folder of an atlas, of a published site or of a bundle, a bundle in one
                file, the address of a site or a bundle, or hf:OWNER/NAME, a bundle on the Hub.

        Raises:
            MissingError: There is no built atlas in it.
            InputError: The catalog is damaged, or of a version that can't be read.
        """
        import duckdb

        self.place = str(path)
        self._laid_out = _laid_out(self.place)
        self.path = self._laid_out or Path(path)
        self._clear = finalize(self, _delete, self._laid_out)
        try:
            self._db: DuckDBPyConnection = open_tables(
                str(self.path) if self._laid_out else self.place
            )
            facts = self._db.execute("SELECT key, value FROM provenance").fetchall()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            if "lock" in reason.lower():
                raise InputError(
                    f"the catalog of {self.place} is open for writing in another program ({reason}); "
                    "close that program, or ask a copy of the file"
                ) from error
            raise InputError(
                f"cannot read the catalog of {self.place}: {reason}; build it again with: atlas build CONFIG catalog"
            ) from error
        self.provenance: dict[str, str] = dict(facts)
        self.id = self.provenance["id"]

    def __enter__(self) -> Self:
        """Return this one."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the catalog."""
        self.close()

    def close(self) -> None:
        """Close the catalog; look-ups after this fail."""
        self._db.close()
        self._clear()

    @property
    def published(self) -> bool:
        """Whether this is a published site or a bundle: tables, but no models."""
        return self._laid_out is not None or not database_path(self.path).exists()

    @cached_property
    def n_features(self) -> int:
        """Features of the SAE, dead ones included."""
        return int(self.rows("SELECT count(*) FROM features")[0][0])

    def sql(self, query: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return the column names and rows of a query; the catalog can't be changed by it.

        Raises:
            InputError: DuckDB refuses the query.
        """
        return self.sql_with(query)

    def sql_with(
        self, query: str, values: Sequence[object] = ()
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return what sql does, with values in the places of the question marks.

        Raises:
            InputError: DuckDB refuses the query.
        """
        import duckdb

        try:
            cursor = self._db.execute(query, values)
        except duckdb.Error as error:
            raise InputError(f"the query fails: {' '.join(str(error).split())}") from error
        names = tuple(column[0] for column in cursor.description or ())
        return names, cursor.fetchall()

    def ask(self, query: str, limits: Limits) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return what sql does, within limits of time, memory and rows.

        Raises:
            InputError: DuckDB refuses the query, or it takes more than it may.
        """
        import duckdb

        timer = Timer(limits.seconds, self._db.interrupt)
        timer.daemon = True
        try:
            self._db.execute(f"SET memory_limit = '{limits.memory_gb} GB'")
            if limits.seconds:
                timer.start()
            cursor = self._db.execute(query)
            rows = cursor.fetchmany(limits.rows + 1)
        except duckdb.InterruptException as error:
            raise InputError(
                f"the query took longer than {limits.seconds:g} s and was stopped; ask for less, or allow more with --seconds"
            ) from error
        except duckdb.OutOfMemoryException as error:
            raise InputError(
                f"the query needs more than {limits.memory_gb:g} GB of memory; ask for less, or allow more with --memory"
            ) from error
        except duckdb.Error as error:
            raise InputError(f"the query fails: {' '.join(str(error).split())}") from error
        finally:
            timer.cancel()
        if len(rows) > limits.rows:
            raise InputError(
                f"the query gives more than {limits.rows:,} rows; add LIMIT, or allow more with --rows"
            )
        return tuple(column[0] for column in cursor.description or ()), rows

    def arrow(self, query: str) -> pa.Table:
        """Return a query's rows as an Arrow table, for processing many of them.

        Raises:
            InputError: DuckDB refuses the query.
        """
        import duckdb

        try:
            return self._db.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"the query fails: {' '.join(str(error).split())}") from error

    def names(self, features: Sequence[int]) -> dict[int, str]:
        """Return the name of each of these features that has one; "withheld" where it is sensitive."""
        rows = self.rows(
            """SELECT n.feature, CASE WHEN f.sensitive THEN 'withheld' ELSE n.name END
               FROM names n JOIN features f USING (feature) WHERE feature IN (SELECT unnest(?))""",
            [list(features)],
        )
        return dict(rows)

    def __repr__(self) -> str:
        """Return one line: where it lies, features and images."""
        ((alive, images),) = self.rows(
            "SELECT (SELECT count(*) FROM features WHERE alive), (SELECT count(*) FROM images)"
        )
        return f"<atlas {self.place}: {self.n_features:,} features, {alive:,} alive, {images:,} images>"

    def rows(
        self, query: str, values: Sequence[object] | dict[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Return the rows of one of our own queries, with values in its places."""
        return self._db.execute(query, values).fetchall()

    def require(self, feature: int) -> None:
        """Refuse a number that is no feature.

        Raises:
            MissingError: The SAE has no such feature.
        """
        if not 0 <= feature < self.n_features:
            raise MissingError(
                f"no feature {feature}; {self.place} has features 0 to {self.n_features - 1}"
            )
