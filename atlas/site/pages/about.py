"""The page that explains the site, with how it treats other people's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import Link, common, feature_link
from atlas.site.queries import read_column
from atlas.site.text import percent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAMED_BY = {
    "captions": "from the captions, tags and file names of their strongest pictures",
    "images": "from the vocabulary, chosen by their pictures",
}
"""Source of a name -> where the page says that such names come from; any other is from outside."""
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
        "l0": _features_an_image(book),
        "named_by": _named_by(db),
        "n_named": f"{len(book.names):,}",
        "drawn": bool(
            read_column(db, "SELECT feature FROM icons WHERE source = 'rendered' LIMIT 1")
        ),
        "knobs": bool(book.drawn),
        "anatomy": _anatomy(book),
        "how_shown": HOW_SHOWN[how].format(px=thumbnail_px),
        "n_withheld": f"{n:,}" if n else "",
        "n_taken_down": f"{taken_down:,}" if taken_down else "",
    }


def _features_an_image(book: Book) -> str:
    """Return how many features fire on an image, on average; empty where no metric says it."""
    return next((f"{m.value:.0f}" for m in book.metrics if m.name == "l0_mean"), "")


def _named_by(db: DuckDBPyConnection) -> list[tuple[str, str]]:
    """Return how many names come from where, the most first."""
    rows = db.execute(
        "SELECT source, count(*) AS n FROM names GROUP BY source ORDER BY n DESC, source"
    ).fetchall()
    return [(f"{n:,}", NAMED_BY.get(source, "from outside: a file of names")) for source, n in rows]


def _anatomy(book: Book) -> Link | None:
    """Return the feature whose page is explained: with an icon, best named; None if none has both."""
    shown = [f for f in book.order if f in book.icons and f in book.names]
    best = max(shown, key=lambda f: (f in book.recognized, book.sure.get(f, 0.0), -f), default=None)
    if best is None:
        return None
    return feature_link(best, percent(book.live[best].density), book)
