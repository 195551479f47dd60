"""Text and numbers as pages show them: clean captions, rounded figures, percentages."""

from __future__ import annotations

import math
import unicodedata

LONGEST_CAPTION = 300


def clean(text: str) -> str:
    """Return text for a page: one short line without control or bidirectional-override characters."""
    if not (text.isascii() and text.isprintable()):  # the fast path: most captions are
        kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
        text = "".join(
            c for c in kept if not ("\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069")
        )
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_CAPTION else line[: LONGEST_CAPTION - 1].rstrip() + "…"


def figure(value: float) -> str:
    """Return a number with three significant digits, and thousands with commas."""
    if 1 <= value < 10:  # the fast path: most figures, a hundred a page
        return f"{value:.2f}"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    if digits > 6:
        return f"{value:.2e}"
    return f"{value:,.{digits}f}"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    if share and share < 1e-5:
        return "< 0.001%"
    return f"{figure(100 * share)}%"


def share_of(part: float, whole: float) -> int:
    """Return the length of a bar in fiftieths, at least 1 for anything above 0."""
    return max(1, round(50 * part / whole)) if whole > 0 and part > 0 else 0


def metric_value(value: float, unit: str) -> str:
    """Return a metric as text: shares, cosines and AUROC with three decimals, counts whole."""
    if unit in ("share", "cosine", "AUROC"):
        return f"{value:.3f}"
    return f"{value:,.0f}" if value == round(value) else figure(value)
