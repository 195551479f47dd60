from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.base import float64
from atlas.base.compiled import find_loops
from atlas.base.float64 import LANES, inner_products, squared_lengths


@pytest.fixture(params=["numpy", "compiled"])
def path(request, monkeypatch):
    """Take every product one way."""
    monkeypatch.setattr(float64, "WORTH_COMPILING", 0 if request.param == "compiled" else 1 << 60)


def drawn(seed: int, width: int, n_pairs: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, 40, width)).astype(np.float32)
    scale = 2.0 ** rng.integers(-40, 40, (40, 1))
    rows = rng.integers(0, 40, (2, n_pairs))
    return (left * scale).astype(np.float32), rows[0], right, rows[1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(1, 70))
def test_the_compiled_loop_gives_the_same_bits(seed, width, n_pairs):
    given_ = drawn(seed, width, n_pairs)
    found = []
    for worth in (0, 1 << 60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(float64, "WORTH_COMPILING", worth)
            found.append(inner_products(*given_))
    assert np.array_equal(*found)


def test_sums_are_taken_in_the_order_that_is_promised(path):
    left, rows, right, others = drawn(0, 150, 30)
    for pair, value in enumerate(inner_products(left, rows, right, others)):
        sums = [0.0] * LANES
        for column in range(150):
            one, other = left[rows[pair], column], right[others[pair], column]
            sums[column % LANES] += float(one) * float(other)
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [a + b for a, b in zip(sums[:half], sums[half:], strict=True)]
        assert value == sums[0]


@given(st.integers(0, 2**32 - 1))
def test_inner_products_are_right_to_one_rounding_of_float32(seed):
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, 3, 50)).astype(np.float32)
    rows = rng.integers(0, 3, (2, 7))
    found = inner_products(left, rows[0], right, rows[1]).astype(np.float32)
    for value, i, j in zip(found, *rows, strict=True):
        pairs = zip(left[i].tolist(), right[j].tolist(), strict=True)
        truth = sum(Fraction(a) * Fraction(b) for a, b in pairs)
        assert abs(Fraction(float(value)) - truth) <= abs(truth) * Fraction(1, 2**23)


def test_an_inner_product_does_not_depend_on_the_other_pairs(path):
    left, rows, right, others = drawn(0, 333, 500)
    together = inner_products(left, rows, right, others)
    alone = [inner_products(left, rows[i : i + 1], right, others[i : i + 1]) for i in range(500)]
    assert np.array_equal(together, np.concatenate(alone))


def test_without_numba_the_products_are_taken_by_numpy(monkeypatch):
    given_ = drawn(1, 100, 50)
    expected = inner_products(*given_)
    monkeypatch.setattr(float64, "WORTH_COMPILING", 0)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "atlas.base.loops", raising=False)
    find_loops.cache_clear()
    try:
        assert np.array_equal(inner_products(*given_), expected)
        assert find_loops() is None
    finally:
        find_loops.cache_clear()


def test_squared_lengths_are_those_of_each_row_alone():
    rows = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)
    wide = rows.astype(np.float64)
    assert np.allclose(squared_lengths(rows), (wide * wide).sum(axis=1), rtol=1e-13)
    alone = np.concatenate([squared_lengths(rows[i : i + 1]) for i in range(len(rows))])
    assert np.array_equal(squared_lengths(rows), alone)
