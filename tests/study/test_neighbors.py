from __future__ import annotations

import json
import sys
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import Planted, make_job, plant, write_embed

from atlas.base.errors import MissingError
from atlas.base.files import list_files
from atlas.sae import activations
from atlas.scan import scan
from atlas.settings.scan import ScanSettings
from atlas.settings.study import NeighborsSettings
from atlas.study import exact_search, image_index, near_misses, neighbors

KEPT = NeighborsSettings(
    feature_neighbors=5, coactivations=6, near_misses=3, near_miss_top_images=4, near_miss_pool=20
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Planted, dict[str, Path], Path]:
    """Return a planted atlas, the stage's inputs, and what the stage made of them."""
    root = tmp_path_factory.mktemp("neighbors")
    planted = plant(root / "in", n_images=240)
    inputs = {"embed": write_embed(planted, root / "embed"), "sae": planted.folder / "sae"}
    scan.run(make_job("scan", ScanSettings(), inputs, root / "scan"))
    inputs["scan"] = root / "scan"
    neighbors.run(make_job("neighbors", KEPT, inputs, root / "neighbors"))
    return planted, inputs, root / "neighbors"


def rows(path: Path) -> list[tuple[Any, ...]]:
    return list(zip(*pq.read_table(path).to_pydict().values(), strict=True))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 30), k=st.integers(1, 9))
def test_the_exact_search_equals_sorting_everything(seed, n, k):
    rng = np.random.default_rng(seed)
    # Axes and their halves: exact products, and many rows that are equal.
    vectors = rng.integers(-1, 2, (n, 3)).astype(np.float32) / 2
    queries = rng.integers(0, n, rng.integers(0, n + 1))
    found, products = exact_search.exact_top(vectors, queries, k)
    for query, ids, values in zip(queries, found, products, strict=True):
        exact = (vectors @ vectors[query]).tolist()
        others = [row for row in range(n) if row != query]
        best = sorted(others, key=lambda row, exact=exact: (-exact[row], row))[:k]
        assert ids.tolist() == best
        assert values.tolist() == [exact[row] for row in best]


def random_units(n: int, width: int) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(n, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_exact_search_agrees_with_faiss(monkeypatch):
    vectors = random_units(700, 24)
    everyone = np.arange(len(vectors))
    monkeypatch.setattr(exact_search, "QUERIES_PER_BLOCK", 300)
    found, products = exact_search.exact_top(vectors, everyone, 8)
    index = faiss.IndexFlatIP(24)
    index.add(vectors)
    cosines, ids = index.search(vectors, 9)
    assert np.array_equal(ids[:, 0], everyone)
    assert np.allclose(products, cosines[:, 1:], atol=1e-6)
    assert (found == ids[:, 1:]).mean() > 0.999


def test_near_ties_are_ordered_by_float64():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1, 48)) + rng.normal(size=(300, 48)) * 3e-7
    vectors = (base / np.linalg.norm(base, axis=1, keepdims=True)).astype(np.float32)
    wide = vectors.astype(np.float64)
    exact = (wide @ wide.T).astype(np.float32)
    np.fill_diagonal(exact, -np.inf)
    found, products = exact_search.exact_top(vectors, np.arange(300), 6)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :6]
    assert np.array_equal(products, np.take_along_axis(exact, order, axis=1))
    assert np.array_equal(found, order)


def test_searching_with_faiss_gives_the_same_table(monkeypatch):
    vectors = random_units(700, 24)
    everyone = np.arange(len(vectors))
    found = exact_search.exact_top(vectors, everyone, 8)
    monkeypatch.setattr(exact_search, "_blas_pairs", exact_search._faiss_pairs)
    for mine, theirs in zip(found, exact_search.exact_top(vectors, everyone, 8), strict=True):
        assert np.array_equal(mine, theirs)


def test_a_planted_twin_is_the_nearest_neighbor(built):
    planted, _, out = built
    found = {row[0]: row for row in rows(out / "feature_neighbors.parquet") if row[1] == 0}
    assert sorted(found) == np.flatnonzero(~planted.dead).tolist()
    for feature, (_, _, neighbor, cosine) in found.items():
        twin = feature ^ 1
        if not planted.dead[twin]:
            assert neighbor == twin
            assert cosine > 0.95


def test_neighbors_are_live_others_in_order(built):
    planted, _, out = built
    found = rows(out / "feature_neighbors.parquet")
    units = planted.sae.W_dec / np.linalg.norm(planted.sae.W_dec, axis=1, keepdims=True)
    assert [row[:2] for row in found] == sorted({row[:2] for row in found})
    assert len(found) == 5 * (~planted.dead).sum()
    for feature, _, neighbor, cosine in found:
        assert neighbor != feature
        assert not planted.dead[neighbor]
        assert cosine == pytest.approx(float(units[feature] @ units[neighbor]), abs=1e-6)
    for before, after in pairwise(found):
        if before[0] == after[0]:
            assert (-before[3], before[2]) < (-after[3], after[2])


