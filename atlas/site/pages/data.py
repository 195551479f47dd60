"""The page of the catalog's tables, with example queries."""

from __future__ import annotations

from typing import Any

from atlas.base.tables import TABLES
from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common

PER_IMAGE = ("images", "groupings")
"""Tables with rows for every scanned image: gigabytes for millions of them."""
QUERIES = (
    (
        "The names that are surest",
        "SELECT feature, name, held, strong, judged, density FROM names JOIN features USING (feature) WHERE NOT sensitive ORDER BY judged DESC NULLS LAST, held DESC, feature LIMIT 10",
    ),
    (
        "Icons that fail their round trip, most common features first",
        "SELECT feature, on_icon, median, count FROM icons JOIN features USING (feature) WHERE verdict = 'not shown' ORDER BY count DESC, feature LIMIT 10",
    ),
    (
        "Pairs with similar directions that never fire together",
        "SELECT n.feature, n.neighbor, n.cosine FROM feature_neighbors n LEFT JOIN coactivations c ON c.feature = n.feature AND c.other = n.neighbor WHERE c.other IS NULL ORDER BY n.cosine DESC, n.feature LIMIT 10",
    ),
    (
        "Near misses on which the name holds",
        "SELECT feature, name, count(*) AS missed FROM near_misses JOIN names USING (feature) WHERE verdict <> 'negative' GROUP BY ALL ORDER BY missed DESC, feature LIMIT 10",
    ),
    (
        "Images that one feature explains",
        "SELECT image, feature, activation / mass AS share FROM decompositions JOIN images USING (image) WHERE rank = 0 ORDER BY share DESC, image LIMIT 10",
    ),
)
"""(question, SQL); run on the catalog or its Parquet files."""


def data_view(book: Book, published: str = "all") -> dict[str, Any]:
    """Return what the page of the tables shows.

    Args:
        book: The atlas.
        published: The setting site.tables.
    """
    return {
        **common(book, links.DATA, "Data", "data"),
        "tables": TABLES,
        "published": published,
        "per_image": PER_IMAGE,
        "queries": [(question, f'atlas sql "{sql}"') for question, sql in QUERIES],
    }
