"""The page of a missing address, which also redirects short links."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common


def missing_view(book: Book, base_url: str) -> dict[str, Any]:
    """Return what the page of a missing address shows.

    Args:
        book: The atlas.
        base_url: The setting site.base_url; with it the page works at any address of the site.
    """
    return {
        **common(book, links.NOT_FOUND, "Not found"),
        "layout": book.layout,
        "site_root": urlsplit(base_url).path if base_url else None,
    }
