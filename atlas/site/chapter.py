"""What the pages of consecutive features need, read from the catalog in one go.

The same queries decide whether these pages are unchanged: rebuild.py digests their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TOP_SHOWN = 9
NEAR_SHOWN = 4
NEIGHBORS_SHOWN = 12
COACTIVE_SHOWN = 6
Rows = Mapping[int, list[tuple[Any, ...]]]
LABEL_COLUMNS = "label, source, author, perhaps, score, null_score, auroc, auroc_low, auroc_high"
NAME_COLUMNS = "name, label, source, author, held, strong, chosen, judged, tenth, near, precision, recall, f1, usual"
MISS_COLUMNS = "pre_activation, verdict, sibling"
TRIP_COLUMNS = "strength, on_template, on_icon, percentile, icon_rank, p, seeds, verdict"


@dataclass(frozen=True, slots=True)
class Chapter:
    """What the pages of consecutive features need: rows by feature, strongest or nearest first."""

    labels: Rows
    named: Rows
    """Its best name, with what bears it out."""
    icon: Rows
    """The image that stands in for the icon, where none was rendered."""
    trip: Rows
    """The round trip of a rendered icon."""
    effects: Rows
    """Other features that changed on that icon."""
    strip: Rows
    """The icon at several strengths, for a sample of features."""
    top: Rows
    where: Rows
    """Which part of some top images drives the feature, for a sample of features."""
    film: Rows
    near: Rows
    misses: Rows
    """Pre-activation and verdict of every near miss, shown or not."""
    neighbors: Rows
    coactive: Rows
    relatives: Rows
    """Duplicates, antipodes and parents."""
    children: Rows
    clusters: Rows
    """Its cluster at each level, coarsest first."""
    concepts: Rows
    """Example images with a coarse concept that contains the feature."""
    histogram: Rows
    urls: Rows
    """Where the images above were found; empty unless the site shows links."""


def distinct_tops(span: str) -> str:
    """Return a subquery of the top images of some features, of repeated images only the first.

    Args:
        span: SQL condition on `feature`.
    """
    return f"""(SELECT feature, rank, image, activation FROM (
        SELECT t.feature, t.rank, t.image, t.activation
        FROM top_images t JOIN images USING (image) WHERE {span}
        QUALIFY row_number() OVER (PARTITION BY feature, coalesce(duplicate_of, image) ORDER BY rank) = 1
    ) QUALIFY row_number() OVER (PARTITION BY feature ORDER BY rank) <= {TOP_SHOWN})"""


def chapter_queries(first: int, last: int, *, with_urls: bool = False) -> dict[str, str]:
    """Return for each field of a Chapter its query, which orders rows by feature.

    Args:
        first: First feature.
        last: The feature after the last one.
        with_urls: Whether the images' urls are wanted.
    """
    span = f"feature >= {int(first)} AND feature < {int(last)}"
    return {
        **_own_queries(span),
        **_image_queries(span),
        **_relation_queries(span),
        "urls": _url_query(span, with_urls=with_urls),
    }


def _own_queries(span: str) -> dict[str, str]:
    """Return the queries about features by themselves."""
    return {
        "labels": f"SELECT feature, {LABEL_COLUMNS} FROM labels WHERE {span} ORDER BY feature, rank",
        "named": f"SELECT feature, {NAME_COLUMNS} FROM names WHERE {span} ORDER BY feature",
        "trip": (
            f"""SELECT feature, {TRIP_COLUMNS} FROM icons
                WHERE {span} AND source = 'rendered' ORDER BY feature"""
        ),
        "effects": (
            f"""SELECT feature, other, on_icon, on_template FROM icon_side_effects
                WHERE {span} ORDER BY feature, rank"""
        ),
        "strip": f"SELECT feature, strength, on_icon FROM strips WHERE {span} ORDER BY feature, step",
        "histogram": (
            f"SELECT feature, low, high, count, bin FROM activation_histogram WHERE {span} ORDER BY feature, bin"
        ),
    }


def _image_queries(span: str) -> dict[str, str]:
    """Return the queries about features' images."""

    def shown(table: str, value: str, keep: str, order: str) -> str:
        source = f"image, {value}, caption, sensitive FROM {table} JOIN images USING (image)"
        return f"SELECT feature, {source} WHERE {span} AND {keep} ORDER BY feature, {order}"

    icons = "(FROM icons JOIN top_images USING (feature, image))"
    lost = "activation, on_thumbnail, lost, lost_gray, lost_gray_null"
    return {
        "icon": shown(icons, "activation", "true", "rank"),
        "top": shown(distinct_tops(span), "activation", "true", "rank"),
        "where": shown("where_maps", lost, "true", "rank"),
        "film": shown("quantile_images", "activation", "rank = 0", "quantile DESC"),
        "near": shown("near_misses", "similarity", f"rank < {NEAR_SHOWN}", "similarity DESC, rank"),
        "misses": (
            f"""SELECT feature, image, {MISS_COLUMNS} FROM near_misses
                WHERE {span} ORDER BY feature, similarity DESC, rank"""
        ),
        "concepts": (
            f"""SELECT feature, image, activation, caption, sensitive FROM concept_features
                JOIN examples USING (image) JOIN images USING (image)
                WHERE {span} AND tau = 'coarse' ORDER BY feature, activation DESC, image"""
        ),
    }


