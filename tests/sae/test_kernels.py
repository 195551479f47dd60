"""The kernel for cards, by triton's interpreter: what it means, not how fast it is."""

import importlib
import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import exact_sae

from atlas.sae import float_screens
from atlas.sae.candidates import append
from atlas.sae.encoding import make_encoder
from atlas.sae.float_screens import _not_less_by_torch, find_kernels

VALUES = st.sampled_from([-np.inf, -1.0, -1e-30, 0.0, 0.5, 1.0, 300.0, np.inf, np.nan])


if not torch.cuda.is_available():  # read when triton is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="module")
def kernels():
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: pip install --group kernels")
    return importlib.import_module("atlas.sae.kernels")


@pytest.fixture(autouse=True)
def _tried_anew():
    """Forget what was found out about kernels on this machine, before and after."""
    find_kernels.cache_clear()
    yield
    find_kernels.cache_clear()


@settings(max_examples=30)
@given(data=st.data(), kind=st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_kernel_finds_what_torch_finds(kernels, data, kind):
    n_rows, n_columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    repeats = data.draw(st.sampled_from([1, 300]))
    n = n_rows * n_columns
    values = data.draw(st.lists(VALUES, min_size=n, max_size=n))
    limits = data.draw(st.lists(VALUES, min_size=n_columns, max_size=n_columns))
    product = torch.tensor(values).to(kind).reshape(n_rows, n_columns).repeat(1, repeats)
    least = torch.tensor(limits).to(kind).repeat(repeats)
    true = _not_less_by_torch(product, least)
    assert torch.equal(kernels.not_less(product, least).long(), true)
    # The same in a list that other blocks have begun, of rows that go on beyond this block.
    n_features = product.shape[1] + 3
    expected = 40 + true // product.shape[1] * n_features + true % product.shape[1]
    for room in (len(true), max(0, len(true) - 1)):
        lists = []
        for add, where in (
            (kernels.append, (40, n_features)),
            (append, (40, n_features, product.numel())),
        ):
            places, counts = torch.full((room + 2,), -1), torch.tensor([1, 0])
            add(product, least, where, places, counts)
            assert counts.tolist() == [1 + len(true), 0]
            lists.append(places[1 : room + 1].sort().values)
        if room == len(true):
            assert all(torch.equal(found, expected) for found in lists)


@pytest.mark.parametrize("screen", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "jumprelu"])
def test_a_scan_by_the_kernel_gives_the_same_bytes(kernels, monkeypatch, screen, kind):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, kind, n_features=90, width=8)
    x = (rng.integers(-8, 9, (70, 8)) / 4).astype(np.float32)
    expected = make_encoder(sae, "cpu", screen).fire(x)
    asked = []
    monkeypatch.setattr(float_screens, "_on_card", lambda product: asked.append(1) or True)
    assert find_kernels(torch.device("cpu")) is kernels
    found = make_encoder(sae, "cpu", screen).fire(x)
    assert asked
    assert len(found.image) > 100
    assert found.activation.tobytes() == expected.activation.tobytes()
    assert np.array_equal(found.image, expected.image)
    assert np.array_equal(found.feature, expected.feature)


def test_a_kernel_that_is_wrong_or_does_not_run_is_left_alone(kernels, monkeypatch):
    def fail(product, least):
        raise kernels.FAILURES[0]

    for broken in (fail, lambda product, least: product.view(-1).nonzero()):
        monkeypatch.setattr(kernels, "not_less", broken)
        find_kernels.cache_clear()
        assert find_kernels(torch.device("cpu")) is None


def test_without_triton_torch_does_the_work(monkeypatch):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "relu", n_features=90, width=8)
    x = (rng.integers(-8, 9, (70, 8)) / 4).astype(np.float32)
    expected = make_encoder(sae, "cpu", "float32").fire(x)
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "atlas.sae.kernels", raising=False)
    monkeypatch.setattr(float_screens, "_on_card", lambda product: True)
    found = make_encoder(sae, "cpu", "float32").fire(x)
    assert find_kernels(torch.device("cpu")) is None
    assert found.activation.tobytes() == expected.activation.tobytes()