def test_coactivations_equal_counting_sets(built, monkeypatch):
    planted, inputs, out = built
    fires = planted.activations() > 0
    together = fires.T.astype(int) @ fires.astype(int)
    n, count = len(fires), fires.sum(axis=0)
    expected = []
    for feature in range(fires.shape[1]):
        others = [o for o in range(fires.shape[1]) if o != feature and together[feature, o]]
        others.sort(key=lambda other, feature=feature: (-together[feature, other], other))
        for rank, other in enumerate(others[:6]):
            both = int(together[feature, other])
            a, b = int(count[feature]), int(count[other])
            shares = (both / a, 0.0, both / b, both * n / (a * b))
            expected.append((feature, rank, other, both, *shares))
    assert rows(out / "coactivations.parquet") == expected
    monkeypatch.setattr(activations, "PAIRS_PER_BLOCK", 50)
    by_feature = neighbors.FeatureActivations(inputs["scan"])
    by_image = neighbors.ImageActivations(inputs["scan"])
    again = neighbors.coactivations(by_feature, by_image, 6).to_pydict()
    assert list(zip(*again.values(), strict=True)) == expected


IMAGES = st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=30)


@given(images=IMAGES, seed=st.integers(0, 999), n_chosen=st.integers(0, 40))
def test_a_compiled_count_equals_counting_one_by_one(images, seed, n_chosen):
    chosen = np.random.default_rng(seed).integers(0, len(images), n_chosen)
    every = activations.EveryFiring(
        31,
        np.cumsum([0, *map(len, images)]),
        np.array([f for features in images for f in sorted(features)], np.int32),
        np.ones(sum(map(len, images)), np.float16),
    )
    expected = [sum(feature in images[image] for image in chosen) for feature in range(31)]
    for worth in (0, 1 << 60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(activations, "WORTH_COMPILING", worth)
            assert every.count_together(chosen).tolist() == expected


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=40), most=st.integers(1, 45))
def test_the_most_frequent_are_those_that_sorting_all_would_give(counts, most):
    best, found = neighbors._most_frequent(np.array(counts), most)
    expected = sorted(np.flatnonzero(counts), key=lambda one: (-counts[one], one))[:most]
    assert best.tolist() == expected
    assert found.tolist() == [counts[one] for one in expected]


def test_co_activations_of_a_frequent_feature_are_sampled_within_their_error(built, monkeypatch):
    planted, inputs, _ = built
    fires = planted.activations() > 0
    together, totals = fires.T.astype(int) @ fires.astype(int), fires.sum(axis=0)
    by_feature = neighbors.FeatureActivations(inputs["scan"])
    by_image = neighbors.ImageActivations(inputs["scan"])
    monkeypatch.setattr(neighbors, "IMAGES_LOOKED_AT", 12)
    found = neighbors.coactivations(by_feature, by_image, 6)
    assert found == neighbors.coactivations(by_feature, by_image, 6)
    exact, within = 0, []
    for row in found.to_pylist():
        n, both = totals[row["feature"]], together[row["feature"], row["other"]]
        share = row["p_other_given_feature"]
        if n <= 12:
            exact += 1
            assert (row["count"], share, row["standard_error"]) == (both, both / n, 0)
            continue
        error = np.sqrt(share * (1 - share) / 12 * (n - 12) / (n - 1))
        assert row["standard_error"] == pytest.approx(error)
        assert row["count"] == min(round(share * n), totals[row["other"]])
        if error:
            within.append(abs(share - both / n) <= 3 * error)
    assert exact > 20
    assert len(within) > 20
    assert np.mean(within) > 0.95


def test_near_misses_equal_looking_at_every_image(built):
    planted, inputs, out = built
    x = planted.x.astype(np.float64)
    off = x - x.mean(axis=0)
    unit = off / np.linalg.norm(off, axis=1, keepdims=True)
    cosine = unit @ unit.T
    a = planted.activations()
    z = x @ planted.sae.W_enc.T.astype(np.float64) + planted.sae.b_enc
    tops: dict[int, list[int]] = {}
    for feature, rank, image, _ in rows(inputs["scan"] / "top_images.parquet"):
        if rank < 4:
            tops.setdefault(feature, []).append(image)
    found: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows(out / "near_misses.parquet"):
        found.setdefault(row[0], []).append(row)
    for feature, images in tops.items():
        mine = found.get(feature, [])
        assert [row[1] for row in mine] == list(range(len(mine)))
        assert len({row[2] for row in mine}) == len(mine) <= 3
        for _, _, image, top_image, similarity, pre in mine:
            assert top_image in images
            assert a[image, feature] == 0
            assert pre == z[image, feature] <= 0
            assert similarity == pytest.approx(cosine[top_image, image], abs=1e-5)
            nearer = cosine[top_image] > similarity + 1e-5
            assert (a[nearer, feature] > 0).all()
        first = np.argsort(-cosine[images[0]], kind="stable")[:21]
        if (a[first, feature] == 0).any():
            assert mine[0][3] == images[0]


