"""The round trip, beside the obvious count, and on icons that obey or don't."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.icons.roundtrip import (
    IconFirings,
    Natural,
    benjamini_hochberg,
    chance,
    judge,
    partners,
    ranks,
    swap,
    worst,
)


def sparse(table):
    """The firings of an (icon, feature) table."""
    icon, feature = np.nonzero(table)
    return IconFirings(icon, feature, table[icon, feature].astype(np.float32))


TABLES = (
    st.integers(2, 12)
    .flatmap(
        lambda n: st.lists(
            st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=n, max_size=n
        )
    )
    .map(lambda rows: np.array(rows, np.float32))
)


@given(table=TABLES, seed=st.integers(0, 99))
def test_ranks_and_chance_are_what_counting_gives(table, seed):
    n = len(table)
    q99 = np.random.default_rng(seed).choice([1.0, 2.0], n).astype(np.float32)
    fired, own = sparse(table), np.diagonal(table).copy()
    everyone = np.arange(n)
    found = ranks(fired, own, q99, everyone)
    p = chance(fired, own, np.ones(n), everyone)
    for j in range(n):
        if own[j] == 0:
            assert (found[j], p[j]) == (n, 1.0)
            continue
        others = [i for i in range(n) if i != j]
        assert found[j] == 1 + sum(table[j, i] / q99[i] >= own[j] / q99[j] for i in others)
        assert p[j] == (1 + sum(table[k, j] >= own[j] for k in others)) / n


def test_chance_compares_with_icons_that_moved_as_far():
    n = 2400
    moved = np.arange(n, dtype=float)
    table = np.zeros((n, 3), np.float32)
    table[0, 0] = 1
    table[2000, 0] = 5  # far in how far it moved: no rival
    fired = IconFirings(*np.nonzero(table), table[np.nonzero(table)])
    own = np.zeros(n, np.float32)
    own[0] = 1
    assert chance(fired, own, moved, np.arange(n))[0] == 1 / 1000
    table[300, 0] = 5
    fired = IconFirings(*np.nonzero(table), table[np.nonzero(table)])
    assert chance(fired, own, moved, np.arange(n))[0] == 2 / 1000


def test_benjamini_hochberg_by_hand():
    p = np.array([0.01, 0.02, 0.03, 0.2, 0.9])
    assert benjamini_hochberg(p, 0.05).tolist() == [True, True, True, False, False]
    assert benjamini_hochberg(np.array([0.05, 0.06]), 0.05).tolist() == [False, False]
    assert benjamini_hochberg(np.zeros(0), 0.05).tolist() == []


@given(table=TABLES, seed=st.integers(0, 99))
def test_judging_a_few_again_by_the_same_icons_says_the_same(table, seed):
    n = len(table)
    some = np.sort(np.random.default_rng(seed).choice(n, max(1, n // 2), replace=False))
    natural = Natural(np.full(n, 1.0, np.float32), np.full(n, 2.0, np.float32))
    everyone = judge(sparse(table), np.zeros(n, np.float32), natural, np.ones(n, np.float32))
    few = judge(
        sparse(table[some]),
        np.zeros(n, np.float32),
        natural,
        np.ones(n, np.float32),
        some,
        sparse(table),
    )
    for name in ("activation", "rank", "p", "strong"):
        assert (getattr(few, name) == getattr(everyone, name)[some]).all()


def test_of_two_verdicts_the_lesser_counts():
    verdicts = np.array(["shown", "shown", "partly", "not shown"])
    others = np.array(["shown", "partly", "shown", "shown"])
    assert worst(verdicts, others).tolist() == ["shown", "partly", "partly", "not shown"]


def drawn(rng, n, obeys):
    """An (icon, feature) table: every icon fires 20 features at random, obeying ones its own too."""
    table = np.zeros((n, n), np.float32)
    for icon in range(n):
        table[icon, rng.choice(n, 20, replace=False)] = rng.uniform(0.1, 1, 20)
        table[icon, icon] = rng.uniform(2, 4) if obeys[icon] else table[icon, icon]
    return table


def test_obeying_icons_pass_and_ignoring_ones_hardly_ever_do():
    rng = np.random.default_rng(0)
    n = 1500
    obeys = np.arange(n) % 2 == 0
    natural = Natural(np.full(n, 0.5, np.float32), np.full(n, 1.0, np.float32))
    found = judge(sparse(drawn(rng, n, obeys)), np.zeros(n, np.float32), natural, np.ones(n))
    shown = found.verdict == "shown"
    assert shown[obeys].mean() > 0.99
    assert shown[~obeys].mean() <= 0.01


@given(table=TABLES)
def test_the_control_gives_each_feature_the_icon_of_another(table):
    n = len(table)
    found = swap(sparse(table), n)
    dense = np.zeros((n, n), np.float32)
    dense[found.icon, found.feature] = found.activation
    assert (partners(n) != np.arange(n)).all()
    assert sorted(partners(n)) == list(range(n))
    assert (dense == table[partners(n)]).all()
    assert (np.diff(found.icon) >= 0).all()


def test_another_feature_s_icon_does_not_pass():
    rng = np.random.default_rng(1)
    n = 1000
    table = drawn(rng, n, np.ones(n, bool))
    natural = Natural(np.full(n, 0.5, np.float32), np.full(n, 1.0, np.float32))
    swapped = swap(sparse(table), n)
    found = judge(swapped, np.zeros(n, np.float32), natural, np.ones(n))
    assert (found.verdict == "shown").mean() <= 0.01


def test_an_icon_no_better_than_the_template_is_not_shown():
    table = np.diag([3.0, 3.0, 3.0]).astype(np.float32)
    natural = Natural(np.ones(3, np.float32), np.ones(3, np.float32))
    found = judge(sparse(table), np.array([0, 3.0, 4.0], np.float32), natural, np.ones(3))
    assert found.verdict.tolist() == ["partly", "not shown", "not shown"]
    assert found.activation.tolist() == [3, 3, 3]