def _relation_queries(span: str) -> dict[str, str]:
    """Return the queries about features and others."""
    return {
        "neighbors": (
            f"""SELECT feature, neighbor, cosine FROM feature_neighbors
                WHERE {span} AND rank < {NEIGHBORS_SHOWN} ORDER BY feature, rank"""
        ),
        "coactive": (
            f"""SELECT feature, other, p_other_given_feature FROM coactivations
                WHERE {span} AND rank < {COACTIVE_SHOWN} ORDER BY feature, rank"""
        ),
        "relatives": (
            f"""SELECT feature, kind, other, cosine, share, share_back FROM relatives
                WHERE {span} ORDER BY feature, kind, rank"""
        ),
        "children": (
            f"""SELECT feature, child, share, share_back
                FROM (SELECT other AS feature, feature AS child, share, share_back
                      FROM relatives WHERE kind = 'parent')
                WHERE {span} ORDER BY feature, share DESC, child"""
        ),
        "clusters": (
            f"""SELECT feature, level, cluster, label, features
                FROM cluster_features JOIN clusters USING (level, cluster)
                WHERE {span} ORDER BY feature, level"""
        ),
    }


def _url_query(span: str, *, with_urls: bool) -> str:
    """Return the query of the urls of all images that the pages of features show."""
    return f"""SELECT feature, image, url FROM (
                   SELECT feature, image FROM {distinct_tops(span)}
                   UNION SELECT feature, image FROM icons WHERE {span}
                   UNION SELECT feature, image FROM quantile_images WHERE {span} AND rank = 0
                   UNION SELECT feature, image FROM near_misses WHERE {span} AND rank < {NEAR_SHOWN}
                   UNION SELECT feature, image FROM concept_features
                         JOIN examples USING (image) WHERE {span} AND tau = 'coarse')
               JOIN images USING (image)
               WHERE {"true" if with_urls else "false"} AND NOT sensitive AND url IS NOT NULL
               ORDER BY feature, image"""


def read_chapter(
    db: DuckDBPyConnection, first: int, last: int, *, with_urls: bool = False
) -> Chapter:
    """Read what the pages of the features first <= feature < last need."""
    return Chapter(
        **{
            name: {
                key: list(rows)
                for key, rows in groupby(db.execute(query).fetchall(), itemgetter(0))
            }
            for name, query in chapter_queries(first, last, with_urls=with_urls).items()
        }
    )
