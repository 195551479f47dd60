"""One training step of an SAE: the loss, the optimizer, and resampling of dead features.

relu, the published recipe: mean over batch and dimensions of (x - x')^2, plus l1 times the sum
over batch and features of activation times decoder norm. Relative to an image's squared error
the weight is l1 * dimensions * batch, so the batch is part of the recipe. Encoder relu(W x + b)
without a pre-bias; the decoder starts as the transposed encoder with norms from 0.05 to 1.

topk, batchtopk: the squared error alone, and the k largest activations of an image, or of a batch
k an image on average. Decoder directions have length 1, else "largest" would mean nothing. What a
batch top-k leaves behind is a threshold, the running mean of the weakest activations kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.sae.activations import map_tensors
from atlas.settings.sae import TrainSettings

if TYPE_CHECKING:
    import torch

DECODER_NORMS = (0.05, 1.0)
"""Lengths that directions start with, drawn evenly, for relu."""
CURVE_STEPS = 50
CURVE = ("step", "loss", "l0", "explained_variance", "dead_frac")
RESAMPLED_AT_ONCE = 4096
RESAMPLED_ENCODER = 0.2
"""Length of a resampled encoder row over the mean of the living ones, for relu."""
THRESHOLD_MEMORY = 0.99
"""Weight of what came before in the running mean of a batch top-k's threshold."""
NATIVE_BFLOAT16 = (8, 0)
"""Compute capability from which on a card multiplies bfloat16 itself."""


@dataclass
class State:
    """Everything that a step reads and changes."""

    parameters: dict[str, torch.Tensor]
    """W_enc (feature, dimension), b_enc, W_dec (feature, dimension) unless tied, b_dec."""
    optimizer: torch.optim.Adam
    fired: torch.Tensor
    """(feature,) images since the last row of the curve on which it fired."""
    silent: torch.Tensor
    """(feature,) images since it fired last."""
    curve: list[list[float]]
    """Rows of CURVE."""
    threshold: float = 0.0
    """What a batch top-k's activations must exceed; 0 before the first step."""
    step: int = 0

    def summary(self) -> str:
        """Return the last row of the curve in words; nothing before the first."""
        if not self.curve:
            return ""
        _, _, l0, explained, dead = self.curve[-1]
        return f"L0 {l0:.1f}, explained {explained:.1%}, dead {dead:.1%}"


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one batch came to."""

    fires: torch.Tensor
    """(feature,) images of the batch on which it fires."""
    off: torch.Tensor
    """(image, dimension) reconstruction minus embedding."""
    squared: torch.Tensor
    """Mean of the squares of off."""
    loss: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Activations above 0 of a batch, image by image."""

    features: torch.Tensor
    """(firing,)."""
    starts: torch.Tensor
    """(image,) where each image's begin."""
    values: torch.Tensor
    """(firing,)."""
    weakest: float
    """Of a batch top-k, the weakest kept; 0 where fewer than k an image are above 0."""


def check_recipe(settings: TrainSettings, device: str) -> None:
    """Refuse settings that contradict each other or the device.

    Raises:
        InputError: They do.
    """
    if settings.activation != "relu" and settings.k > settings.n_features:
        raise InputError(
            f"train.k is {settings.k}, more than train.n_features, {settings.n_features}; lower it"
        )
    if settings.precision == "bfloat16" and not has_bfloat16(device):
        raise InputError(
            f"train.precision is bfloat16, and {device} doesn't multiply that itself; "
            "set it to float32, or runtime.device to a card of 2020 or newer"
        )


def has_bfloat16(device: str) -> bool:
    """Return whether a torch device is a card that multiplies bfloat16 natively."""
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return False
    return torch.cuda.get_device_capability(device) >= NATIVE_BFLOAT16


