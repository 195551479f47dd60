"""Names from outside, read from CSV, JSON lines or Neuronpedia's explanation export."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atlas.base.errors import InputError, MissingError
from atlas.base.files import write_text
from atlas.base.text import clean_text
from atlas.settings.paths import IMPORTED

LONGEST_NAME = 200
MOST_BYTES = 1 << 30
"""Of a file of names once it is unpacked: a small .gz can hold any number of zeros."""
KEYS = {
    "feature": ("feature", "index"),
    "label": ("label", "name", "description"),
    "score": ("score", "scoreV2", "scoreV1"),
    "author": ("author", "explanationModelName", "authorName"),
}
"""What a name holds -> the columns that may hold it; the first is ours, the rest Neuronpedia's."""


@dataclass(frozen=True, slots=True)
class GivenName:
    """A name from outside."""

    feature: int
    label: str
    author: str
    """Who or what gave it; empty if unknown."""
    score: float | None
    """As its author scored it; None if not."""


def read_names(path: Path) -> list[GivenName]:
    """Read names, in the file's order.

    Args:
        path: .csv with a header, or .jsonl, either of them also .gz. Columns feature, label,
            score, author; or index, description, explanationModelName as Neuronpedia exports
            them, also as a list `explanations` inside a feature.

    Raises:
        MissingError: There is no such file.
        InputError: A row is not a name; the message says which line.
    """
    text = _read_text(path)
    ending = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if ending not in ("csv", "jsonl"):
        raise InputError(f"{path} is neither .csv nor .jsonl; name it by what it holds")
    rows = _csv_rows(text, path) if ending == "csv" else _json_rows(text, path)
    return [_name(row, path, line) for line, row in rows]


def _read_text(path: Path) -> str:
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise InputError(
                f"{path} holds more than {MOST_BYTES:,} bytes of names; cut it in several"
            )
        return data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingError(f"no names at {path}; give a .csv or .jsonl file") from error
    except (IsADirectoryError, UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a text file ({error}); give UTF-8") from error


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; fix the row") from error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # Not splitlines: a label may hold a line separator that JSON lets stand.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is not JSON ({error}); fix it") from error
        for item in row if isinstance(row, list) else [row]:
            if not isinstance(item, dict):
                raise InputError(
                    f"{path}, line {number} is no object; each needs feature and label"
                )
            inner = item.get("explanations")
            for one in inner if isinstance(inner, list) and inner else [{}]:
                if not isinstance(one, dict):
                    raise InputError(f"{path}, line {number}: an explanation is no object; fix it")
                yield number, {**item, **one}


def _name(row: Mapping[str, Any], path: Path, line: int) -> GivenName:
    """Return a row as a name."""
    found = {
        key: next((row[c] for c in columns if row.get(c) not in (None, "")), None)
        for key, columns in KEYS.items()
    }
    where = f"{path}, line {line}"
    try:
        feature = int(str(found["feature"]))
    except ValueError as error:
        raise InputError(
            f"{where}: feature is {str(found['feature'])[:40]!r}; it must be a number"
        ) from error
    label = " ".join(clean_text(found["label"] or "").split())
    if not label:
        raise InputError(f"{where}: feature {feature} has no label; give one or drop the row")
    if len(label) > LONGEST_NAME:
        label = label[: LONGEST_NAME - 1].rstrip() + "…"
    return GivenName(
        feature, label, clean_text(found["author"] or ""), _score(found["score"], where)
    )


def _score(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        score = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: score is {str(value)[:40]!r}; it must be a number or empty"
        ) from error
    if not math.isfinite(score):
        raise InputError(f"{where}: score is {value!r}; it must be finite or empty")
    return score


def keep_names(path: Path, atlas_dir: Path, n_features: int) -> tuple[Path, int]:
    """Check names and keep them where every build of the atlas finds them.

    Args:
        path: The file.
        atlas_dir: The atlas; the names go to its folder `imported`.
        n_features: Features of its SAE.

    Returns:
        The file kept, one name a line, and the number of names.

    Raises:
        InputError: The file holds none, or one of a feature that the SAE lacks.
    """
    names = read_names(path)
    if not names:
        raise InputError(f"{path} holds no names; each row needs feature and label")
    check_features(names, n_features, path)
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or "names"
    kept = atlas_dir / IMPORTED / f"{stem}.jsonl"
    lines = (json.dumps(asdict(name), ensure_ascii=True, sort_keys=True) for name in names)
    write_text(kept, "\n".join(lines) + "\n")
    return kept, len(names)


def check_features(names: Iterable[GivenName], n_features: int, path: Path) -> None:
    """Refuse names of features that do not exist.

    Raises:
        InputError: There is one.
    """
    for name in names:
        if not 0 <= name.feature < n_features:
            raise InputError(
                f"{path} names feature {name.feature}; the SAE has 0 to {n_features - 1}: are these names of another SAE?"
            )
