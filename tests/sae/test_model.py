from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import KINDS, exact_sae, oracle

from atlas.base.errors import InputError
from atlas.sae.encoding import decode, encode, fire, pre_activations, reconstruct
from atlas.sae.model import (
    SAE,
    Activation,
    InputConvention,
    decoder_norms,
    prepare,
    unit_directions,
)


@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS), n=st.integers(1, 9))
def test_encoding_equals_the_dense_oracle_exactly(seed, kind, n):
    rng = np.random.default_rng(seed)
    sae = exact_sae(rng, kind)
    x = (rng.integers(-8, 9, (n, 4)) / 4).astype(np.float16)
    assert np.array_equal(encode(sae, x), oracle(sae, x))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 9))
def test_both_decoders_equal_the_formula(seed, n):
    rng = np.random.default_rng(seed)
    sae = exact_sae(rng, "relu")
    x = (rng.integers(-8, 9, (n, 4)) / 4).astype(np.float32)
    firings = fire(sae, x)
    dense = encode(sae, x)
    expected = dense.astype(np.float64) @ sae.W_dec + sae.b_dec
    assert np.array_equal(decode(sae, dense), expected)
    assert np.array_equal(reconstruct(sae, firings, n), expected)


def real_sae(seed: int = 0, n_features: int = 5000, width: int = 48, kind: str = "relu") -> SAE:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n_features, width)).astype(np.float32)
    bias = (rng.normal(size=n_features) - 12).astype(np.float32)
    k = 20 if kind == "topk" else None
    return SAE(
        matrix, bias, matrix.copy(), matrix[0], matrix[1], activation=Activation(kind, k, None)
    )


@pytest.mark.parametrize("kind", ["relu", "topk"])
def test_encoding_does_not_depend_on_batches_or_threads(kind):
    sae = real_sae(kind=kind)
    x = np.random.default_rng(1).normal(size=(60, 48)).astype(np.float32)
    together = encode(sae, x)
    assert (together > 0).sum() > 500
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for size in (1, 7, 60):
                batches = [encode(sae, x[start : start + size]) for start in range(0, 60, size)]
                assert np.array_equal(np.concatenate(batches), together)
    finally:
        torch.set_num_threads(before)


def test_encoding_is_float64_rounded_once():
    sae = real_sae()
    x = np.random.default_rng(1).normal(size=(40, 48)).astype(np.float32)
    expected = oracle(sae, x).astype(np.float32)
    found = encode(sae, x)
    assert np.array_equal(found > 0, expected > 0)
    assert np.allclose(found, expected, rtol=2.0**-23, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_firing_that_float32_would_round_away_is_found(kind):
    rng = np.random.default_rng(0)
    # Each row sums to 0.5, but in float32 the half is lost beside 2^24 in most orders.
    x = np.array([rng.permutation([2.0**24, 0.5, -(2.0**24), 0, 0, 0]) for _ in range(40)])
    ones = np.ones((3, 6), np.float32)
    nothing = np.zeros(6, np.float32)
    threshold = np.full(3, 0.25, np.float32) if kind in ("jumprelu", "batchtopk") else None
    activation = Activation(kind, 3 if kind == "topk" else None, threshold)
    sae = SAE(ones, np.zeros(3, np.float32), ones.copy(), nothing, nothing, activation)
    assert (encode(sae, x.astype(np.float32)) == 0.5).all()
    assert (x.astype(np.float32).cumsum(axis=1, dtype=np.float32)[:, -1] != 0.5).any()


def test_pre_activations_are_what_the_activation_sees():
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "jumprelu")
    x = (rng.integers(-8, 9, (5, 4)) / 4).astype(np.float32)
    rows, features = np.divmod(np.arange(35), 7)
    z = (x - sae.b_pre) @ sae.W_enc.T + sae.b_enc
    assert np.array_equal(pre_activations(sae, x, rows, features), z.ravel())


def test_a_soft_cap_bends_before_the_activation():
    rng = np.random.default_rng(4)
    sae = replace(exact_sae(rng, "relu"), soft_cap=2.0)
    x = (rng.integers(-8, 9, (30, 4)) / 4).astype(np.float32)
    plain = encode(replace(sae, soft_cap=None), x)
    assert np.allclose(encode(sae, x), 2 * np.tanh(plain / 2), rtol=1e-6)
    capped = replace(sae, activation=Activation("jumprelu", None, np.full(7, 1.5, np.float32)))
    bent = 2 * np.tanh(plain / 2)
    assert np.allclose(encode(capped, x), np.where(bent > 1.5, bent, 0), rtol=1e-6)


