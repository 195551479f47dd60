"""Clusters are named by what their members' strongest images show, not by their labels alone."""

from __future__ import annotations

import duckdb

from atlas.base.tables import TABLES, create_sql
from atlas.catalog.labels import cluster_names, evidence_words

CAPTIONS = ["a red fox", "red fox, moon", "an owl", "owl at night"]


def catalog(captions):
    """Two features, the first strong on images 0 and 1, the second on 2 and 3; one cluster."""
    db = duckdb.connect()
    for table in TABLES:
        db.execute(create_sql(table))
    for image, caption in enumerate(captions):
        db.execute("INSERT INTO images BY NAME SELECT ? AS image, '' AS name, ? AS caption, [] AS tags, false AS sensitive", [image, caption])  # fmt: skip
    for feature in range(2):
        db.execute("INSERT INTO features BY NAME SELECT ? AS feature, false AS sensitive", [feature])  # fmt: skip
        db.execute("INSERT INTO labels BY NAME SELECT ? AS feature, 0 AS rank, 'beast' AS label, false AS perhaps", [feature])  # fmt: skip
        db.execute("INSERT INTO cluster_features BY NAME SELECT 0 AS level, 0 AS cluster, ? AS rank, ? AS feature", [feature, feature])  # fmt: skip
        for rank in range(2):
            db.execute("INSERT INTO top_images BY NAME SELECT ? AS feature, ? AS rank, ? AS image, 1.0 AS activation", [feature, rank, 2 * feature + rank])  # fmt: skip
    return db


def test_phrases_that_strong_images_hold_speak_for_a_feature():
    assert evidence_words(catalog(CAPTIONS)) == {0: {"red fox"}, 1: {"owl"}}


def test_phrases_that_names_were_found_without_speak_for_nobody():
    assert evidence_words(catalog(CAPTIONS), ["red fox"]) == {0: frozenset(), 1: {"owl"}}


def test_without_text_labels_do():
    db = catalog([""] * 4)
    assert evidence_words(db) == {0: {"beast"}, 1: {"beast"}}
    assert cluster_names(db).to_pylist()[0]["label"] == ""  # every feature has it: it tells nothing
