"""What features make of two images that differ in one picture, where the answer is known."""

from __future__ import annotations

import numpy as np

from atlas.demo.attributes import read_splits
from atlas.demo.pairs import answering, draw_pairs, is_first, pair_figures, rises
from atlas.demo.places import RECIPES
from atlas.inputs.compositions import read_recipes


def test_a_feature_that_rises_most_is_first_and_one_that_falls_does_not_rise():
    change = np.array([[2.0, -5.0, 1.0], [0.0, 0.0, 0.0]], np.float32)
    both = np.array([0, 0])
    assert rises(change, both).tolist() == [True, False]
    assert is_first(change, both).tolist() == [True, False]
    assert is_first(change, np.array([2, 1])).tolist() == [False, False]


def test_features_that_answer_are_counted_by_how_evenly_they_change():
    change = np.array([[1.0, -1, 1, -1], [3, 0, 0, 0], [4, 1, 0, 0]], np.float32)
    np.testing.assert_allclose(answering(change), [4, 1, 25 / 17])


def test_figures_of_features_that_always_answer_alone():
    before = np.zeros((4, 4), np.float32)
    found = {f["name"]: f for f in pair_figures(before, np.eye(4, dtype="f4"), np.arange(4))}
    assert found["pairs_feature_rises"]["value"] == found["pairs_feature_first"]["value"] == 1
    assert found["pairs_feature_rises"]["null_value"] == 0
    assert found["pairs_features_answering"]["value"] == 1


def test_the_pairs_of_the_demo_differ_in_one_picture_that_brings_the_attribute():
    names, _, _ = read_splits()
    recipes = read_recipes(RECIPES)
    for pair in draw_pairs(names, recipes)[:50]:
        assert pair.without in recipes
        assert (pair.has.top, len(pair.has.placed)) == (pair.without.top, len(pair.without.placed))
        differ = [a.picture != b.picture for a, b in zip(pair.without.placed, pair.has.placed, strict=True)]  # fmt: skip
        assert sum(differ) == 1
