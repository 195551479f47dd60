"""Proof that nothing withheld is in a finished site: every file of it is looked through.

Texts are compared value by value: a caption that a page shows stands between tags or quotes. What
is also a text of an image that may be shown, or a word of the vocabulary, gives nothing away.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atlas.base.errors import ConfigError, SiteError
from atlas.base.files import list_files, read_json
from atlas.inputs.takedown import SAME_BITS, count_bits, read_takedown
from atlas.inputs.vocabulary import read_vocabulary
from atlas.run.receipt import stage_source
from atlas.run.stage import Job
from atlas.settings.load import saved_config
from atlas.settings.paths import (
    DATABASE,
    FETCHED,
    FETCHED_THUMBNAILS,
    TAKEN_DOWN,
    database_path,
    site_dir,
    template_root,
)
from atlas.site import links
from atlas.site.lookalikes import hash_webp
from atlas.site.output import Output
from atlas.site.queries import read_column
from atlas.site.text import clean
from atlas.site.withheld_pictures import find_withheld_pictures

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SHORTEST = 8
"""Characters from which on a text is looked for: shorter ones, like single words, stand everywhere."""
MARKUP = (".html", ".xml", ".svg")
SCRIPTS = (".js", ".json")
TEXTS = (*MARKUP, *SCRIPTS, ".txt", ".css", ".csv")
EDGES = re.compile(r"""[<>"\n\r\t]+""")
"""What stands around a value in markup and in JSON."""
ESCAPED = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/]))')
OWN_TEXTS = """SELECT value FROM provenance
    UNION SELECT label FROM labels WHERE source <> 'captions' ORDER BY 1"""
"""Query of the texts that are the owner's, or the vocabulary's, whatever captions say."""
OF_NUMBER = re.compile(
    r"(?P<what>thumb|image|icon|strip|concept|knob|transfer)/\d+/(?P<number>\d+)"
    r"(?:-(?P<second>\d+))?\.(?:webp|html)"
)
"""Address of a page or picture that is of one image or feature; a transfer is of two images."""
TEXT_COLUMNS = """SELECT table_name, column_name FROM duckdb_columns()
    WHERE data_type IN ('VARCHAR', 'VARCHAR[]') AND NOT internal ORDER BY 1, 2"""
SHOWN = 3
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Withheld:
    """What must not be found."""

    images: frozenset[int]
    features: frozenset[int]
    """Features without icon, name and labels."""
    values: frozenset[str]
    """Whole texts that came with these images, case folded."""
    phrases: tuple[str, ...]
    """Texts that must not even be part of one."""

    def __bool__(self) -> bool:
        """Return whether there is anything to look for."""
        return bool(self.images or self.features or self.phrases)


def read_withheld(
    db: DuckDBPyConnection, embed: Path, takedown: Path | None, words: Iterable[str]
) -> Withheld:
    """Return what a site must not hold.

    Args:
        db: The catalog, which says what is withheld.
        embed: Folder of the embed stage, which has the texts.
        takedown: The list of what is taken down.
        words: Of the vocabulary; they stand in the site's search whatever the images.
    """
    hidden = np.array(read_column(db, "SELECT image FROM images WHERE sensitive"), np.int64)
    entries = read_takedown(takedown) if takedown is not None else ()
    phrases = tuple(entry.value for entry in entries if entry.kind == "caption")
    values: set[str] = set()
    if len(hidden):
        path = embed / "images.parquet"
        values.update(*(_texts(rows) for rows in _rows(path, hidden, withheld=True)))
        for rows in _rows(path, hidden, withheld=False):
            values.difference_update(_texts(rows))
        values.difference_update(word.casefold() for word in words)
        for text in (*read_column(db, OWN_TEXTS), *_template_texts()):
            values.difference_update(_pieces(text))
    features = read_column(db, "SELECT feature FROM features WHERE sensitive")
    return Withheld(frozenset(hidden.tolist()), frozenset(features), frozenset(values), phrases)


