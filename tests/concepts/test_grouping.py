"""The seed's iterated grouping, beside every partition of a few features."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.concepts.grouping import SAME_OBJECTIVE, adjusted_rand, groups_of, keep, sweep

RIGHT, UP, LEFT = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
COORDINATES = st.integers(-2, 2)
DIRECTIONS = st.tuples(COORDINATES, COORDINATES, COORDINATES).filter(any)
IMAGES = st.lists(
    st.tuples(DIRECTIONS, st.sampled_from([0.5, 1.0, 2.0, 4.0])), min_size=1, max_size=6
)


def grouped(directions, weights, tau, restarts=8):
    weights = np.array(weights, np.float64)
    runs = sweep(np.array(directions), weights, int(weights.sum() / tau), restarts=restarts, seed=0)
    return keep(runs, weights, tau)


def partitions(n, k):
    """Every way to put n things into k groups, none empty."""
    if n == 0:
        return [[]] if k == 0 else []
    grown = [[*rest, k - 1] for rest in partitions(n - 1, k - 1)]
    return grown + [[*rest, label] for rest in partitions(n - 1, k) for label in range(k)]


def merged(image):
    """Features of one direction as one, by their exact directions."""
    kinds = {}
    for direction, weight in image:
        key = tuple(np.array(direction) // np.gcd.reduce(direction))
        kinds[key] = kinds.get(key, 0.0) + weight
    rows = np.array(list(kinds), float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), np.array(list(kinds.values()))


def best_partitions(rows, weights, k):
    """(largest objective, least mass of each partition that reaches it)."""
    judged = []
    for labels in partitions(len(rows), k):
        member = np.array(labels)[None] == np.arange(k)[:, None]
        lengths = np.linalg.norm((member * weights) @ rows, axis=1)
        judged.append((lengths.sum(), (member * weights).sum(axis=1).min()))
    most = max(objective for objective, _ in judged)
    return most, [least for objective, least in judged if objective >= most * (1 - SAME_OBJECTIVE)]


@given(image=IMAGES)
def test_the_best_run_of_every_k_is_the_best_of_all_partitions(image):
    rows, weights = merged(image)
    directions, activations = zip(*image, strict=True)
    runs = sweep(np.array(directions, float), np.array(activations), 9, restarts=40, seed=1)
    assert len(runs) == len(rows)
    for k, run in enumerate(runs, 1):
        most, leasts = best_partitions(rows, weights, k)
        assert run.objectives[run.best] == pytest.approx(most, rel=1e-9)
        assert any(run.least[run.best] == pytest.approx(least) for least in leasts)


@given(image=IMAGES, tau=st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_the_most_groups_are_kept_that_all_reach_tau_in_the_best_partition(image, tau):
    rows, weights = merged(image)
    found = grouped(*zip(*image, strict=True), tau, restarts=40)
    sure, possible = 0, 0
    for k in range(1, len(rows) + 1):
        leasts = best_partitions(rows, weights, k)[1]
        sure = k if min(leasts) >= tau else sure
        possible = k if max(leasts) >= tau else possible
    assert sure <= found.k <= possible
    masses = np.bincount(found.labels, weights=[weight for _, weight in image])
    assert found.k == 0 or (len(masses) == found.k and masses.min() >= tau)
    assert found.k <= found.highest
    assert found.lowest <= found.highest


def test_a_larger_k_may_pass_where_a_smaller_one_fails():
    angles = np.radians([270, 210, 150, 180, 240, 120])
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    weights = np.array([4.0, 1.0, 4.0, 1.0, 4.0, 5.0])
    runs = sweep(directions, weights, 6, restarts=20, seed=0)
    # Two outer pairs leave two light ones in the middle for k = 3; for k = 4 they part.
    assert [run.least[run.best] for run in runs] == [19, 9, 2, 4, 2, 1]
    assert keep(runs, weights, 4.0).k == 4


def test_one_feature_is_one_group_if_its_mass_is_tau_and_none_below():
    assert grouped([RIGHT], [5.0], 5.0).k == 1
    assert grouped([RIGHT], [4.9], 5.0).k == 0
    assert grouped([RIGHT], [4.9], 5.0).labels.tolist() == [0]


def test_features_of_one_direction_are_never_told_apart():
    found = grouped([RIGHT, (3.0, 0.0), UP, (0.0, 0.25)], [9.0, 9.0, 9.0, 9.0], 9.0)
    assert found.k == 2
    assert found.labels.tolist() == [0, 0, 1, 1]


def test_groups_come_heaviest_first_and_equal_ones_by_their_first_feature():
    assert grouped([RIGHT, UP, LEFT], [5.0, 9.0, 5.0], 5.0).labels.tolist() == [1, 0, 2]
    features = np.array([4, 7, 8])
    groups = groups_of(features, np.array([1.0, 5.0, 2.0], np.float32), np.array([0, 1, 0]))
    assert [group.features.tolist() for group in groups] == [[8, 4], [7]]
    assert [group.mass for group in groups] == [3.0, 5.0]


@given(image=IMAGES, scale=st.sampled_from([0.25, 1.0, 8.0]))
def test_the_length_of_a_direction_and_the_unit_of_activation_change_nothing(image, scale):
    directions, weights = (np.array(column, float) for column in zip(*image, strict=True))
    plain = grouped(directions, weights, 1.0)
    scaled = grouped(directions * scale, weights * scale, scale)
    assert plain.labels.tolist() == scaled.labels.tolist()


def test_the_same_features_are_grouped_the_same_way_every_time():
    rng = np.random.default_rng(0)
    directions, weights = rng.normal(size=(60, 16)), rng.exponential(size=60)
    first = sweep(directions, weights, 12, restarts=4, seed=3)
    second = sweep(directions, weights, 12, restarts=4, seed=3)
    assert all((a.labels == b.labels).all() for a, b in zip(first, second, strict=True))


def test_the_adjusted_rand_index_is_one_for_renamed_groups_and_near_zero_by_chance():
    one = np.array([0, 0, 1, 1, 2, 2])
    assert adjusted_rand(one, np.array([2, 2, 0, 0, 1, 1])) == 1.0
    # By hand: 1 pair in common, 3 and 3 pairs in a group, 15 pairs in all.
    assert adjusted_rand(one, np.array([0, 0, 1, 2, 1, 2])) == pytest.approx(
        (1 - 9 / 15) / (3 - 9 / 15)
    )
    rng = np.random.default_rng(0)
    chance = [adjusted_rand(rng.integers(0, 4, 40), rng.integers(0, 4, 40)) for _ in range(300)]
    assert abs(np.mean(chance)) < 0.01
    assert adjusted_rand(np.array([0]), np.array([0])) == 1.0


def test_weighted_pairs_count_by_the_product_of_their_weights():
    one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    weights = np.array([1.0, 0.0, 1.0, 1.0])
    rest = np.array([0, 2, 3])
    assert adjusted_rand(one, other, weights) == pytest.approx(
        adjusted_rand(one[rest], other[rest])
    )
    assert adjusted_rand(one, other, np.ones(4)) == pytest.approx(adjusted_rand(one, other))
