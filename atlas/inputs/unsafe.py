"""Marks that withhold an image: of all columns that speak of safety, in any type, the strictest counts.

What such a column says and nobody knows withholds, too: a word that is misread must not publish anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from atlas.base.text import clean_text

PARTS_OF_NAMES = ("nsfw", "unsafe")
"""A column whose name holds one of these, in any case, marks what is unsafe: NSFW, punsafe, nsfw_score_gantman."""
UNSAFE_NAMES = ("sensitive", "is_sensitive", "adult", "is_adult", "porn", "explicit")
SAFE_NAMES = ("safe", "is_safe", "sfw", "is_sfw")
"""Columns that mark the opposite."""
YES = frozenset(["true", "yes", "y", "t", "on"])
NO = frozenset(["false", "no", "n", "f", "off"])
UNSAFE_WORDS = YES | frozenset(
    [
        *("nsfw", "unsure", "likely", "very_likely", "possible", "unsafe", "porn", "hentai"),
        *("sexy", "explicit", "sensitive", "adult", "questionable", "nudity", "nude", "racy"),
        *("violence", "violent", "gore"),
    ]
)
SAFE_WORDS = NO | frozenset(
    [
        *("sfw", "unlikely", "very_unlikely", "safe", "none", "neutral", "drawings", "general"),
    ]
)
"""LAION's UNLIKELY, and what the usual classifiers call harmless."""
MISSING_WORDS = frozenset(["", "null", "nan", "na", "n/a"])
"""A cell without a word says nothing."""
UNSAFE = 0.5
"""A probability, as LAION's punsafe, from which on an image is withheld."""
SHOWN_CHARACTERS = 40
UNKNOWN = "which is not known"
"""Ends the reason where a mark was not understood."""


def marks(names: Iterable[str]) -> list[str]:
    """Return the columns that speak of safety."""
    return [
        name
        for name in names
        if name.lower() in (*UNSAFE_NAMES, *SAFE_NAMES)
        or any(part in name.lower() for part in PARTS_OF_NAMES)
    ]


def why_withheld(facts: Mapping[str, Any]) -> str:
    """Return why an image is withheld, by the first column that says so; empty where none does.

    Args:
        facts: Column -> cell; columns that do not speak of safety are passed over.
    """
    judged = [(name, facts[name], _is_unsafe(name, facts[name])) for name in marks(facts)]
    for name, value, unsafe in judged:
        if unsafe:
            return f"{name} {_shown(value)}"
    for name, value, unsafe in judged:
        if unsafe is None:
            return f"{name} {_shown(value)}, {UNKNOWN}"
    return ""


def _shown(value: Any) -> str:
    return " ".join((clean_text(value) or str(value)).split())[:SHOWN_CHARACTERS]


def _is_unsafe(name: str, value: Any) -> bool | None:
    """Return what a cell says of its image; None where that is not known."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        word = value.strip().lower().replace(" ", "_")
        if word in MISSING_WORDS:
            return False
        number = _number(word)
        return _by_word(name, word) if number is None else _by_number(name, number)
    if value is None or value != value:  # NaN
        return False
    return _by_number(name, float(value)) if isinstance(value, (int, float, Decimal)) else None


def _number(word: str) -> float | None:
    try:
        return float(word.replace(",", "."))
    except ValueError:
        return None


def _by_word(name: str, word: str) -> bool | None:
    if name.lower() in SAFE_NAMES and word in YES | NO:
        return word in NO
    if word in UNSAFE_WORDS:
        return True
    return False if word in SAFE_WORDS else None


def _by_number(name: str, number: float) -> bool | None:
    """Return what a probability, or a 0 or 1, says; a number below 0 is none."""
    if math.isnan(number):
        return False
    if number < 0:
        return None
    return (number < UNSAFE) if name.lower() in SAFE_NAMES else number >= UNSAFE