def _rows(path: Path, hidden: NDArray[np.int64], *, withheld: bool) -> Iterator[pa.Table]:
    """Yield the texts of the images that are withheld, or of all others."""
    columns = ["image", "name", "caption", "url", "tags", "terms"]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
            mask = np.isin(batch["image"].to_numpy(), hidden, invert=not withheld)
            yield pa.Table.from_batches([batch.filter(pa.array(mask))])


def _texts(rows: pa.Table) -> Iterator[str]:
    for column in ("name", "caption", "url"):
        for text in rows[column].to_pylist():
            yield from _pieces(text or "")
    for column in ("tags", "terms"):
        for texts in rows[column].to_pylist():
            for text in texts or ():
                yield from _pieces(text)


def _pieces(text: str) -> Iterator[str]:
    """Yield what a text is found by: its pieces between edges, as it stands and as pages clean it."""
    for form in {text, clean(text)}:
        for piece in EDGES.split(form.casefold()):
            held = piece.strip()
            if len(held) >= SHORTEST and not held.isalpha():
                yield held


def _template_texts() -> Iterator[str]:
    for path in list_files(template_root()):
        if path.suffix in (".jinja", ".js", ".css"):
            yield path.read_text(encoding="utf-8")


def words_of(catalog: Path) -> tuple[str, ...]:
    """Return the words of the vocabulary that a catalog was built with, if it was."""
    folder = catalog / "search" / "vocabulary"
    return read_vocabulary(folder).words if folder.exists() else ()


def n_taken_down(job: Job) -> int:
    """Return how many entries the list of what was taken down has."""
    path = job.inputs["catalog"] / TAKEN_DOWN
    return len(read_json(path)["sha256"]) if path.exists() else 0


def write_takedown(out: Output) -> None:
    """Publish what was taken down as hashes, so that whoever asked can see that it was."""
    path = out.job.inputs["catalog"] / TAKEN_DOWN
    if path.exists():
        out.put(links.TAKEDOWN, "".join(f"{one}\n" for one in read_json(path)["sha256"]))


def refuse_look_alikes(db: DuckDBPyConnection, fetched: Iterable[Path], takedown: Path) -> None:
    """Refuse a list whose pictures were fetched for images that it does not name: the catalog has not seen them.

    Args:
        db: The catalog.
        fetched: Parquet files of fetched thumbnails.
        takedown: The list.

    Raises:
        ConfigError: There are such; the message has the lines to add.
    """
    hashes = [int(e.value, 16) for e in read_takedown(takedown) if e.kind == "dhash"]
    if not hashes:
        return
    hidden = set(read_column(db, "SELECT image FROM images WHERE sensitive"))
    listed, found = np.array(hashes, np.uint64), {}
    for path in fetched:
        for row in pq.read_table(path, columns=["image", "url", "webp"]).to_pylist():
            far = count_bits(np.uint64(hash_webp(row["webp"])) ^ listed)
            if row["image"] not in hidden and far.min() <= SAME_BITS:
                found[row["url"]] = row["image"]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ConfigError(
            f"{takedown} has pictures that were fetched for images it does not name; "
            f"add to it: {', '.join(f'url {url}' for url in [*found][:SHOWN])}{more}"
        )


def check_atlas(atlas: Path) -> int:
    """Look for what is withheld in catalog and site of an atlas that was built here; return the files read.

    Raises:
        SiteError: Something is there.
    """
    import duckdb

    embed, catalog = atlas / "embed", atlas / "catalog"
    if not database_path(atlas).exists() or not (embed / "images.parquet").exists():
        return 0
    takedown = saved_config(atlas).catalog.takedown
    with duckdb.connect(str(database_path(atlas)), read_only=True) as db:
        withheld = read_withheld(db, embed, takedown, words_of(catalog))
        check_catalog(catalog, db, withheld)
    fetched = f"{FETCHED_THUMBNAILS}{stage_source(embed).digest[:12]}-*.parquet"
    thumbnails = [
        *sorted((embed / "parts").glob("thumbnails-*.parquet")),
        *sorted((atlas / FETCHED).glob(fetched)),
    ]
    return check_withheld(site_dir(atlas), withheld, thumbnails)


