from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import exact_sae, oracle

from atlas.base.errors import ConfigError
from atlas.base.float64 import inner_products
from atlas.sae import encoding, float_screens, screening, screens
from atlas.sae.encoding import Encoder, fire, make_encoder, products_on_device
from atlas.sae.int8_screen import make_int8, make_rotation
from atlas.sae.model import SAE
from atlas.sae.screening import Needs, unlike

SCREENS = ("float32", "bf16", "int8")


def made(sae: SAE, screen: str, sample: np.ndarray) -> Encoder:
    """Return an encoder with that screen, for inputs of which only some look like the sample."""
    return make_encoder(sae, "cpu", screen, sample)


def dense(encoder: Encoder, x: np.ndarray) -> np.ndarray:
    firings = encoder.fire(x)
    found = np.zeros((len(x), encoder.sae.n_features), np.float32)
    found[firings.image, firings.feature] = firings.activation
    return found


@pytest.mark.parametrize("screen", SCREENS)
@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(("relu", "jumprelu", "batchtopk")),
    n=st.integers(1, 24),
    width=st.sampled_from((1, 3, 4, 20, 70)),
    spread=st.integers(0, 12),
    block=st.sampled_from((4, 7, 4096)),
)
def test_every_screen_equals_the_oracle_on_ties_zeros_and_thresholds(
    screen, seed, kind, n, width, spread, block
):
    rng = np.random.default_rng(seed)
    sae = exact_sae(rng, kind, n_features=11, width=width)
    # Quarters: sums are exact, so that many products lie exactly on what they need.
    x = (rng.integers(-8, 9, (n, width)) / 4 * 2.0 ** rng.integers(0, spread + 1, (n, 1))).astype(
        "f4"
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (screening, float_screens):
            patch.setattr(module, "FEATURES_PER_BLOCK", block)
        encoder = made(sae, screen, x[: max(1, n // 2)])
        assert np.array_equal(dense(encoder, x), oracle(sae, x))


def hard_sae(rng: np.random.Generator, outliers: int, near: float) -> tuple[SAE, np.ndarray]:
    """Return an SAE and images of which many lie within `near` of a feature's threshold."""
    n_features, width = 300, 80
    x = (rng.normal(size=(40, width)) + 2 * rng.normal(size=width)).astype(np.float32)
    matrix = rng.normal(size=(n_features, width)).astype(np.float32)
    loud = rng.choice(width, outliers, replace=False)
    x[:, loud] *= 30
    matrix[:, loud] /= 30
    products = x.astype(np.float64) @ matrix.T.astype(np.float64)
    chosen = products[rng.integers(0, len(x), n_features), np.arange(n_features)]
    bias = (-chosen * (1 + near * rng.normal(size=n_features))).astype(np.float32)
    zeros = np.zeros(width, np.float32)
    return SAE(matrix, bias, matrix.copy(), zeros, zeros), x


@pytest.mark.parametrize("screen", SCREENS)
@given(
    seed=st.integers(0, 2**32 - 1),
    outliers=st.integers(0, 3),
    near=st.sampled_from((0.0, 1e-7, 1e-4, 1e-2)),
    loud=st.sampled_from((0.0, 1e-3, 1.0, 1e4)),
)
def test_no_screen_misses_what_float64_finds_near_thresholds(screen, seed, outliers, near, loud):
    rng = np.random.default_rng(seed)
    sae, x = hard_sae(rng, outliers, near)
    sample = x[:7].copy()
    x[-3:] *= np.float32(loud)  # rows that the sample did not foresee, one kind of them all zero
    expected = dense(made(sae, "float32", sample), x)
    assert np.array_equal(dense(made(sae, screen, sample), x), expected)
    wide = x.astype(np.float64) @ sae.W_enc.T.astype(np.float64) + sae.b_enc
    clear = np.abs(wide) > 1e-9 * np.abs(x).max()
    assert np.array_equal((expected > 0)[clear], (wide > 0)[clear])


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_names_few_more_than_fire(screen):
    rng = np.random.default_rng(0)
    width, n_features = 512, 2048
    x = (rng.normal(size=(256, width)) + 3 * rng.normal(size=width)).astype(np.float32)
    x[:, :3] *= 30
    matrix = rng.normal(size=(n_features, width)).astype(np.float32)
    matrix[:, :3] /= 30
    zeros = np.zeros(width, np.float32)
    bias = (-np.quantile(x @ matrix.T, 0.999, axis=0)).astype(np.float32)
    sae = SAE(matrix, bias, matrix.copy(), zeros, zeros)
    named = sum(len(pairs.rows) for pairs in made(sae, screen, x).screen.search(x))
    fires = len(fire(sae, x).feature)
    assert fires <= named <= 1.1 * fires


def test_without_rotation_outlier_dimensions_would_swamp_the_bytes(monkeypatch):
    rng = np.random.default_rng(0)
    sae, x = hard_sae(rng, 3, 0.0)
    encoder = made(sae, "int8", x)
    turned = encoder.screen.bytes.rotation.turn(
        (x - encoder.screen.bytes.rotation.center) / encoder.screen.bytes.rotation.scale
    )
    assert np.abs(turned).max() < 8 * np.sqrt((turned**2).mean())
    assert np.abs(x).max() > 8 * np.sqrt((x**2).mean())


def test_a_rotation_keeps_products():
    rng = np.random.default_rng(1)
    x, matrix = rng.normal(size=(9, 100)).astype("f4"), rng.normal(size=(5, 100)).astype("f4")
    rotation = make_rotation(x, matrix)
    left = rotation.turn((x - rotation.center) / rotation.scale)
    right = rotation.turn(matrix * rotation.scale)
    assert np.allclose(left @ right.T, (x - rotation.center) @ matrix.T, atol=1e-4)
    assert len(rotation.hadamard) == 64


@given(
    data=st.lists(st.integers(0, 2), min_size=1, max_size=70),
    quiet=st.sampled_from((0, 1)),
)
def test_unlike_finds_every_other_byte(data, quiet):
    array = np.array(data, np.uint8)
    assert unlike(array, quiet).tolist() == np.flatnonzero(array != quiet).tolist()


@pytest.mark.parametrize("width", [1, 40, 64, 200])
def test_products_on_a_device_are_those_of_the_processor_to_the_bit(width, monkeypatch):
    monkeypatch.setattr(encoding, "PAIRS_ON_DEVICE", 7)
    rng = np.random.default_rng(2)
    x, matrix = rng.normal(size=(9, width)).astype("f4"), rng.normal(size=(5, width)).astype("f4")
    rows, features = rng.integers(0, 9, 50), rng.integers(0, 5, 50)
    given = [torch.from_numpy(one) for one in (x, rows, matrix, features)]
    expected = inner_products(x, rows, matrix, features)
    assert products_on_device(*given).numpy().tobytes() == expected.tobytes()
    given[1] = given[3] = given[1][:0]
    assert len(products_on_device(*given)) == 0


def test_int8_elsewhere_than_on_the_processor_is_refused():
    sae = exact_sae(np.random.default_rng(0), "relu")
    needs = Needs(sae.W_enc, -sae.b_enc.astype(float), np.ones(7))
    with pytest.raises(
        ConfigError, match=r"runtime\.screen int8 runs on the CPU only, not on cuda"
    ):
        screens.make_screen(needs, "cuda", "int8", None)


def test_the_fastest_screen_is_chosen_and_changes_nothing():
    rng = np.random.default_rng(3)
    sae, x = hard_sae(rng, 1, 1e-4)
    choice = screens.choose_screen(made(sae, "float32", x).exact.needs, "cpu", "auto", x)
    assert choice.kind in SCREENS
    assert choice.why.startswith("least CPU time on a sample; of its time took ")
    assert np.array_equal(dense(made(sae, "auto", x), x), dense(made(sae, "float32", x), x))


class Paid:
    """A screen that takes so much CPU time, and so much other time."""

    def __init__(self, cpu_s, idle_s=0.0):
        self.cpu_s, self.idle_s = cpu_s, idle_s

    def search(self, x):
        time.sleep(self.idle_s)
        end = time.process_time() + self.cpu_s
        while time.process_time() < end:
            pass
        yield None


def test_a_screen_is_chosen_by_cpu_time_whatever_else_the_machine_does(monkeypatch):
    sae, x = hard_sae(np.random.default_rng(3), 1, 1e-4)
    needs = made(sae, "float32", x).exact.needs
    monkeypatch.setattr(screens, "make_int8", lambda *_: Paid(0.002, idle_s=0.1))
    monkeypatch.setattr(screens, "make_float32", lambda *_, numpy: Paid(0.02))
    monkeypatch.setattr(screens, "make_bf16", lambda *_: Paid(0.03))
    assert screens.choose_screen(needs, "cpu", "auto", x).kind == "int8"


def test_a_screen_that_is_slow_to_fit_is_for_many_images(monkeypatch):
    sae, x = hard_sae(np.random.default_rng(3), 1, 1e-4)
    needs = made(sae, "float32", x).exact.needs
    really = make_int8

    def slowly(*given):
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return really(*given)

    times = {"Float32Screen": 1.0, "Bf16Screen": 2.0, "Int8Screen": 0.5}
    monkeypatch.setattr(screens, "make_int8", slowly)
    monkeypatch.setattr(screens, "_time_search", lambda screen, _: times[type(screen).__name__])
    monkeypatch.setattr(screens, "WORTH_TRYING", 0)
    few, many = len(x[:256]) // 10, len(x[:256]) * 10
    assert screens.choose_screen(needs, "cpu", "auto", x, few).kind == "float32"
    assert screens.choose_screen(needs, "cpu", "auto", x, many).kind == "int8"


def test_a_short_scan_and_a_named_screen_are_not_tried(monkeypatch):
    sae, x = hard_sae(np.random.default_rng(3), 1, 1e-4)
    needs = made(sae, "float32", x).exact.needs
    monkeypatch.setattr(screens, "_try_screens", lambda *_: pytest.fail("tried"))
    short = screens.choose_screen(needs, "cpu", "auto", x, len(x))
    assert (short.kind, short.why) == (
        "float32",
        "the scan is too short to try which is fastest",
    )
    assert screens.choose_screen(needs, "cpu", "int8", x).why == "as runtime.screen says"
    assert screens.choose_screen(needs, "cuda:1", "auto", x).kind == "bf16"


@pytest.mark.parametrize("screen", SCREENS)
def test_numbers_near_the_end_of_float32_are_still_found(screen):
    sae, x = hard_sae(np.random.default_rng(4), 0, 0.0)
    big = replace(sae, W_enc=sae.W_enc * np.float32(1e18), b_enc=sae.b_enc * np.float32(1e18))
    loud = x * np.float32(1e15)
    assert np.array_equal(dense(made(big, screen, x), loud), dense(made(big, "float32", x), loud))
