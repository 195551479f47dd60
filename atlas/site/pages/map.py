"""The page of the map; its script draws the rest."""

from __future__ import annotations

from typing import Any

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common


def map_view(book: Book) -> dict[str, Any]:
    """Return what the page of the map shows without its script."""
    judged = [m for m in book.metrics if m.name == "map_trustworthiness"]
    return {
        **common(book, links.MAP, "Map", "map"),
        "trust": [(f"{m.value:.2f}", f"{m.null_value:.2f}") for m in judged if m.null_value],
    }
