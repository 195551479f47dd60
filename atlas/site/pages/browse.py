"""The pages that show all features, in the order of the map."""

from __future__ import annotations

from typing import Any

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common, feature_link, split_pages
from atlas.site.text import percent

FEATURES_A_PAGE = 400


def browse_views(book: Book) -> list[dict[str, Any]]:
    """Return what each page of the list of all features shows."""
    return [
        {
            **common(book, links.browse_page(n), title, "browse"),
            "number": n,
            "numbers": list(range(1, last + 1)),
            "pages": [links.browse_page(i) for i in range(1, last + 1)],
            "wall": [feature_link(f, percent(book.live[f].density), book) for f in some],
            "withheld": f"{sum(row.sensitive for row in book.live.values()):,}",
            "shown": f"{len(book.order):,}",
            "named": bool(book.names),
        }
        for n, last, some in split_pages(book.order, FEATURES_A_PAGE)
        for title in [f"Browse, page {n} of {last}" if last > 1 else "Browse"]
    ]
