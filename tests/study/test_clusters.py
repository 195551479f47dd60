"""Clusters: whole within their parents, the same on every run, named by what sets them apart."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.study.clusters import cluster_levels, label_words, name_cluster, spherical_k_means


def units(n, d, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@given(n=st.integers(1, 60), seed=st.integers(0, 9), equal=st.booleans())
def test_every_cluster_lies_whole_in_one_of_the_level_above(n, seed, equal):
    rows = units(n, 3, seed)
    rows = rows[np.arange(n) % 2] if equal else rows
    levels = cluster_levels(rows, seed)
    assert len(levels) == 3
    for coarse, fine in pairwise(levels):
        for cluster in np.unique(fine):
            assert len(np.unique(coarse[fine == cluster])) == 1
    for labels in levels:
        assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
        sizes = np.bincount(labels)
        assert (np.diff(sizes) <= 0).all()
    again = cluster_levels(rows, seed)
    assert all(np.array_equal(a, b) for a, b in zip(levels, again, strict=True))


def test_each_level_divides_the_one_above_by_the_same_factor():
    levels = cluster_levels(units(625, 16), seed=0)
    assert [labels.max() + 1 for labels in levels] == [5, 25, 125]


def test_bundles_of_directions_are_found():
    middles = np.eye(6, dtype=np.float64)
    rows = np.repeat(middles, 20, axis=0) + 0.05 * np.random.default_rng(0).standard_normal(
        (120, 6)
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels, centers = spherical_k_means(rows, np.ones(120), 6, np.random.default_rng(0))
    assert [len(set(labels[i : i + 20].tolist())) for i in range(0, 120, 20)] == [1] * 6
    assert len(np.unique(labels)) == 6
    assert np.allclose(np.linalg.norm(centers, axis=1), 1)


@given(n=st.integers(1, 30), k=st.integers(1, 30), seed=st.integers(0, 5))
def test_each_point_ends_at_its_nearest_center_unless_rounds_run_out(n, k, seed):
    rows = units(n, 3, seed).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels, centers = spherical_k_means(rows, np.ones(n), k, np.random.default_rng(seed))
    cosines = rows @ centers.T
    assert (cosines[np.arange(n), labels] >= cosines.max(axis=1) - 0.2).all()
    assert labels.max() + 1 == len(centers) <= min(n, k)


WORDS = {
    0: label_words("red heart"),
    1: label_words("black heart"),
    2: label_words("flag: Serbia"),
    3: label_words("flag: Jamaica"),
    4: label_words("red circle"),
    5: label_words("red square 12"),
}
COMMON = {
    "red": 3,
    "heart": 2,
    "black": 1,
    "flag": 2,
    "serbia": 1,
    "jamaica": 1,
    "circle": 1,
    "square": 1,
}


def test_a_cluster_is_named_by_what_its_members_share_and_others_lack():
    found = name_cluster([0, 1], WORDS, COMMON)
    assert (found.label, found.share, found.null_share) == ("heart", 1.0, 2 / 6)


def test_a_further_word_speaks_for_members_without_the_first():
    found = name_cluster([0, 1, 2, 3], WORDS, COMMON)
    assert found.label == "flag, heart"
    assert (found.share, found.null_share) == (1.0, 4 / 6)


def test_a_cluster_without_a_shared_word_has_no_name():
    found = name_cluster([1, 2], WORDS, COMMON)
    assert (found.label, found.share, found.null_share) == ("", 0.0, 0.0)
    assert name_cluster([7, 8], WORDS, COMMON).label == ""


def test_a_word_of_too_few_members_speaks_for_none():
    words = {feature: frozenset({"moon"} if feature < 2 else ()) for feature in range(21)}
    assert name_cluster(range(20), words, {"moon": 2}).label == "moon"
    assert name_cluster(range(21), words, {"moon": 2}).label == ""


def test_numbers_and_two_letters_speak_for_nothing():
    assert label_words("TV of 1984, No. 12 clock") == {"clock"}