def check_withheld(site: Path, withheld: Withheld, thumbnails: Sequence[Path]) -> int:
    """Look for what is withheld in every file of a site; return how many files were read.

    Args:
        site: The site's folder.
        withheld: What must not be there.
        thumbnails: Parquet files of the images' thumbnails, to know their looks by.

    Raises:
        SiteError: Something is there; the message names the file, never the text.
    """
    found: list[str] = []
    n_read = 0
    for path in list_files(site) if withheld else ():
        name = path.relative_to(site).as_posix()
        found += _wrong_address(name.removeprefix(f"{links.MEDIA}/"), withheld)
        if path.suffix in (*TEXTS, ".parquet"):
            n_read += 1
            found += _wrong_texts(name, _file_texts(path), withheld)
    _refuse(site, [*found, *find_withheld_pictures(site, thumbnails, withheld.images)])
    return n_read


def check_catalog(folder: Path, db: DuckDBPyConnection, withheld: Withheld) -> None:
    """Look for what is withheld in the tables, the database and the search of a catalog.

    Raises:
        SiteError: Something is there.
    """
    found: list[str] = []
    for path in list_files(folder) if withheld else ():
        if path.suffix in (*TEXTS, ".parquet"):
            name = path.relative_to(folder).as_posix()
            found += _wrong_texts(name, _file_texts(path), withheld)
    tables = db.execute(TEXT_COLUMNS).fetchall() if withheld else ()
    for table, column in tables:
        texts = read_column(db, f'SELECT DISTINCT "{column}"::VARCHAR FROM "{table}"')
        held = ("\n".join(filter(None, texts)).casefold(),)
        found += _wrong_texts(f"{DATABASE}: {table}.{column}", held, withheld)
    for table in ("labels", "names"):
        rows = read_column(
            db,
            f"SELECT DISTINCT feature FROM {table} JOIN features USING (feature) WHERE sensitive",
        )
        found += [f"{table} names feature {feature}, which is withheld" for feature in rows]
    _refuse(folder, found)


def _refuse(folder: Path, found: Sequence[str]) -> None:
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise SiteError(
            f"{folder} holds what is withheld: {'; '.join(found[:SHOWN])}{more}; do not publish it: "
            "delete the folder and build the site again, and report this"
        )


def _wrong_address(name: str, withheld: Withheld) -> list[str]:
    """Return what is wrong with a file by its address alone."""
    found = OF_NUMBER.fullmatch(name)
    if not found:
        return []
    of_feature = found["what"] in ("icon", "strip")
    hidden = withheld.features if of_feature else withheld.images
    numbers = [int(found["number"])]
    if found["what"] == "transfer":
        numbers.append(int(found["second"]))
    what = "feature" if of_feature else "image"
    return [f"{name} is of {what} {n}, which is withheld" for n in numbers if n in hidden]


def _file_texts(path: Path) -> Iterable[str]:
    return _table_texts(path) if path.suffix == ".parquet" else (_plain(path),)


def _wrong_texts(name: str, texts: Iterable[str], withheld: Withheld) -> list[str]:
    """Return the first thing that is wrong with the texts of a file; an empty list if nothing is."""
    for text in texts:
        for value in EDGES.split(text):
            held = value.strip()
            if held in withheld.values:
                return [f"{name} has a text of a withheld image ({len(held)} characters)"]
        for place, phrase in enumerate(withheld.phrases):
            if phrase in text:
                return [f"{name} has caption text number {place + 1} of the takedown list"]
    return []


def _plain(path: Path) -> str:
    """Return a file's text case folded, without the escapes of its kind."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in MARKUP:
        text = html.unescape(text)
    elif path.suffix in SCRIPTS and "\\" in text:
        text = ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return text.casefold()


def _table_texts(path: Path) -> Iterator[str]:
    """Yield the different texts of a table, case folded."""
    with pq.ParquetFile(path) as file:
        columns = [f.name for f in file.schema_arrow if _holds_text(f.type)]
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns) if columns else ():
            for column in batch.columns:
                flat = column.flatten() if pa.types.is_list(column.type) else column
                yield "\n".join(one.casefold() for one in flat.unique().to_pylist() if one)


def _holds_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_string(inner))
