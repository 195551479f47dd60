"""The page that explains the site, with how it treats other people's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common
from atlas.site.queries import read_column

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HOW_SHOWN = {
    "thumbnails": "This site shows thumbnails, {px} pixels wide at most.",
    "links": "This site keeps no picture: each is named by its caption and linked to where it was found.",
    "remote": "This site keeps no picture: each is loaded from where it was found, by your browser, and linked to.",
    "none": "This site shows no picture, only captions.",
}
"""Way in which images are shown -> what the page says."""


def about_view(
    db: DuckDBPyConnection, book: Book, thumbnail_px: int, taken_down: int
) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        db: The catalog.
        book: The atlas.
        thumbnail_px: Side of a thumbnail as it was made.
        taken_down: Entries of the list of what was taken down.
    """
    (n,) = read_column(db, "SELECT count(*) FROM images WHERE sensitive")
    how = "remote" if book.shown.remote else book.shown.mode
    return {
        **common(book, links.ABOUT, "About", "about"),
        "how_shown": HOW_SHOWN[how].format(px=thumbnail_px),
        "n_withheld": f"{n:,}" if n else "",
        "n_taken_down": f"{taken_down:,}" if taken_down else "",
    }
