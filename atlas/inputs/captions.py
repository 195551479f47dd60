"""What lies beside loose pictures: a table of the whole folder, or a file a picture.

A row goes with the picture of its name. Names are compared in one form (same_name), then without
ending, then without folder, each time only where a single row and a single picture are left.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from atlas.base.errors import InputError
from atlas.base.text import clean_text, decode_text, same_name
from atlas.inputs.found import PICTURE_SUFFIXES
from atlas.inputs.image_table import (
    CAPTION_COLUMNS,
    NAME_COLUMNS,
    SUFFIXES,
    URL_COLUMNS,
    find_column,
    raw_batches,
    row_dicts,
)
from atlas.inputs.unsafe import marks, why_withheld

CAPTION_TABLES = ("metadata", "captions")
"""Names, without ending, of a table in a folder of pictures that holds their captions."""
TEXT_BYTES = 1 << 20
"""Of a caption beside a picture, at most."""
LOOSER: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: PurePosixPath(name).with_suffix("").as_posix(),
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
)
"""Forms of a name in which a row and a picture may be the same, the strictest first."""
Facts = dict[str, Any]


class Captions:
    """Captions and whatever else is known of the pictures of a folder."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        """Read the folder's tables and list what lies beside its pictures.

        Args:
            root: The folder.
            files: All files below it; none if it holds archives or tables of pictures.

        Raises:
            InputError: A table is damaged.
        """
        self._root = root
        self._beside = {
            self._name(path.with_suffix(path.suffix.lower())): path
            for path in files
            if path.suffix.lower() in (".txt", ".json")
        }
        rows: dict[str, Facts] = {}
        for path in files:
            if path.stem.lower() not in CAPTION_TABLES:
                continue
            if path.suffix.lower() in SUFFIXES:
                self._add(rows, path, _rows_by_name(path))
            elif path.suffix.lower() == ".json":
                self._add(rows, path, _listed_captions(path))
        names = [self._name(path) for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
        self._table, self.unmatched = match_rows(rows, names)
        """Rows that are of no picture, by name."""

    def _name(self, path: Path) -> str:
        return same_name(path.relative_to(self._root).as_posix())

    def _add(self, rows: dict[str, Facts], table: Path, more: Mapping[str, Facts]) -> None:
        """Add a table's rows to those by their names below the root."""
        folder = self._name(table.parent)
        prefix = "" if folder in ("", ".") else f"{folder}/"
        for name, facts in more.items():
            place = f"{prefix}{same_name(name)}"
            rows[place] = _merged(rows.get(place, {}), facts)

    def of(self, picture: Path) -> Facts:
        """Return what is known of a picture; what lies beside it goes before the table."""
        name = self._name(picture)
        stem = name.removesuffix(picture.suffix.lower())
        found = dict(self._table.get(name, {}))
        note, text = self._beside.get(f"{stem}.json"), self._beside.get(f"{stem}.txt")
        if note is not None:
            found = _merged(found, json_facts(note.read_bytes()))
        if text is not None:
            found["caption"] = plain_text(text.read_bytes())
        return found


def _merged(old: Facts, new: Facts) -> Facts:
    """Return what two sources say of a picture: the newer word, but every mark that withholds it."""
    kept = {name: old[name] for name in marks(old) if why_withheld({name: old[name]})}
    return old | new | kept


def match_rows(
    rows: Mapping[str, Facts], pictures: Iterable[str]
) -> tuple[dict[str, Facts], list[str]]:
    """Return the row of each picture that has one, and the names of the rows that are of none."""
    found: dict[str, Facts] = {}
    left, waiting = dict.fromkeys(rows), dict.fromkeys(pictures)
    for form in LOOSER:
        alike: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for row in left:
            alike[form(row)][0].append(row)
        for picture in waiting:
            alike[form(picture)][1].append(picture)
        for some_rows, some_pictures in alike.values():
            if len(some_rows) == 1 == len(some_pictures):
                found[some_pictures[0]] = rows[some_rows[0]]
                del left[some_rows[0]], waiting[some_pictures[0]]
    return found, list(left)


def _rows_by_name(path: Path) -> dict[str, Facts]:
    """Return a table's rows by the name of the picture that each is about."""
    rows: dict[str, Facts] = {}
    for batch in raw_batches(path):
        named = find_column(batch.column_names, ("file_name", *NAME_COLUMNS))
        if named is None:
            raise InputError(f"{path} has no column file_name; it has {batch.column_names}")
        for row in row_dicts(batch, path):
            rows[clean_text(row[named])] = known_facts(row)
    return rows


def _listed_captions(path: Path) -> dict[str, Facts]:
    """Return the captions of one JSON file: {file name: caption} or a list of objects."""
    try:
        value = json.loads(decode_text(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}); fix it") from error
    if isinstance(value, dict):
        pairs = [(name, fact) for name, fact in value.items()]
    elif isinstance(value, list):
        rows = [row for row in value if isinstance(row, dict)]
        keys = [find_column(list(row), ("file_name", *NAME_COLUMNS)) for row in rows]
        pairs = [(row[key], row) for row, key in zip(rows, keys, strict=True) if key is not None]
    else:
        raise InputError(f"{path} is no object and no list; write file names and captions in it")
    return {
        clean_text(name): known_facts(fact) if isinstance(fact, dict) else {"caption": fact}
        for name, fact in pairs
    }


def known_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the atlas keeps of a row: caption, url, tags, split and what withholds it."""
    names = list(row)
    wanted = {
        "caption": CAPTION_COLUMNS,
        "url": URL_COLUMNS,
        "tags": ("tags",),
        "split": ("split",),
    }
    found = {key: find_column(names, columns) for key, columns in wanted.items()}
    found |= {name: name for name in marks(names)}
    return {key: row[name] for key, name in found.items() if name is not None}


def json_facts(data: bytes) -> dict[str, Any]:
    """Return what a JSON file beside a picture says; nothing where it is not JSON."""
    try:
        value = json.loads(decode_text(data))
    except (ValueError, RecursionError):
        return {}
    if isinstance(value, str):
        return {"caption": value}
    return known_facts(value) if isinstance(value, dict) else {}


def plain_text(data: bytes) -> str:
    """Return the text of a caption's file."""
    return decode_text(data[:TEXT_BYTES]).strip()
