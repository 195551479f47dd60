"""Labels of features and names of clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.base.files import read_json
from atlas.catalog.insert import in_sql, insert
from atlas.run.stage import Job
from atlas.study.caption_names import STRONG, draft_words
from atlas.study.clusters import label_words, name_cluster
from atlas.study.phrases import read_texts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LABELS_KEPT = 3
SPEAKS = 0.4
"""Share of a feature's strongest images that must hold a phrase for it to speak for the feature's cluster."""
FEWEST_IMAGES_FOR_A_LABEL = 3
"""A term in fewer top images than this says nothing about the feature."""


def insert_families(db: DuckDBPyConnection, job: Job) -> None:
    """Fill the tables of relatives and clusters; labels and places must be there."""
    folder = in_sql(job.inputs["families"])
    insert(db, "relatives", f"SELECT * FROM '{folder}/relatives.parquet'")
    insert(db, "cluster_features", f"SELECT * FROM '{folder}/cluster_features.parquet'")
    named = cluster_names(db, _ignored(job))
    db.register("named", named)
    insert(
        db,
        "clusters",
        f"""SELECT c.*, n.label, n.label_share, n.null_share, p.map_x, p.map_y
            FROM '{folder}/clusters.parquet' c JOIN named n USING (level, cluster)
            JOIN (SELECT level, cluster, median(map_x)::FLOAT AS map_x, median(map_y)::FLOAT AS map_y
                  FROM cluster_features JOIN features USING (feature) GROUP BY level, cluster) p
            USING (level, cluster)""",
    )
    db.unregister("named")


def _ignored(job: Job) -> list[str]:
    """Return the phrases that the names stage read texts without."""
    if "names" not in job.inputs:
        return []
    found: list[str] = read_json(job.inputs["names"] / "names.json").get("ignored", [])
    return found


def cluster_names(db: DuckDBPyConnection, ignored: Sequence[str] = ()) -> Any:
    """Return level, cluster, label, label_share, null_share: from what bears the members' names out.

    Sensitive features lend no words, and texts are read without the ignored phrases.
    """
    import pyarrow as pa

    words = evidence_words(db, ignored)
    common = Counter(word for held in words.values() for word in held)
    rows = db.execute(
        """SELECT level, cluster, list(feature ORDER BY rank) FROM cluster_features
           GROUP BY level, cluster ORDER BY level, cluster"""
    ).fetchall()
    names = [name_cluster(members, words, common) for _, _, members in rows]
    return pa.table(
        {
            "level": pa.array([row[0] for row in rows], pa.int32()),
            "cluster": pa.array([row[1] for row in rows], pa.int32()),
            "label": pa.array([name.label for name in names], pa.string()),
            "label_share": pa.array([name.share for name in names], pa.float64()),
            "null_share": pa.array([name.null_share for name in names], pa.float64()),
        }
    )


def evidence_words(
    db: DuckDBPyConnection, ignored: Sequence[str] = ()
) -> dict[int, frozenset[str]]:
    """Return the phrases that many of a feature's strongest images hold; without text, its labels' words."""
    strong = db.execute(
        f"""SELECT feature, list(image ORDER BY t.rank) FROM top_images t
            JOIN images i USING (image) JOIN features f USING (feature)
            WHERE t.rank < {STRONG} AND NOT i.sensitive AND NOT f.sensitive AND i.duplicate_of IS NULL
            GROUP BY feature ORDER BY feature"""
    ).fetchall()
    table = db.sql(
        f"""SELECT image, name, caption, tags FROM images WHERE image IN
            (SELECT image FROM top_images WHERE rank < {STRONG}) ORDER BY image"""
    ).to_arrow_table()
    texts, image = read_texts(table, ignored), table["image"].to_numpy()
    found = _label_words(db)
    for feature, images in strong:
        rows = np.searchsorted(image, images)
        if texts.captioned[rows].any():
            found[feature] = frozenset(
                phrase
                for phrase, draft in draft_words(texts, rows).items()
                if draft.texts >= SPEAKS * len(rows)
            )
    return found


def _label_words(db: DuckDBPyConnection) -> dict[int, frozenset[str]]:
    """Return the words of each feature's labels, guesses aside."""
    words: dict[int, frozenset[str]] = {}
    for feature, label in db.execute(
        """SELECT feature, label FROM labels JOIN features USING (feature)
           WHERE NOT sensitive AND NOT perhaps ORDER BY feature, rank"""
    ).fetchall():
        words[feature] = words.get(feature, frozenset()) | label_words(label)
    return words


ALLOWED = """feature NOT IN (SELECT feature FROM features WHERE sensitive)
    AND label NOT IN (SELECT label FROM gone_labels)"""
"""Condition by which a label may be published. No other row is ever written: one that is deleted
later would stay in the bytes of the database."""


def insert_labels(db: DuckDBPyConnection, job: Job) -> None:
    """Take labels and names of the names stage; without one that words named, terms of captions for the rest."""
    if "names" in job.inputs:
        folder = in_sql(job.inputs["names"])
        # Ranks without gaps: rank 0 is the name.
        insert(
            db,
            "labels",
            f"""SELECT * REPLACE (row_number() OVER (PARTITION BY feature ORDER BY rank) - 1 AS rank)
                FROM '{folder}/labels.parquet' WHERE {ALLOWED}""",
        )
        insert(
            db,
            "names",
            f"""SELECT * FROM '{folder}/names.parquet'
                WHERE {ALLOWED} AND name NOT IN (SELECT label FROM gone_labels)""",
        )
        if (job.inputs["names"] / "reliability.parquet").exists():
            return
    _insert_caption_terms(db)
    nothing = [
        "held",
        "strong",
        "chosen",
        "judged",
        "tenth",
        "near",
        "precision",
        "recall",
        "f1",
        "usual",
    ]
    insert(
        db,
        "names",
        f"""SELECT feature, label AS name, label, source, author,
                   {", ".join(f"NULL AS {column}" for column in nothing)}
            FROM labels WHERE rank = 0 AND feature NOT IN (SELECT feature FROM names)""",
    )


def _insert_caption_terms(db: DuckDBPyConnection) -> None:
    """Label each feature without a name with the terms that hold most of its top images' activation.

    A term counts only where it holds a larger share than it has among all images.
    """
    terms = "SELECT image, unnest(list_distinct(terms)) AS label FROM images"
    insert(
        db,
        "labels",
        f"""
        WITH term AS ({terms}),
        common AS (SELECT label, count(*) / (SELECT count(*) FROM images) AS null_score
                   FROM term GROUP BY label),
        whole AS (SELECT feature, sum(activation::DOUBLE ORDER BY rank) AS total FROM top_images GROUP BY feature),
        held AS (
            SELECT feature, label, count(*) AS images,
                   sum(activation::DOUBLE ORDER BY rank) / any_value(total) AS score
            FROM top_images JOIN term USING (image) JOIN whole USING (feature)
            GROUP BY feature, label),
        placed AS (
            SELECT *, row_number() OVER (PARTITION BY feature ORDER BY score DESC, label) - 1 AS rank
            FROM held JOIN common USING (label)
            WHERE images >= {FEWEST_IMAGES_FOR_A_LABEL} AND score > null_score AND {ALLOWED})
        SELECT feature, rank, label, 'captions' AS source, '' AS author, false AS perhaps, score, null_score,
               NULL AS cosine, NULL AS auroc, NULL AS auroc_low, NULL AS auroc_high
        FROM placed WHERE rank < {LABELS_KEPT} AND feature NOT IN (SELECT feature FROM labels)""",
    )
