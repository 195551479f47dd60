"""Markdown for the summaries of continuous integration: tables whose cells hold any text as it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from atlas.lookup.records import Metric

FIGURES = ("figure", "value", "unit", "n", "baseline", "what the baseline is")
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~@-])")


def cell(text: str) -> str:
    """Return a text as one cell, in which nothing is markup, a link or a mention."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(lambda found: f"&#{ord(found[0])};", plain)


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; every cell is text, and names are not."""
    head = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join([*head, *(f"| {' | '.join(map(cell, row))} |" for row in rows)])


def figure_rows(figures: Iterable[Metric]) -> list[tuple[str, ...]]:
    """Return a row of text for each figure of the report: FIGURES names the columns."""
    return [
        (
            one.name,
            f"{one.value:,.4g}",
            one.unit,
            f"{one.n:,}",
            "" if one.null_value is None else f"{one.null_value:,.4g}",
            one.null_name,
        )
        for one in figures
    ]


def figures_table(figures: Iterable[Metric]) -> str:
    """Return the figures of the report as a table."""
    return table(FIGURES, figure_rows(figures))
