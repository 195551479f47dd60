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
from atlas.sae.encoding import make_encoder
from atlas.sae.float_screens import _find_kernel, _not_less_by_torch

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
    _find_kernel.cache_clear()
    yield
    _find_kernel.cache_clear()


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
    found = kernels.not_less(product, least)
    assert torch.equal(found.long(), _not_less_by_torch(product, least))


@pytest.mark.parametrize("screen", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "jumprelu"])
def test_a_scan_by_the_kernel_gives_the_same_bytes(kernels, monkeypatch, screen, kind):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, kind, n_features=90, width=8)
    x = (rng.integers(-8, 9, (70, 8)) / 4).astype(np.float32)
    expected = make_encoder(sae, "cpu", screen).fire(x)
    asked = []
    monkeypatch.setattr(float_screens, "_on_card", lambda product: asked.append(1) or True)
    assert _find_kernel(torch.device("cpu")) is kernels.not_less
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
        _find_kernel.cache_clear()
        assert _find_kernel(torch.device("cpu")) is None


def test_without_triton_torch_does_the_work(monkeypatch):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "relu", n_features=90, width=8)
    x = (rng.integers(-8, 9, (70, 8)) / 4).astype(np.float32)
    expected = make_encoder(sae, "cpu", "float32").fire(x)
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "atlas.sae.kernels", raising=False)
    monkeypatch.setattr(float_screens, "_on_card", lambda product: True)
    found = make_encoder(sae, "cpu", "float32").fire(x)
    assert _find_kernel(torch.device("cpu")) is None
    assert found.activation.tobytes() == expected.activation.tobytes()