def test_each_input_convention_is_its_formula():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(6, 4)).astype(np.float32) * 3
    sae = exact_sae(rng, "relu")
    mean, scale = x.mean(axis=0), np.full(4, 0.5, np.float32)
    centered = x - x.mean(axis=1, keepdims=True)
    expected = {
        InputConvention("raw"): x,
        InputConvention("unit"): x / np.linalg.norm(x, axis=1, keepdims=True),
        InputConvention("layernorm"): centered / centered.std(axis=1, keepdims=True),
    }
    for convention, inputs in expected.items():
        assert np.allclose(prepare(replace(sae, input=convention), x), inputs, rtol=1e-5)
    affine = replace(sae, input=InputConvention("affine", mean, scale))
    assert np.allclose(prepare(affine, x), (x - mean) * scale, rtol=1e-4, atol=1e-6)


def test_an_input_without_direction_is_refused():
    sae = replace(exact_sae(np.random.default_rng(0), "relu"), input=InputConvention("layernorm"))
    x = np.array([[1, 2, 3, 4], [5, 5, 5, 5]], np.float32)
    with pytest.raises(InputError, match="row 1 has no direction left after layernorm"):
        prepare(sae, x)


def test_embeddings_of_another_width_are_refused():
    sae = exact_sae(np.random.default_rng(0), "relu")
    with pytest.raises(InputError, match=r"shape \(2, 5\), the SAE expects \(rows, 4\)"):
        encode(sae, np.ones((2, 5), np.float32))


def test_an_activation_beyond_float32_is_refused():
    sae = exact_sae(np.random.default_rng(0), "relu")
    huge = replace(sae, W_enc=np.full_like(sae.W_enc, 3e38))
    with pytest.raises(InputError, match="activates beyond float32"):
        encode(huge, np.full((1, 4), 3e38, np.float32))


def test_directions_have_length_one_and_norms_are_theirs():
    sae = real_sae(n_features=30)
    assert np.allclose(np.linalg.norm(unit_directions(sae), axis=1), 1)
    assert np.allclose(decoder_norms(sae), np.linalg.norm(sae.W_dec, axis=1))


BASE = exact_sae(np.random.default_rng(9), "relu")
NAN = np.where(np.eye(7, 4) > 0, np.nan, BASE.W_dec).astype(np.float32)
GONE = BASE.W_dec * (np.arange(7) != 3)[:, None].astype(np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"W_enc": np.ones(3, np.float32)},
            "W_enc has shape (3,), expected (features, dimensions)",
        ),
        ({"b_enc": np.ones(3, np.float32)}, "b_enc has shape (3,), expected (7,)"),
        ({"W_dec": np.ones((4, 7), np.float32)}, "W_dec has shape (4, 7), expected (7, 4)"),
        ({"b_dec": np.ones(4)}, "b_dec holds float64, expected float32"),
        ({"W_dec": NAN}, "W_dec has nan at row 0, expected a finite number"),
        ({"W_dec": GONE}, "W_dec has length 0 at row 3, expected a direction"),
        ({"tied": True}, "says tied, but W_dec is not W_enc"),
        ({"soft_cap": 0.0}, "soft cap is 0.0, expected more than 0"),
        ({"activation": Activation("tanh")}, "activation is 'tanh', known"),
        ({"activation": Activation("topk")}, "activation topk with k = None; only topk has k"),
        ({"activation": Activation("topk", 8)}, "k is 8, expected 1 to 7, its features"),
        ({"activation": Activation("jumprelu")}, "activation jumprelu lacks a threshold"),
        (
            {"activation": Activation("batchtopk", None, np.full(7, -1, np.float32))},
            "threshold is -1.0 at feature 0, expected at least 0; "
            "SAEs with negative activations are not supported",
        ),
        ({"input": InputConvention("whitened")}, "input is 'whitened', known"),
        ({"input": InputConvention("affine")}, "input affine with (mean, scale) (False, False)"),
    ],
)
def test_a_record_that_cannot_be_right_is_refused(change, message):
    with pytest.raises(InputError) as caught:
        replace(BASE, **change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_digest_covers_all_that_decides_a_number_and_nothing_else():
    changes = [
        {"W_enc": BASE.W_enc + 1},
        {"b_enc": BASE.b_enc + 1},
        {"W_dec": BASE.W_dec * 2},
        {"b_dec": BASE.b_dec + 1},
        {"b_pre": BASE.b_pre + 1},
        {"activation": Activation("topk", 1)},
        {"activation": Activation("topk", 2)},
        {"activation": Activation("jumprelu", None, np.zeros(7, np.float32))},
        {"soft_cap": 1.0},
        {"soft_cap": 2.0},
        {"input": InputConvention("unit")},
    ]
    digests = {replace(BASE, **change).digest() for change in changes}
    assert len(digests | {BASE.digest()}) == len(changes) + 1
    assert replace(BASE, provenance={"name": "other"}).digest() == BASE.digest()
