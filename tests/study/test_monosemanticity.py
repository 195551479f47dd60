"""Monosemanticity: the quick form against every pair, and its baselines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.study.monosemanticity import (
    cut_at_density,
    first_copies,
    interval_of_mean,
    monosemanticity,
    random_directions,
    raw_dimensions,
    score_features,
)


def units(rng, n, d):
    x = rng.standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@given(n=st.integers(2, 12), seed=st.integers(0, 99))
def test_it_equals_the_published_sum_over_pairs(n, seed):
    rng = np.random.default_rng(seed)
    vectors, a = units(rng, n, 4), rng.integers(0, 4, n).astype(float)
    top = weight = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                top += a[i] * a[j] * float(vectors[i].astype(float) @ vectors[j].astype(float))
                weight += a[i] * a[j]
    found = monosemanticity(vectors, a)
    if weight == 0:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(top / weight, abs=1e-6)
        assert monosemanticity(vectors, 8 * a) == pytest.approx(found)


def test_one_direction_scores_one_and_opposite_ones_minus_one():
    same = np.tile(np.array([[0, 1, 0]], np.float32), (5, 1))
    assert monosemanticity(same, np.arange(1.0, 6)) == pytest.approx(1)
    assert monosemanticity(np.array([[1, 0], [-1, 0]], np.float32), np.ones(2)) == -1
    assert np.isnan(monosemanticity(same[:1], np.ones(1)))


def test_copies_count_once():
    rows = np.array([[1, 2], [3, 4], [1, 2], [1, 2], [5, 6]], np.float16)
    assert first_copies([rows[:2], rows[2:]]).tolist() == [True, True, False, False, True]
    seen = units(np.random.default_rng(0), 5, 3)
    fires = [(np.array([0, 1, 2, 3]), np.array([1, 2, 9, 9], np.float32))]
    expected = monosemanticity(seen[[0, 1]], np.array([1.0, 2.0]))
    assert score_features(fires, seen, first_copies([rows[:2], rows[2:]])).tolist() == [expected]


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=20), data=st.data())
def test_a_cut_takes_the_largest_values_of_equal_ones_the_first(values, data):
    count = data.draw(st.integers(1, len(values)))
    images, heights = cut_at_density(np.array(values, np.float32), count)
    best = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert images.tolist() == sorted(best[:count])
    assert (heights >= 0).all()


def test_baselines_fire_as_often_as_the_features_that_they_stand_for():
    centered = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    counts = np.arange(1, 21)
    for baseline in (random_directions, raw_dimensions):
        found = list(baseline(centered, counts, seed=0))
        assert [len(images) for images, _ in found] == counts.tolist()
        again = list(baseline(centered, counts, seed=0))
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(found, again, strict=True))


def test_raw_dimensions_are_each_taken_from_both_sides():
    centered = np.array([[3, 0], [-5, 1], [0, -7]], np.float32)
    tops = {int(images[0]) for images, _ in raw_dimensions(centered, np.ones(4, int), seed=1)}
    assert tops == {0, 1, 2}


def test_the_interval_holds_the_mean_and_narrows():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    low, high = interval_of_mean(values, 0)
    few_low, few_high = interval_of_mean(values[:20], 0)
    assert low < values.mean() < high
    assert high - low < few_high - few_low
