"""The page of the map; its script draws the rest."""

from __future__ import annotations

from typing import Any

from atlas.site import links
from atlas.site.book import Book
from atlas.site.map_sheets import LEVELS, read_levels, tile_px
from atlas.site.pages.parts import common

STILL = 1
"""The level that is shown without scripts, or the last before it: each has one tile."""


def map_view(book: Book) -> dict[str, Any]:
    """Return what the page of the map shows without its script."""
    judged = [m for m in book.metrics if m.name == "map_trustworthiness"]
    return {
        **common(book, links.MAP, "Map", "map"),
        "picture": _still(book),
        "trust": [(f"{m.value:.2f}", f"{m.null_value:.2f}") for m in judged if m.null_value],
    }


def _still(book: Book) -> dict[str, Any] | None:
    """Return the picture of the map, by its address and size; None where it has no icons."""
    last = len(read_levels(book)) - 1
    if last < 0:
        return None
    columns, rows = LEVELS[min(last, STILL)]
    px = tile_px(book)
    return {
        "address": links.map_tile(min(last, STILL), 0),
        "width": columns * px,
        "height": rows * px,
    }
