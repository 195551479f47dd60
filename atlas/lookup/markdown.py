"""Markdown for the summaries of continuous integration: tables whose cells hold any text as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~@-])")


def cell(text: str) -> str:
    """Return a text as one cell, in which nothing is markup, a link or a mention."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", plain)


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; every cell is text, and names are not."""
    head = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join([*head, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])