def begin(settings: TrainSettings, mean: NDArray[np.float64], device: torch.device) -> State:
    """Return the state before the first step.

    Args:
        settings: The recipe.
        mean: (dimension,) of the training images.
        device: Where to train.
    """
    import torch

    # CPU generator: CUDA's stream differs between cards.
    generator = torch.Generator().manual_seed(settings.seed)
    directions = torch.randn((settings.n_features, len(mean)), generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    center = torch.from_numpy(mean.astype(np.float32))
    bias = torch.zeros(settings.n_features)
    if settings.activation == "relu":
        low, high = DECODER_NORMS
        directions *= low + (high - low) * torch.rand((len(directions), 1), generator=generator)
    else:
        bias -= directions @ center  # else the mean would choose the same k for every image
    first = {"W_enc": directions, "b_enc": bias, "b_dec": center}
    if not settings.tied:
        first["W_dec"] = directions.clone()
    parameters = {name: value.to(device).requires_grad_() for name, value in first.items()}
    return State(
        parameters=parameters,
        optimizer=torch.optim.Adam(parameters.values(), lr=settings.learning_rate),
        fired=torch.zeros(settings.n_features, device=device),
        silent=torch.zeros(settings.n_features, dtype=torch.int64, device=device),
        curve=[],
    )


def _decoder(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the decoder (feature, dimension): the encoder itself where they are tied."""
    return parameters.get("W_dec", parameters["W_enc"])


def take_step(state: State, settings: TrainSettings, x: torch.Tensor) -> None:
    """Change the state by one batch x (image, dimension).

    Raises:
        InputError: The loss is no longer finite.
    """
    import torch

    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate * _schedule(state.step, settings)
    state.optimizer.zero_grad()
    done = (_relu_pass if settings.activation == "relu" else _sparse_pass)(state, settings, x)
    if settings.aux_k:
        _revive(state, settings, x, done.off)
    state.optimizer.step()
    state.step += 1
    with torch.no_grad():
        if settings.activation != "relu":
            decoder = _decoder(state.parameters)
            decoder /= decoder.norm(dim=1, keepdim=True)
        _watch(state, x, done)


def _ramp(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / steps) if steps else 1.0


def _schedule(step: int, settings: TrainSettings) -> float:
    """Return what the learning rate is multiplied by at a step."""
    falling = _ramp(settings.steps - 1 - step, settings.decay_steps)
    return _ramp(step, settings.warmup_steps) * falling


def _products_in(settings: TrainSettings, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which matrices are multiplied."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bfloat16")


def _relu_pass(state: State, settings: TrainSettings, x: torch.Tensor) -> _Pass:
    """Leave the gradients of the published loss."""
    import torch

    weights = state.parameters
    decoder = _decoder(weights)
    sparsity = settings.l1 * _ramp(state.step, settings.l1_warmup_steps)
    with _products_in(settings, x.device):
        codes = torch.relu(torch.addmm(weights["b_enc"], x, weights["W_enc"].T))
        off = torch.addmm(weights["b_dec"], codes, decoder) - x
    squared = (off * off).mean()
    loss = squared + sparsity * (codes.float().sum(dim=0) * decoder.norm(dim=1)).sum()
    torch.autograd.backward(loss)
    return _Pass((codes.detach() > 0).sum(dim=0), off.detach(), squared.detach(), loss.detach())


def _sparse_pass(state: State, settings: TrainSettings, x: torch.Tensor) -> _Pass:
    """Leave the gradients of the squared error, at the cost of what fires alone.

    Only the product that finds the largest is dense. With g the loss's gradient by activations,
    that of the encoder is the sum over firings of g times the image, which is also the gradient
    of the inner product of images and the encoder's rows added up by g.
    """
    import torch
    from torch.nn.functional import embedding_bag

    weights = state.parameters
    found = _choose(_pre_activations(state, settings, x), settings)
    if settings.activation == "batchtopk":
        kept = THRESHOLD_MEMORY if state.step else 0.0
        state.threshold = kept * state.threshold + (1 - kept) * found.weakest
    features, starts, values = found.features, found.starts, found.values.requires_grad_()
    bags = embedding_bag(features, _decoder(weights), starts, mode="sum", per_sample_weights=values)
    off = bags + weights["b_dec"] - x
    loss = (off * off).mean()
    torch.autograd.backward(loss)
    gradient = values.grad
    assert gradient is not None
    read = embedding_bag(
        features, weights["W_enc"], starts, mode="sum", per_sample_weights=gradient
    )
    torch.autograd.backward((read * x).sum())
    bias = weights["b_enc"]
    bias.grad = torch.zeros_like(bias).index_add_(0, features, gradient)
    fires = torch.bincount(features, minlength=len(bias))
    return _Pass(fires, off.detach(), loss.detach(), loss.detach())


def _pre_activations(state: State, settings: TrainSettings, x: torch.Tensor) -> torch.Tensor:
    """Return (image, feature) what the activation is chosen from, without a gradient."""
    import torch

    weights = state.parameters
    with torch.no_grad(), _products_in(settings, x.device):
        return torch.addmm(weights["b_enc"], x, weights["W_enc"].T).float()


def _choose(pre: torch.Tensor, settings: TrainSettings) -> _Chosen:
    """Return the k largest of each image, or k an image of the whole batch, that are above 0."""
    import torch

    if settings.activation == "topk":
        top = torch.topk(pre, settings.k, dim=1, sorted=False)
        kept = top.values > 0
        features, values, weakest = top.indices[kept], top.values[kept], 0.0
    else:
        n_silent = pre.numel() - settings.k * len(pre)
        least = pre.flatten().kthvalue(n_silent + 1).values
        kept = (pre >= least) & (pre > 0)
        features, values = kept.nonzero()[:, 1], pre[kept]
        weakest = max(0.0, float(least))
    counts = kept.sum(dim=1)
    return _Chosen(features, torch.cumsum(counts, 0) - counts, values, weakest)


def _revive(state: State, settings: TrainSettings, x: torch.Tensor, off: torch.Tensor) -> None:
    """Add the gradients of the auxiliary loss: dead features are to explain what is left.

    Of each image their aux_k largest pre-activations, negative ones too: of a ReLU nothing else
    would have a gradient.
    """
    import torch

    dead = torch.nonzero(state.silent >= settings.dead_after_images)[:, 0]
    if not len(dead):
        return
    weights, k = state.parameters, min(settings.aux_k, len(dead))
    with _products_in(settings, x.device):
        pre = torch.addmm(weights["b_enc"][dead], x, weights["W_enc"][dead].T)
        top = torch.topk(pre, k, dim=1, sorted=False)
        codes = torch.zeros_like(pre).scatter(1, top.indices, top.values)
        left = codes @ _decoder(weights)[dead] + off
    share = k / settings.aux_k
    torch.autograd.backward(settings.aux_weight * share * (left * left).mean())


def _watch(state: State, x: torch.Tensor, done: _Pass) -> None:
    """Count what fired, and add a row to the curve now and then."""
    state.fired += done.fires
    state.silent += len(x)
    state.silent.masked_fill_(done.fires > 0, 0)
    if state.step % CURVE_STEPS:
        return
    if not bool(done.loss.isfinite()):
        raise InputError(
            f"training diverged at step {state.step} (loss {float(done.loss)}); lower "
            "train.learning_rate"
        )
    variance = x.var(dim=0, correction=0).mean()
    row = (
        state.step,
        float(done.loss),
        float(done.fires.sum()) / len(x),
        float(1 - done.squared / variance),
        float((state.fired == 0).float().mean()),
    )
    state.curve.append([float(value) for value in row])
    state.fired.zero_()


def resample(state: State, settings: TrainSettings, images: torch.Tensor) -> None:
    """Give features that were silent since the last time directions of badly rebuilt images.

    Args:
        state: Right after a step of settings.resample_steps.
        settings: The recipe.
        images: (image, dimension) embeddings to choose from.
    """
    import torch

    before = max((step for step in settings.resample_steps if step < state.step), default=0)
    silent = state.silent >= (state.step - before) * settings.batch_images
    idle, living = torch.nonzero(silent)[:, 0], ~silent
    if not len(idle) or not bool(living.any()):
        return
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 - 1 - state.step)
    rows = torch.randperm(len(images), generator=generator)[: 4 * len(idle)].to(images.device)
    x = images[rows].float()
    with torch.no_grad():
        parts = torch.split(x, RESAMPLED_AT_ONCE)
        off = torch.cat([part - _rebuild(state, settings, part) for part in parts])
        lengths = off.norm(dim=1)
        worst = torch.argsort(lengths, descending=True, stable=True)[: len(idle)]
        idle = idle[: len(worst)]
        _redirect(state, settings, idle, living, off[worst] / lengths[worst, None])


def _rebuild(state: State, settings: TrainSettings, x: torch.Tensor) -> torch.Tensor:
    """Return the reconstructions (image, dimension) of x."""
    import torch
    from torch.nn.functional import embedding_bag

    weights, decoder = state.parameters, _decoder(state.parameters)
    pre = _pre_activations(state, settings, x)
    if settings.activation == "relu":
        return torch.addmm(weights["b_dec"], torch.relu(pre), decoder)
    found = _choose(pre, settings)
    return weights["b_dec"] + embedding_bag(
        found.features, decoder, found.starts, mode="sum", per_sample_weights=found.values
    )


def _redirect(
    state: State,
    settings: TrainSettings,
    idle: torch.Tensor,
    living: torch.Tensor,
    unit: torch.Tensor,
) -> None:
    """Point idle features in unit directions (feature, dimension), and forget their momentum."""
    weights = state.parameters
    gain = RESAMPLED_ENCODER if settings.activation == "relu" else 1.0
    encoder = unit * weights["W_enc"][living].norm(dim=1).mean() * gain
    lengths = _decoder(weights)[living].norm(dim=1).mean()
    weights["W_enc"][idle] = encoder
    weights["b_enc"][idle] = -(encoder @ weights["b_dec"])
    if "W_dec" in weights:
        weights["W_dec"][idle] = unit * lengths
    for name in ("W_enc", "b_enc", "W_dec"):
        for moment in state.optimizer.state[weights[name]] if name in weights else ():
            if moment != "step":
                state.optimizer.state[weights[name]][moment][idle] = 0


def state_tensors(state: State) -> dict[str, NDArray[Any]]:
    """Return all that restore needs."""
    found = {
        "step": np.array([state.step], np.int64),
        "threshold": np.array([state.threshold], np.float64),
        "curve": np.array(state.curve, np.float64).reshape(-1, len(CURVE)),
        "fired": state.fired.cpu().numpy(),
        "silent": state.silent.cpu().numpy(),
    }
    for name, parameter in state.parameters.items():
        found[name] = parameter.detach().cpu().numpy()
        for moment, value in state.optimizer.state[parameter].items():
            found[f"{name}.{moment}"] = np.atleast_1d(value.cpu().numpy())
    return found


def restore(state: State, checkpoint: Path) -> None:
    """Continue from a file of state_tensors."""
    import torch

    tensors = {name: np.array(array) for name, array in map_tensors(checkpoint).items()}
    state.step = int(tensors["step"][0])
    state.threshold = float(tensors["threshold"][0])
    state.curve = tensors["curve"].tolist()
    state.fired.copy_(torch.from_numpy(tensors["fired"]))
    state.silent.copy_(torch.from_numpy(tensors["silent"]))
    for name, parameter in state.parameters.items():
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensors[name]))
        moments = {
            "step": torch.tensor(float(tensors[f"{name}.step"][0])),
            "exp_avg": torch.from_numpy(tensors[f"{name}.exp_avg"]).to(parameter.device),
            "exp_avg_sq": torch.from_numpy(tensors[f"{name}.exp_avg_sq"]).to(parameter.device),
        }
        state.optimizer.state[parameter] = moments
