"""What one training step computes, beside the obvious way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import QUICK
from torch.nn.functional import mse_loss

from atlas.base.errors import InputError
from atlas.sae.activations import write_tensors
from atlas.settings.sae import TrainSettings
from atlas.training import recipe

SETTINGS = QUICK.model_copy(
    update={
        "n_features": 12,
        "k": 3,
        "warmup_steps": 0,
        "decay_steps": 0,
        "l1_warmup_steps": 0,
        "resample_steps": (),
    }
)
KINDS = ("relu", "topk", "batchtopk")


@pytest.fixture(autouse=True)
def _one_thread():
    """As the stage has it; two that wait for each other are slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def changed(**change) -> TrainSettings:
    return SETTINGS.model_copy(update=change)


def images(n: int = 64, width: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(1, 1, (n, width)).astype(np.float32))


def begin(settings: TrainSettings, x: torch.Tensor) -> recipe.State:
    return recipe.begin(settings, x.numpy().mean(axis=0, dtype=np.float64), torch.device("cpu"))


def train(state: recipe.State, settings: TrainSettings, x: torch.Tensor, steps: int) -> None:
    for _ in range(steps):
        recipe.take_step(state, settings, x)


def obvious_codes(z: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """Activations by sorting everything."""
    if settings.activation == "topk":
        kept = torch.zeros_like(z)
        for row, values in enumerate(z):
            best = sorted(range(len(values)), key=lambda j: -values[j].item())[: settings.k]
            kept[row, best] = 1
        return torch.relu(z) * kept
    if settings.activation == "batchtopk":
        least = z.detach().flatten().sort(descending=True).values[settings.k * len(z) - 1]
        return torch.relu(z) * (z >= least)
    return torch.relu(z)


@pytest.mark.parametrize("activation", KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_are_those_of_the_dense_loss(activation, tied):
    x, settings = images(), changed(activation=activation, tied=tied)
    state = begin(settings, x)
    train(state, settings, x, 3)
    dense = {name: p.detach().clone().requires_grad_() for name, p in state.parameters.items()}
    decoder = dense["W_enc"] if tied else dense["W_dec"]
    codes = obvious_codes(x @ dense["W_enc"].T + dense["b_enc"], settings)
    loss = mse_loss(codes @ decoder + dense["b_dec"], x)
    if activation == "relu":
        loss = loss + settings.l1 * (codes * decoder.norm(dim=1)).sum()
    loss.backward()
    state.optimizer.zero_grad()
    do = recipe._relu_pass if activation == "relu" else recipe._sparse_pass
    done = do(state, settings, x)
    assert float(done.loss) == pytest.approx(loss.item(), rel=1e-5)
    assert done.fires.tolist() == (codes > 0).sum(dim=0).tolist()
    for name, parameter in state.parameters.items():
        assert torch.allclose(parameter.grad, dense[name].grad, rtol=1e-4, atol=1e-7), name


def test_relu_starts_tied_with_lengths_of_the_published_recipe():
    state = begin(changed(n_features=500), images())
    weights = state.parameters
    norms = weights["W_dec"].detach().norm(dim=1)
    assert torch.equal(weights["W_enc"], weights["W_dec"])
    assert 0.05 <= float(norms.min()) < 0.1
    assert 0.9 < float(norms.max()) <= 1
    assert not weights["b_enc"].any()


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_the_mean_embedding_activates_nothing_at_first(activation):
    x, settings = images(), changed(activation=activation)
    state = begin(settings, x)
    assert recipe._pre_activations(state, settings, x.mean(dim=0, keepdim=True)).abs().max() < 1e-5


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_images_on_which_nothing_fires_are_no_trouble(activation):
    x, settings = images(), changed(activation=activation)
    state = begin(settings, x)
    with torch.no_grad():
        state.parameters["b_enc"].fill_(-100)
    train(state, settings, x, 2)
    assert state.threshold == 0
    assert state.silent.tolist() == [128] * 12
    assert all(bool(p.isfinite().all()) for p in state.parameters.values())


def test_the_threshold_follows_the_weakest_that_are_kept():
    x, settings = images(), changed(activation="batchtopk")
    state, expected = begin(settings, x), None
    for _ in range(20):
        z = recipe._pre_activations(state, settings, x).flatten()
        weakest = float(z.sort(descending=True).values[3 * 64 - 1])
        expected = weakest if expected is None else 0.99 * expected + 0.01 * weakest
        recipe.take_step(state, settings, x)
        assert state.threshold == pytest.approx(expected)


@pytest.mark.parametrize("activation", KINDS)
def test_a_checkpoint_holds_all_that_a_step_reads(tmp_path, activation):
    x = images(90)
    settings = changed(activation=activation, aux_k=2, dead_after_images=90)
    state = begin(settings, x)
    with torch.no_grad():
        state.parameters["b_enc"][:2] = -100
    train(state, settings, x, 60)
    assert int(state.silent.max()) > 0
    path = tmp_path / "state.safetensors"
    write_tensors(path, recipe.state_tensors(state))
    other = begin(settings, x)
    recipe.restore(other, path)
    for _ in range(2):
        before, after = recipe.state_tensors(state), recipe.state_tensors(other)
        assert list(before) == list(after)
        assert {"W_dec.exp_avg_sq", "silent", "fired", "threshold"} < set(before)
        for name, array in before.items():
            assert np.array_equal(array, after[name]), name
        train(state, settings, x, 1)
        train(other, settings, x, 1)


@pytest.mark.parametrize("activation", KINDS)
def test_the_auxiliary_loss_brings_dead_features_within_reach(activation):
    x, highest = images(200, 6), {}
    for aux_k in (0, 4):
        settings = changed(activation=activation, aux_k=aux_k, aux_weight=1.0)
        settings = settings.model_copy(update={"dead_after_images": 400, "learning_rate": 0.03})
        state = begin(settings, x)
        with torch.no_grad():
            state.parameters["b_enc"][:3] = -4
            state.parameters["W_enc"][:3] *= 0.01
        train(state, settings, x, 2)
        assert state.silent[:3].tolist() == [400] * 3
        train(state, settings, x, 200)
        highest[aux_k] = float(recipe._pre_activations(state, settings, x)[:, :3].max())
    assert highest[0] < -3
    assert highest[4] > -0.5


@pytest.mark.parametrize("activation", KINDS)
def test_resampling_revives_features(activation):
    x = images(200, 6)
    settings = changed(activation=activation, n_features=8, resample_steps=(3, 5), batch_images=200)
    state = begin(settings, x)
    with torch.no_grad():
        state.parameters["b_enc"][:3] = -100
    train(state, settings, x, 5)
    assert (state.silent >= 400).tolist() == [True] * 3 + [False] * 5
    before = state.parameters["W_enc"].detach().clone()
    recipe.resample(state, settings, x.half())
    after = state.parameters["W_enc"].detach()
    assert (after[:3] != before[:3]).any(dim=1).all()
    assert torch.equal(after[3:], before[3:])
    codes = torch.relu(x @ after.T + state.parameters["b_enc"].detach())
    assert ((codes > 0).sum(dim=0) > 0).all()
    moments = state.optimizer.state[state.parameters["W_dec"]]
    assert not moments["exp_avg"][:3].any()


def test_features_that_fired_since_the_last_resampling_are_left_alone():
    x, settings = images(200), changed(resample_steps=(3, 5), batch_images=200)
    state = begin(settings, x)
    train(state, settings, x, 5)
    state.silent[0], state.silent[1] = 399, 400
    before = state.parameters["W_enc"].detach().clone()
    recipe.resample(state, settings, x)
    moved = (state.parameters["W_enc"].detach() != before).any(dim=1)
    assert moved.tolist() == [False, True] + [False] * 10


@pytest.mark.parametrize("activation", KINDS)
def test_bfloat16_products_end_near_those_of_float32(activation):
    """On a processor, whose autocast is the same code as a card's."""
    x, losses = images(256, 16), []
    for precision in ("float32", "bfloat16"):
        settings = changed(activation=activation, precision=precision, aux_k=2)
        state = begin(settings, x)
        train(state, settings, x, 100)
        assert all(p.dtype == torch.float32 for p in state.parameters.values())
        losses.append(state.curve[-1][1])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_a_diverging_run_is_stopped():
    x, settings = images(), changed(learning_rate=1e20)
    with pytest.raises(
        InputError, match=r"training diverged at step 50 .*lower train\.learning_rate"
    ):
        train(begin(settings, x), settings, x, 60)


def test_progress_tells_the_last_row_of_the_curve():
    state = begin(SETTINGS, images())
    assert state.summary() == ""
    state.curve.append([50, 0.1, 12.34, 0.5, 0.25])
    assert state.summary() == "L0 12.3, explained 50.0%, dead 25.0%"
