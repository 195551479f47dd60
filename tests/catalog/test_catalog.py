"""The catalog's tables, beside what was planted."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from planted import plant

from atlas.base.tables import TABLES
from atlas.catalog.provenance import atlas_id
from atlas.catalog.search import make_prototypes
from atlas.inputs.embeddings import read_embeddings


@pytest.fixture(scope="module")
def planted(tmp_path_factory, planted_atlas):
    """The answers of the shared atlas: planting is deterministic."""
    return plant(tmp_path_factory.mktemp("again"))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_has_its_columns_its_order_and_unique_keys(db, planted_atlas, table):
    found = db.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index",
        [table.name],
    ).fetchall()
    assert found == [(column.name, column.type) for column in table.columns]
    keys = db.execute(f"SELECT {table.order} FROM {table.name}").fetchall()
    assert keys == sorted(set(keys))
    exported = pq.read_table(planted_atlas / "catalog" / "parquet" / f"{table.name}.parquet")
    assert exported.column_names == [column.name for column in table.columns]
    assert len(exported) == len(keys)


def test_statistics_are_the_planted_ones(db, planted):
    acts = planted.activations()
    fires = acts > 0
    rows = db.execute("SELECT alive, count, density, sum, max FROM features ORDER BY feature")
    alive, count, density, total, largest = zip(*rows.fetchall(), strict=True)
    assert list(alive) == fires.any(axis=0).tolist()
    assert list(count) == fires.sum(axis=0).tolist()
    assert list(density) == (fires.sum(axis=0) / len(acts)).tolist()
    assert list(total) == acts.sum(axis=0).tolist()
    assert [x or 0 for x in largest] == acts.max(axis=0).tolist()


def test_top_images_are_the_strongest_and_ties_go_by_image(db, planted):
    acts = planted.activations()
    for feature in range(acts.shape[1]):
        order = np.lexsort((np.arange(len(acts)), -acts[:, feature]))
        wanted = [int(image) for image in order if acts[image, feature] > 0][:64]
        found = db.execute(
            "SELECT image FROM top_images WHERE feature = ? ORDER BY rank", [feature]
        ).fetchall()
        assert [row[0] for row in found] == wanted


def test_labels_hold_more_than_chance_would(db):
    rows = db.execute("SELECT feature, label, score, null_score FROM labels").fetchall()
    assert rows
    for feature, label, score, null in rows:
        assert score > null
        held, total = db.execute(
            """SELECT sum(activation) FILTER (list_contains(terms, ?)), sum(activation)
               FROM top_images JOIN images USING (image) WHERE feature = ?""",
            [label, feature],
        ).fetchone()
        assert score == pytest.approx(held / total)


def test_a_feature_is_sensitive_from_a_tenth_of_its_top_images_on(db):
    rows = db.execute(
        """SELECT f.sensitive, avg(i.sensitive::INT) FROM features f JOIN top_images USING (feature)
           JOIN images i USING (image) GROUP BY feature, f.sensitive"""
    ).fetchall()
    assert {row[0] for row in rows} == {True, False}
    assert all(sensitive == (share >= 0.1) for sensitive, share in rows)


def test_each_live_feature_has_one_stand_in_among_its_top_images(db):
    rows = db.execute(
        """SELECT feature FROM icons JOIN top_images USING (feature, image) ORDER BY feature"""
    ).fetchall()
    live = db.execute("SELECT feature FROM features WHERE alive ORDER BY feature").fetchall()
    assert rows == live


def test_decompositions_are_the_images_own_features(db, planted):
    acts = planted.activations()
    images = db.execute("SELECT DISTINCT image FROM decompositions ORDER BY image").fetchall()
    assert images
    for (image,) in images[:40]:
        rows = db.execute(
            "SELECT feature, activation FROM decompositions WHERE image = ? ORDER BY rank", [image]
        ).fetchall()
        order = np.lexsort((np.arange(acts.shape[1]), -acts[image]))
        assert rows == [(int(f), acts[image, f]) for f in order if acts[image, f] > 0]


def test_the_identity_rests_on_sae_and_embeddings_alone():
    assert atlas_id("a", ["b", "c"]) == atlas_id("a", ["b", "c"])
    others = {atlas_id("x", ["b", "c"]), atlas_id("a", ["c", "b"]), atlas_id("a", ["b"])}
    assert atlas_id("a", ["b", "c"]) not in others
    assert len(others) == 3


def test_prototypes_are_weighted_means_of_centered_unit_embeddings(planted_atlas, planted):
    embeddings = read_embeddings(planted_atlas / "embed")
    top = pq.read_table(planted_atlas / "scan" / "top_images.parquet")
    alive = np.flatnonzero(planted.activations().any(axis=0))
    found, center = make_prototypes(embeddings, top, alive)
    x = planted.x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(center, x.mean(axis=0), atol=1e-6)
    rows = top.to_pylist()
    for place, feature in enumerate(alive[:20]):
        mine = [row for row in rows if row["feature"] == feature]
        wanted = sum(row["activation"] * (x[row["image"]] - x.mean(axis=0)) for row in mine)
        np.testing.assert_allclose(found[place], wanted / np.linalg.norm(wanted), atol=1e-4)
