"""Proof that nothing withheld is in a finished site: every file of it is looked through.

Texts are compared value by value: a caption that a page shows stands between tags or quotes. What
is also a text of an image that may be shown, or a word of the vocabulary, gives nothing away.
"""

from __future__ import annotations

import html
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atlas.base.errors import SiteError
from atlas.base.files import list_files, read_json
from atlas.inputs.takedown import read_takedown
from atlas.inputs.vocabulary import read_vocabulary
from atlas.settings.load import saved_config
from atlas.settings.paths import TAKEN_DOWN, database_path, site_dir, template_root
from atlas.site import links
from atlas.site.output import Output
from atlas.site.queries import read_column
from atlas.site.text import clean

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
SHOWN = 3
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Withheld:
    """What must not be found."""

    images: frozenset[int]
    values: frozenset[str]
    """Whole texts that came with these images, in lower case."""
    phrases: tuple[str, ...]
    """Texts that must not even be part of one."""

    def __bool__(self) -> bool:
        """Return whether there is anything to look for."""
        return bool(self.images or self.phrases)


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
        values.difference_update(word.lower() for word in words)
        for text in (*read_column(db, OWN_TEXTS), *_template_texts()):
            values.difference_update(_pieces(text))
    return Withheld(frozenset(hidden.tolist()), frozenset(values), phrases)


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
        for piece in EDGES.split(form.lower()):
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


def write_takedown(out: Output) -> None:
    """Publish what was taken down as hashes, so that whoever asked can see that it was."""
    path = out.job.inputs["catalog"] / TAKEN_DOWN
    if path.exists():
        out.put(links.TAKEDOWN, "".join(f"{one}\n" for one in read_json(path)["sha256"]))


def check_atlas(atlas: Path) -> int:
    """Look for what is withheld in the site of an atlas that was built here; return the files read.

    Raises:
        SiteError: Something is there.
    """
    import duckdb

    path = atlas / "embed" / "images.parquet"
    if not database_path(atlas).exists() or not path.exists():
        return 0
    takedown = saved_config(atlas).catalog.takedown
    with duckdb.connect(str(database_path(atlas)), read_only=True) as db:
        withheld = read_withheld(db, atlas / "embed", takedown, words_of(atlas / "catalog"))
    return check_withheld(site_dir(atlas), withheld)


def check_withheld(site: Path, withheld: Withheld, unchanged: Container[str] = ()) -> int:
    """Look for what is withheld in every file of a site; return how many files were read.

    Args:
        site: The site's folder.
        withheld: What must not be there.
        unchanged: Addresses that were looked through for the same before.

    Raises:
        SiteError: Something is there; the message names the file, never the text.
    """
    found: list[str] = []
    n_read = 0
    for path in list_files(site) if withheld else ():
        name = path.relative_to(site).as_posix()
        number = re.fullmatch(r"(?:thumb|image)/\d+/(\d+)\.(?:webp|html)", name)
        if number and int(number[1]) in withheld.images:
            found.append(f"{name} is of image {number[1]}, which is withheld")
        if name in unchanged or path.suffix not in (*TEXTS, ".parquet"):
            continue
        n_read += 1
        why = _why_not(path, withheld)
        if why:
            found.append(f"{name} {why}")
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise SiteError(
            f"{site} holds what is withheld: {'; '.join(found[:SHOWN])}{more}; do not publish it: "
            "delete the folder and build the site again, and report this"
        )
    return n_read


def _why_not(path: Path, withheld: Withheld) -> str:
    """Return what is wrong with a file; empty if nothing is."""
    for text in _table_texts(path) if path.suffix == ".parquet" else (_plain(path),):
        for value in EDGES.split(text):
            held = value.strip()
            if held in withheld.values:
                return f"has a text of a withheld image ({len(held)} characters)"
        for place, phrase in enumerate(withheld.phrases):
            if phrase in text:
                return f"has caption text number {place + 1} of the takedown list"
    return ""


def _plain(path: Path) -> str:
    """Return a file's text in lower case, without the escapes of its kind."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix in MARKUP:
        text = html.unescape(text)
    elif path.suffix in SCRIPTS and "\\" in text:
        text = ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return text.lower()


def _table_texts(path: Path) -> Iterator[str]:
    """Yield the different texts of a table, in lower case."""
    with pq.ParquetFile(path) as file:
        columns = [f.name for f in file.schema_arrow if _holds_text(f.type)]
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns) if columns else ():
            for column in batch.columns:
                flat = column.flatten() if pa.types.is_list(column.type) else column
                yield "\n".join(one.lower() for one in flat.unique().to_pylist() if one)


def _holds_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_string(inner))