@pytest.fixture(scope="module")
def indexed(built, tmp_path_factory) -> Path:
    """Return what the stage makes of the same atlas when it asks an index of lists."""
    _, inputs, _ = built
    out = tmp_path_factory.mktemp("indexed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_index, "EXACT_IMAGES", 100)
        patch.setattr(image_index, "MIN_LISTS", 10)
        patch.setattr(image_index, "n_lists_of", lambda _: 12)
        patch.setattr(near_misses, "FEATURES_PER_BLOCK", 7)
        neighbors.run(make_job("neighbors", KEPT, inputs, out))
    return out


def test_an_index_of_lists_finds_most_of_the_same_near_misses(built, indexed):
    _, _, out = built
    exact, found = (rows(path / "near_misses.parquet") for path in (out, indexed))
    pairs = [{(row[0], row[2]) for row in table} for table in (exact, found)]
    assert len(pairs[0] & pairs[1]) > 0.85 * len(pairs[0])
    assert [row[:2] for row in found] == sorted(row[:2] for row in found)
    note = json.loads((indexed / "neighbors.json").read_text())
    assert note["recall_queries"] > 30
    assert 0.85 < note["recall_at_8"] <= 1
    assert "recall_at_8" not in json.loads((out / "neighbors.json").read_text())


def test_near_misses_by_an_index_are_silent_no_duplicates_and_exactly_measured(built, indexed):
    planted, _, _ = built
    x = planted.x.astype(np.float64)
    off = x - x.mean(axis=0)
    unit = off / np.linalg.norm(off, axis=1, keepdims=True)
    a = planted.activations()
    z = x @ planted.sae.W_enc.T.astype(np.float64) + planted.sae.b_enc
    found = rows(indexed / "near_misses.parquet")
    assert len(found) > 50
    for feature, _, image, top_image, similarity, pre in found:
        assert a[image, feature] == 0
        assert pre == z[image, feature]
        assert similarity == pytest.approx(unit[image] @ unit[top_image], abs=1e-5)
        assert similarity < KEPT.duplicate_cosine


def test_an_index_of_lists_is_searched_for_any_embedding(built, indexed):
    planted, _, _ = built
    for image in (0, 17, 239):
        images, cosines = image_index.search_images(indexed, planted.x[image], 5)
        assert np.array_equal(planted.x[images[0]], planted.x[image])
        assert (np.diff(cosines) <= 0).all()
    assert faiss.extract_index_ivf(faiss.read_index(str(indexed / "image_index.faiss"))).nlist == 12


def test_a_duplicate_that_the_index_takes_for_another_image_is_no_near_miss():
    asked = near_misses._Asked(
        features=range(1),
        edges=np.array([0, 1]),
        which=np.array([0]),
        images=np.array([0]),
        pool=np.array([[1, 2]]),
        similarity=np.array([[0.9, 0.8]], np.float32),
    )
    around = types.SimpleNamespace(exact=False, by_feature=[(np.array([0]), None)])
    with pytest.MonkeyPatch.context() as patch:
        exact = {1: 0.99, 2: 0.79}
        patch.setattr(
            near_misses,
            "_cosines",
            lambda _, found, __: np.array([exact[i] for i in found.tolist()]),
        )
        chosen = near_misses._choose_exactly(around, asked, KEPT)
    assert chosen["image"].tolist() == [2]
    assert chosen["similarity"].tolist() == [0.79]


def test_the_image_index_finds_an_image_by_itself(built):
    planted, _, out = built
    for image in (0, 17, 239):
        images, cosines = image_index.search_images(out, planted.x[image].astype(np.float32), 5)
        assert np.array_equal(planted.x[images[0]], planted.x[image])
        assert cosines[0] == pytest.approx(1, abs=1e-3)
        assert (np.diff(cosines) <= 0).all()


def test_threads_and_blocks_change_no_byte(built, tmp_path, monkeypatch):
    _, inputs, out = built
    monkeypatch.setattr(exact_search, "QUERIES_PER_BLOCK", 7)
    neighbors.run(make_job("neighbors", KEPT, inputs, tmp_path / "again", threads=2))
    names = [path.name for path in list_files(out)]
    assert names == [path.name for path in list_files(tmp_path / "again")]
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_without_faiss_the_stage_says_what_to_install(built, tmp_path, monkeypatch):
    _, inputs, _ = built
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingError) as caught:
        neighbors.run(make_job("neighbors", KEPT, inputs, tmp_path / "none"))
    assert str(caught.value) == (
        "the neighbors stage needs FAISS; install it with: pip install "
        "'feature-atlas[neighbors]' (with an NVIDIA GPU: 'feature-atlas[gpu]')"
    )
    assert list_files(tmp_path / "none") == []
