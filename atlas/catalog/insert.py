"""Filling the catalog's tables from what the other stages wrote."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.base.tables import SENSITIVE_SHARE, TABLE
from atlas.run.stage import Job

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STAND_IN_SHARE = 0.3
"""Share of its largest activation that a feature needs on an image of one thing for it to stand in as icon."""


def in_sql(path: Path, *, as_glob: bool = True) -> str:
    """Return a path as it stands between the quotes of an SQL text.

    Args:
        path: Whatever it is called.
        as_glob: Whether DuckDB would take [, * and ? in it for a pattern, as it does for tables.
    """
    text = str(path)
    return (escape(text) if as_glob else text).replace("'", "''")


def insert(db: DuckDBPyConnection, table: str, select: str) -> None:
    """Fill a table from a query that yields its columns by name, in its documented order."""
    # The complete order makes the Parquet export byte-identical; DuckDB's own order varies by thread.
    columns = ", ".join(f'"{column.name}"' for column in TABLE[table].columns)
    db.execute(
        f"INSERT INTO {table} SELECT {columns} FROM ({select}) ORDER BY {TABLE[table].order}"
    )


WITHOUT_TEXTS = """
    sensitive,
    CASE WHEN sensitive THEN '' ELSE e_name END AS name,
    CASE WHEN sensitive THEN '' ELSE e_caption END AS caption,
    CASE WHEN NOT sensitive THEN e_url END AS url,
    CASE WHEN sensitive THEN [] ELSE e_tags END AS tags,
    CASE WHEN sensitive THEN [] ELSE e_terms END AS terms"""
"""Columns of the images: of those that are withheld, nothing that came with them."""


def insert_tables(db: DuckDBPyConnection, job: Job, map_file: Path) -> None:
    """Fill the tables of images, features and neighbors."""
    scan, neighbors, embed = (in_sql(job.inputs[name]) for name in ("scan", "neighbors", "embed"))
    insert(
        db,
        "images",
        f"""SELECT * EXCLUDE (sensitive), {WITHOUT_TEXTS} FROM (
                SELECT * EXCLUDE (sensitive, name, caption, url, tags, terms),
                       name AS e_name, caption AS e_caption, url AS e_url, tags AS e_tags, terms AS e_terms,
                       image IN (FROM unsafe_images) OR image IN (FROM gone_images) AS sensitive
                FROM '{embed}/images.parquet' e JOIN '{scan}/images.parquet' s USING (image))""",
    )
    insert(db, "top_images", f"SELECT * FROM '{scan}/top_images.parquet'")
    sensitive = f"""
        SELECT feature, avg((image IN (FROM unsafe_images))::INTEGER) >= {SENSITIVE_SHARE} AS sensitive
        FROM top_images GROUP BY feature"""
    insert(
        db,
        "features",
        f"""SELECT f.*, monosemanticity, seeds_seen, seeds, m.map_x, m.map_y,
                   coalesce(s.sensitive, false) OR feature IN (FROM gone_features) AS sensitive
            FROM '{scan}/features.parquet' f
            LEFT JOIN '{in_sql(job.inputs["families"])}/monosemanticity.parquet' USING (feature)
            LEFT JOIN '{in_sql(job.inputs["families"])}/replicates.parquet' USING (feature)
            LEFT JOIN '{in_sql(map_file)}' m USING (feature) LEFT JOIN ({sensitive}) s USING (feature)""",
    )
    for table in ("quantile_images", "activation_histogram"):
        insert(db, table, f"SELECT * FROM '{scan}/{table}.parquet'")
    for table in ("feature_neighbors", "coactivations"):
        insert(db, table, f"SELECT * FROM '{neighbors}/{table}.parquet'")
    _insert_judged(db, job)


def _insert_judged(db: DuckDBPyConnection, job: Job) -> None:
    """Fill what the names stage judged; its columns are null where it did not run."""
    if "names" in job.inputs and (job.inputs["names"] / "reliability.parquet").exists():
        names = in_sql(job.inputs["names"])
        insert(db, "near_misses", f"SELECT * FROM '{names}/near_misses.parquet'")
        insert(db, "name_reliability", f"SELECT * FROM '{names}/reliability.parquet'")
        return
    nothing = "NULL AS name_score, NULL AS verdict, NULL AS sibling"
    misses = job.inputs["neighbors"] / "near_misses.parquet"
    insert(db, "near_misses", f"SELECT *, {nothing} FROM '{in_sql(misses)}'")


ROUND_TRIP = "strength, moved, on_template, on_intended, on_icon, percentile, icon_rank, p, passes, seeds, verdict"
"""Columns that the icons stage writes for each icon that it drew."""


def icons_query(job: Job) -> str:
    """Return the query for each live feature's icon: the rendered one, else a stand-in."""
    stand = stand_ins()
    if "icons" not in job.inputs:
        nothing = ", ".join(f"NULL AS {name}" for name in ROUND_TRIP.split(", "))
        return f"SELECT *, {nothing} FROM ({stand})"
    return f"""
        SELECT s.feature, CASE WHEN r.feature IS NULL THEN s.image END AS image,
               CASE WHEN r.feature IS NULL THEN s.source ELSE 'rendered' END AS source, {ROUND_TRIP}
        FROM ({stand}) s
        LEFT JOIN (SELECT feature, {ROUND_TRIP} FROM '{in_sql(job.inputs["icons"])}/icons.parquet') r USING (feature)"""


DRAWN = {
    "icon_replicates": ("icons", "replicates"),
    "icon_side_effects": ("icons", "side_effects"),
    "strips": ("icons", "strips"),
    "where_maps": ("where", "where"),
    "knobs": ("concepts", "knobs"),
    "transfers": ("concepts", "transfers"),
}
"""Table of the catalog -> the stage that draws, and the file of it; missing without a decoder."""
GROUPED = (
    "groupings",
    "examples",
    "concept_features",
    "concept_neighbors",
    "recurring_concepts",
    "recurring_features",
    "recurring_images",
    "recurring_neighbors",
)
"""Tables that the concepts stage leaves as they are."""


def insert_drawn(db: DuckDBPyConnection, job: Job) -> None:
    """Fill the tables of pictures that were drawn, as far as there are any."""
    for table, (stage, file) in DRAWN.items():
        if stage in job.inputs and (job.inputs[stage] / f"{file}.parquet").exists():
            insert(db, table, f"SELECT * FROM '{in_sql(job.inputs[stage])}/{file}.parquet'")


def insert_concepts(db: DuckDBPyConnection, job: Job) -> None:
    """Fill the tables of concepts."""
    folder = in_sql(job.inputs["concepts"])
    for table in GROUPED:
        insert(db, table, f"SELECT * FROM '{folder}/{table}.parquet'")
    icons = f"""(SELECT image, tau, concept, mass_on_icon FROM '{folder}/concept_icons.parquet')"""
    if not (job.inputs["concepts"] / "concept_icons.parquet").exists():
        icons = "(SELECT 0 AS image, '' AS tau, 0 AS concept, 0.0 AS mass_on_icon)"
    insert(
        db,
        "concepts",
        f"SELECT * FROM '{folder}/concepts.parquet' LEFT JOIN {icons} USING (image, tau, concept)",
    )


def stand_ins() -> str:
    """Return the query for the picture that stands for a feature while it has no icon.

    An image that is not withheld, if there is one. The strongest image that shows one thing, namely what the feature's name says, if it is not
    much weaker than the strongest of all; else that one. An image of four things is a poor
    sign for what one of them excites, and one of something else would contradict the name.
    """
    return f"""
        WITH judged AS (
            SELECT feature, image, t.rank, sensitive,
                   len(terms) <= 1 AND coalesce(contains(lower(array_to_string(terms, ' ')), lower(label)), true)
                   AND activation >= {STAND_IN_SHARE} * max(activation) OVER (PARTITION BY feature) AS clear
            FROM top_images t JOIN images USING (image)
            LEFT JOIN (SELECT feature, label FROM names) USING (feature)),
        placed AS (
            SELECT *, row_number() OVER (PARTITION BY feature ORDER BY sensitive, clear DESC, rank) AS place FROM judged)
        SELECT feature, image, 'top image' AS source FROM placed WHERE place = 1"""
