"""Planted families are found, and nothing else is."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import make_job, plant_kin, write_embed

from atlas.base.errors import InputError
from atlas.base.files import list_files
from atlas.sae.activations import FeatureActivations, ImageActivations, read_every_firing
from atlas.sae.checkpoints import load_sae
from atlas.scan import scan
from atlas.settings.scan import ScanSettings
from atlas.settings.study import FamiliesSettings, NeighborsSettings
from atlas.study import families, neighbors
from atlas.study.intervals import wilson
from atlas.study.relatives import most_opposed


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    kin = plant_kin(root / "in")
    inputs = {"embed": write_embed(kin, root / "embed"), "sae": kin.folder / "sae"}
    scan.run(make_job("scan", ScanSettings(), inputs, root / "scan"))
    inputs["scan"] = root / "scan"
    neighbors.run(make_job("neighbors", NeighborsSettings(), inputs, root / "neighbors"))
    inputs["neighbors"] = root / "neighbors"
    families.run(make_job("families", FamiliesSettings(), inputs, root / "families"))
    return kin, inputs, root / "families"


def pairs(out, kind):
    rows = pq.read_table(out / "relatives.parquet").to_pylist()
    return {(row["feature"], row["other"]) for row in rows if row["kind"] == kind}


def figures(out):
    return {f["name"]: f for f in json.loads((out / "families.json").read_text())["figures"]}


@pytest.mark.parametrize("kind", ["duplicate", "parent", "antipode"])
def test_planted_families_are_found_and_no_others(built, kind):
    kin, _, out = built
    expected = {"duplicate": kin.duplicates, "parent": kin.parents, "antipode": kin.antipodes}[kind]
    assert pairs(out, kind) == expected


def test_clusters_are_the_planted_bundles(built):
    kin, _, out = built
    rows = pq.read_table(out / "cluster_features.parquet").to_pylist()
    levels = {level: {} for level in range(3)}
    for row in rows:
        levels[row["level"]][row["feature"]] = row["cluster"]
    n = len(kin.family)
    assert all(sorted(held) == list(range(n)) for held in levels.values())
    alike = [f for f in range(n) if f % 5 != 4]  # the one that points away is of no bundle
    for a in alike:
        for b in alike:
            if levels[2][a] == levels[2][b]:
                assert kin.family[a] == kin.family[b]


def test_shares_are_those_of_the_images(built):
    _, inputs, out = built
    by_feature = FeatureActivations(inputs["scan"])
    for row in pq.read_table(out / "relatives.parquet").to_pylist():
        images, a = by_feature[row["feature"]]
        if row["kind"] == "parent":
            count = int(np.ceil(0.1 * len(images)))
            images = images[np.lexsort((images, -a))[:count]]
        assert row["n"] == len(images)
        hits = len(set(images.tolist()) & set(by_feature[row["other"]][0].tolist()))
        assert row["share"] == hits / len(images)
        assert 0 <= row["share_low"] <= row["share"]
        assert row["share_back"] <= row["share_back_high"] <= 1


def test_every_figure_has_its_null_and_command(built):
    *_, out = built
    found = figures(out)
    assert found["features_with_parent"]["value"] == pytest.approx(2 / 5)
    assert found["features_with_duplicate"]["value"] == pytest.approx(2 / 5)
    for name in ("features_with_parent", "features_with_duplicate", "features_with_antipode"):
        assert found[name]["null_value"] < found[name]["value"]
        assert found[name]["command"] == "atlas build CONFIG families"
    for level in range(3):
        figure = found[f"nearest_in_cluster_level_{level}"]
        assert figure["value"] > figure["null_value"]
    assert not any(name.startswith("monosemanticity") for name in found)


def test_the_same_input_gives_the_same_bytes(built, tmp_path):
    _, inputs, out = built
    families.run(make_job("families", FamiliesSettings(), inputs, tmp_path / "again"))
    for path in list_files(out):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(out)).read_bytes()


def second_job(built, folder, vectors):
    _, inputs, _ = built
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "0000.npy", vectors)
    job = make_job("families", FamiliesSettings(), inputs, folder / "out")
    job.files["second_vectors"] = (folder / "0000.npy",)
    return job


def test_a_second_encoder_that_sees_the_families_finds_their_features_pure(built, tmp_path):
    kin = built[0]
    job = second_job(
        built, tmp_path, kin.x + np.arange(len(kin.x), dtype=np.float32)[:, None] * 1e-6
    )
    families.run(job)
    found = figures(job.out_dir)
    assert found["monosemanticity_mean"]["value"] > found["monosemanticity_mean"]["null_value"]
    assert found["monosemanticity_mean"]["unit"] == "cosine"
    scores = pq.read_table(job.out_dir / "monosemanticity.parquet")["monosemanticity"].to_pylist()
    assert len(scores) == len(kin.family)
    assert all(score > 0 for score in scores)


def replicate_job(built, folder, *others):
    _, inputs, _ = built
    folder.mkdir(parents=True, exist_ok=True)
    job = make_job("families", FamiliesSettings(), inputs, folder / "out")
    paths = [folder / f"{i}.npy" for i in range(len(others))]
    for path, rows in zip(paths, others, strict=True):
        np.save(path, rows)
    job.files["replicates"] = tuple(paths)
    return job


def test_in_how_many_saes_of_other_seeds_a_feature_is_found_is_kept_beside_a_null(built, tmp_path):
    weights = load_sae(built[1]["sae"]).W_dec
    job = replicate_job(built, tmp_path, weights, -weights)
    families.run(job)
    table = pq.read_table(job.out_dir / "replicates.parquet").to_pydict()
    assert set(table["seeds"]) == {2}
    found = figures(job.out_dir)["features_seen_in_another_seed"]
    assert found["value"] == np.mean([seen >= 1 for seen in table["seeds_seen"]])
    assert found["value"] > 0.5 > found["null_value"]


def test_without_other_seeds_nothing_is_said_of_them(built):
    table = pq.read_table(built[2] / "replicates.parquet").to_pydict()
    assert set(table["seeds_seen"]) == set(table["seeds"]) == {None}


def test_directions_of_another_width_are_refused(built, tmp_path):
    job = replicate_job(built, tmp_path, np.ones((4, 3), np.float32))
    with pytest.raises(InputError, match=r"0\.npy"):
        families.run(job)


def test_a_second_encoder_that_sees_nothing_finds_no_feature_pure(built, tmp_path):
    noise = np.random.default_rng(0).standard_normal((len(built[0].x), 8)).astype(np.float32)
    job = second_job(built, tmp_path, noise)
    families.run(job)
    assert abs(figures(job.out_dir)["monosemanticity_mean"]["value"]) < 0.01


def test_second_vectors_must_be_one_a_picture(built, tmp_path):
    job = second_job(built, tmp_path, np.ones((7, 3), np.float32))
    with pytest.raises(InputError, match="holds 7 second vectors, the atlas has 3000 images; "):
        families.run(job)


@given(hits=st.integers(0, 40), more=st.integers(0, 40))
def test_the_interval_holds_the_rate_and_stays_within_zero_and_one(hits, more):
    n = hits + more
    low, high = wilson(hits, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= hits / n <= high
        wide_low, wide_high = wilson(hits, n, 5.0)
        assert wide_low <= low <= high <= wide_high
    else:
        assert (low, high) == (0, 1)


def test_the_interval_is_wilson_s():
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)


@given(seed=st.integers(0, 999), n=st.integers(1, 20))
def test_the_most_opposed_equals_looking_at_all(seed, n):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, 2, (n, 3)).astype(np.float32)
    found, cosines = most_opposed(rows, np.arange(n))
    products = rows @ rows.T
    assert found.tolist() == products.argmin(axis=1).tolist()
    assert cosines.tolist() == products.min(axis=1).tolist()


@pytest.mark.parametrize("worth_compiling", [0, 1 << 40])
def test_sums_over_shared_images_equal_a_matrix_product(built, worth_compiling, monkeypatch):
    monkeypatch.setattr("atlas.sae.activations.WORTH_COMPILING", worth_compiling)
    _, inputs, _ = built
    by_feature = FeatureActivations(inputs["scan"])
    every = read_every_firing(ImageActivations(inputs["scan"]), len(by_feature))
    dense = np.zeros((len(every), len(by_feature)))
    for feature in range(len(by_feature)):
        images, a = by_feature[feature]
        dense[images, feature] = a
    images, a = by_feature[1]
    assert np.array_equal(every.sum_together(images, a.astype(float)), dense[:, 1] @ dense)
    assert np.array_equal(every.count_together(images), (dense[images] > 0).sum(axis=0))
    assert not every.count_together(images[:0]).any()
