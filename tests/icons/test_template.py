"""The template-scaled pass, beside the obvious sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import exact_sae, oracle

from atlas.icons.template import edit, icon_embeddings, make_template, set_strengths

FEATURES = np.array([0, 3, 6])


@given(seed=st.integers(0, 500), scale=st.sampled_from([0.25, 0.5, 1.0]))
def test_an_icon_is_the_scaled_template_with_one_feature_set_and_the_bias_once(seed, scale):
    rng = np.random.default_rng(seed)
    sae = exact_sae(rng, "relu")
    x = (rng.integers(-8, 9, sae.width) / 4).astype(np.float32)
    template = make_template(sae, x, scale)
    codes = oracle(sae, x[None])[0] * scale
    np.testing.assert_allclose(template.codes, codes, atol=1e-6)
    found = icon_embeddings(sae, template, FEATURES, np.array([2.0, 4.0, 8.0], np.float32))
    for row, feature, strength in zip(found, FEATURES, (2, 4, 8), strict=True):
        changed = codes.copy()
        changed[feature] = strength
        np.testing.assert_allclose(row, changed @ sae.W_dec + sae.b_dec, atol=1e-4)


def test_strengths_are_activations_lengths_or_multiples_of_the_largest():
    sae = exact_sae(np.random.default_rng(0), "relu")
    largest = np.array([1.0, 2.0, 4.0], np.float32)
    assert set_strengths(sae, FEATURES, largest, 20, "activation").tolist() == [20, 20, 20]
    assert set_strengths(sae, FEATURES, largest, 2, "natural").tolist() == [2, 4, 8]
    norm = set_strengths(sae, FEATURES, largest, 5, "norm")
    moved = np.linalg.norm(norm[:, None] * sae.W_dec[FEATURES], axis=1)
    np.testing.assert_allclose(moved, 5, rtol=1e-6)


@given(seed=st.integers(0, 500))
def test_an_edit_at_gain_one_is_the_embedding_and_at_zero_lacks_the_features(seed):
    rng = np.random.default_rng(seed)
    sae = exact_sae(rng, "relu")
    x = rng.normal(size=sae.width).astype(np.float32)
    activations = np.array([1.0, 0.5, 2.0], np.float32)
    assert (edit(sae, x, FEATURES, activations, 1.0) == x).all()
    without = edit(sae, x, FEATURES, activations, 0.0)
    np.testing.assert_allclose(without, x - activations @ sae.W_dec[FEATURES], atol=1e-5)
    double = edit(sae, x, FEATURES, activations, 2.0)
    np.testing.assert_allclose(double + without, 2 * x, atol=1e-4)


def test_a_feature_that_is_on_in_the_template_is_set_and_not_added():
    sae = exact_sae(np.random.default_rng(3), "relu")
    rng = np.random.default_rng(3)
    x = next(
        x
        for x in (rng.integers(-8, 9, (50, sae.width)) / 4).astype(np.float32)
        if oracle(sae, x[None])[0, 0] > 0
    )
    template = make_template(sae, x, 1.0)
    same = icon_embeddings(sae, template, np.array([0]), template.codes[:1])
    np.testing.assert_allclose(same[0], template.base, atol=1e-6)
    assert template.codes[0] > 0
    assert pytest.approx(oracle(sae, x[None])[0, 0]) == template.codes[0]
