"""Text from outside, made fit for every file, terminal and table; and files in the order of their numbers."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

REPLACED = "\ufffd"
"""Stands for what was no character."""
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
"""Sequences that a terminal obeys (ECMA-48)."""
UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Controls, but for tab and line ends."""
LONE = re.compile("[\ud800-\udfff]")
"""Halves of a character, which UTF-8 can't hold."""
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
STOP_WORDS = frozenset(
    ["a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "of", "on", "or",
     "the", "to", "with"]
)  # fmt: skip
"""Words that neither a search nor a name is about."""


def clean_text(value: Any) -> str:
    """Return a cell as text: no half characters, no controls, no terminal escapes.

    Nothing and NaN are empty; of a list, the first text counts; bytes are read as UTF-8.
    """
    if isinstance(value, str):
        text = value
    elif value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    elif isinstance(value, bytes):
        text = value.decode("utf-8", errors="replace")
    elif isinstance(value, (list, tuple)):
        return next(filter(None, map(clean_text, value)), "")
    else:
        text = str(value)
    if text.isascii() and text.isprintable():  # the fast path: most texts are
        return text
    return LONE.sub(REPLACED, UNFIT.sub("", ESCAPES.sub("", text)))


BETWEEN = " · "
"""Between a feature's name and the word that tells it from another feature's."""


def holds_name(text: str, name: str) -> bool:
    """Return whether a text has all words of a name, the word that tells it from others aside."""
    words = set(plain_words(name.split(BETWEEN)[0]))
    return bool(words) and words <= set(plain_words(text))


def plain_words(text: str) -> list[str]:
    """Return a text's words in the one form in which names and searches are compared.

    Compatibility forms composed (NFKC), lower case, straight apostrophes, no other punctuation.
    search.js follows the same rule.
    """
    return WORD.findall(unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'"))


def decode_text(data: bytes) -> str:
    """Return the text of a file as editors write it: UTF-8, UTF-16 with a mark, else Windows-1252.

    What even that can't read becomes U+FFFD.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Return by what paths are ordered: digits by their number, so that 2 comes before 10."""
    pieces = re.split(r"(\d+)", path.as_posix())
    key = [(1, int(p), p) if i % 2 else (0, 0, p) for i, p in enumerate(pieces)]
    return tuple(key)


def in_order(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return paths in the order of their numbers."""
    return tuple(sorted(paths, key=natural_key))


def same_name(name: str) -> str:
    """Return a file name in one form, whatever the system that wrote it.

    Composed Unicode, slashes, one case, without a leading "./".
    """
    plain = unicodedata.normalize("NFC", name).replace("\\", "/").casefold()
    return re.sub(r"^(\./)+|/+(?=/)", "", plain)


def holds_any(text: str, phrases: Sequence[str]) -> bool:
    """Return whether a text holds one of some case-folded phrases."""
    folded = text.casefold()
    return any(phrase in folded for phrase in phrases)
