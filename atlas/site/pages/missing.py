"""The page of a missing address, and the one that leads short links on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common


def missing_view(book: Book, base_url: str) -> tuple[str, dict[str, Any]]:
    """Return (template, view) of the page of a missing address.

    Hosts show it at any depth, where only links from the host's root lead anywhere. Without
    them it is a page by itself, which loads nothing.

    Args:
        book: The atlas.
        base_url: The setting site.base_url.
    """
    frame = common(book, links.NOT_FOUND, "Not found")
    if not base_url:
        return "missing", frame
    return "404", {**frame, "layout": book.layout, "site_root": urlsplit(base_url).path}


def short_view(book: Book) -> dict[str, Any]:
    """Return what the page shows that short links pass through."""
    return {**common(book, links.SHORT, "Not found"), "layout": book.layout, "site_root": None}
