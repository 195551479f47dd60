"""The pages of recurring concepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common, feature_link, picture
from atlas.site.text import figure, percent, share_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


class Recurring(NamedTuple):
    """A link to a recurring concept."""

    recurring: int
    name: str
    value: str
    thumb: str
    page: str


def recurring_link(book: Book, recurring: int, value: str) -> Recurring:
    """Return a link to a recurring concept."""
    name, thumb = book.recurring.get(recurring, ("", ""))
    return Recurring(recurring, name, value, thumb, links.concept_page(recurring))


def concepts_view(db: DuckDBPyConnection, book: Book) -> dict[str, Any]:
    """Return what the list of recurring concepts shows."""
    rows = db.execute(
        "SELECT recurring, n_images FROM recurring_concepts ORDER BY recurring"
    ).fetchall()
    return {
        **common(book, links.CONCEPTS, "Concepts", "concepts"),
        "concepts": [recurring_link(book, k, f"{n:,} pictures") for k, n in rows],
        "images": f"{int(book.facts['n_images']):,}",
    }


def concept_views(db: DuckDBPyConnection, book: Book) -> Iterator[dict[str, Any]]:
    """Yield what the page of each recurring concept shows, in their order."""
    total = int(book.facts["n_images"])
    for k, n_images, share in db.execute(
        "SELECT recurring, n_images, mass_share FROM recurring_concepts ORDER BY recurring"
    ).fetchall():
        features = db.execute(
            "SELECT feature, mass_share FROM recurring_features WHERE recurring = ? ORDER BY rank",
            [k],
        ).fetchall()
        shown = db.execute(
            """SELECT image, r.mass, caption FROM recurring_images r JOIN images USING (image)
               WHERE recurring = ? AND NOT sensitive ORDER BY rank""",
            [k],
        ).fetchall()
        near = db.execute(
            "SELECT other, cosine FROM recurring_neighbors WHERE recurring = ? ORDER BY rank", [k]
        ).fetchall()
        name = book.recurring[k][0] if k in book.recurring else ""
        yield {
            **common(book, links.concept_page(k), f"{name or 'Concept'} · concept {k}", "concepts"),
            "name": name,
            "number": f"{k}",
            "n_images": f"{n_images:,}",
            "image_share": percent(n_images / total),
            "mass_share": percent(share),
            "features": [feature_link(f, percent(s), book, share_of(s, 1.0)) for f, s in features],
            "pictures": [picture(i, figure(mass), caption, book) for i, mass, caption in shown],
            "near": [recurring_link(book, other, f"{cosine:.2f}") for other, cosine in near],
            "before": links.concept_page(k - 1) if k else "",
            "after": links.concept_page(k + 1) if k + 1 < len(book.recurring) else "",
        }
