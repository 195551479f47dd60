"""The pages of families, which are clusters of features at three levels."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import Link, common, feature_link
from atlas.site.text import clean, percent
from atlas.study.clusters import LEVELS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SHOWN_OF_EACH = 8
"""Members shown of a cluster in the overview: those nearest to its center."""
LONGEST_REGION = 26
"""Characters; longer names do not fit on the map."""


class Cluster(NamedTuple):
    """A cluster as pages show it."""

    level: int
    number: int
    """Index in its level."""
    parent: int | None
    name: str
    named: bool
    """Whether the name is a label that members share, not just a number."""
    evidence: str
    """How many members have that label, beside how many features do."""
    size: str
    members: list[Link]
    """Those that may be shown, nearest to the center first."""
    page: str
    """Empty except at the middle level."""


def read_clusters(book: Book, db: DuckDBPyConnection) -> list[list[Cluster]]:
    """Return the clusters of every level, the coarsest first."""
    members: dict[tuple[int, int], list[Link]] = defaultdict(list)
    for level, cluster, feature, cosine in db.execute(
        "SELECT level, cluster, feature, cosine FROM cluster_features ORDER BY level, cluster, rank"
    ).fetchall():
        if not book.live[feature].sensitive:
            members[level, cluster].append(feature_link(feature, f"{cosine:.2f}", book))
    levels: list[list[Cluster]] = [[] for _ in range(LEVELS)]
    for level, cluster, parent, features, label, share, null in db.execute(
        """SELECT level, cluster, parent, features, label, label_share, null_share
           FROM clusters ORDER BY level, cluster"""
    ).fetchall():
        levels[level].append(
            Cluster(
                level,
                cluster,
                parent,
                _name(label, cluster),
                bool(label),
                f"{percent(share)} of them show it, {percent(null)} of all" if label else "",
                f"{features:,}",
                members[level, cluster],
                links.family_page(cluster) if level == 1 else "",
            )
        )
    return levels


def views(book: Book, db: DuckDBPyConnection) -> list[tuple[str, dict[str, Any]]]:
    """Return (template, view) of the overview and of the page of each cluster of the middle level."""
    coarse, middle, fine = read_clusters(book, db)
    figures = [m for m in book.metrics if m.name == "nearest_in_cluster_level_1" and m.null_value]
    front = {
        **common(book, links.FAMILIES, "Families", "browse"),
        "families": [
            (
                cluster,
                [(c, c.members[:SHOWN_OF_EACH]) for c in middle if c.parent == cluster.number],
            )
            for cluster in coarse
        ],
        "named": any(cluster.named for level in (coarse, middle, fine) for cluster in level),
        "near": [(percent(m.value), percent(m.null_value)) for m in figures if m.null_value],
    }
    pages = [
        {
            **common(book, cluster.page, cluster.name, "browse"),
            "cluster": cluster,
            "above": coarse[cluster.parent or 0],
            "groups": [c for c in fine if c.parent == cluster.number],
            "before": middle[cluster.number - 1].page if cluster.number else "",
            "after": middle[cluster.number + 1].page if cluster.number + 1 < len(middle) else "",
        }
        for cluster in middle
    ]
    return [("families", front), *(("family", page) for page in pages)]


def names(db: DuckDBPyConnection) -> list[str]:
    """Return the name of each family that has a page, by its number."""
    rows = db.execute("SELECT label FROM clusters WHERE level = 1 ORDER BY cluster").fetchall()
    return [_name(label, number) for number, (label,) in enumerate(rows)]


def _name(label: str, number: int) -> str:
    return clean(label) or f"family {number + 1}"


def regions(db: DuckDBPyConnection) -> list[tuple[int, str, float, float, int, int]]:
    """Return (level, name, x, y, family, features) of the regions named on the map.

    Coarse and large clusters come first. The family is the one whose page tells of the region; -1 for
    a coarse one, which the overview of all families has.
    """
    rows = db.execute(
        """SELECT level, label, map_x, map_y,
                  CASE level WHEN 0 THEN -1 WHEN 1 THEN cluster ELSE parent END, features
           FROM clusters WHERE label <> '' ORDER BY level, features DESC, cluster"""
    ).fetchall()
    return [
        (level, clean(label), round(x, 4), round(y, 4), family, features)
        for level, label, x, y, family, features in rows
        if len(label) <= LONGEST_REGION
    ]
