"""The train stage: an SAE by the recipe of the published one, on the images of split "train".

Loss: mean over batch and dimensions of (x - x')^2, plus l1 times the sum over batch and
features of activation times decoder norm. Relative to an image's squared error the weight is
l1 * dimensions * batch, so the batch is part of the recipe. Encoder relu(W x + b) without a
pre-bias; the decoder starts as the transposed encoder with norms from 0.05 to 1.

One thread on a CPU, and every random number drawn from the seed and the step: the same
settings give the same bytes, also after a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.activations import map_tensors, write_tensors
from atlas.checkpoints.own import write_own
from atlas.config import TrainSettings
from atlas.embeddings import read_embeddings, squared_lengths
from atlas.errors import InputError
from atlas.files import digest_json, draft, read_parquet, remove_tree, write_json, write_parquet
from atlas.sae import SAE, Firings, make_encoder, reconstruct
from atlas.stage import PARTS, Job

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

TRAIN_SPLIT = "train"
HELD_OUT_EVERY = 10
"""Images from one held out to the next, where nobody says which to hold out."""
DECODER_NORMS = (0.05, 1.0)
"""Lengths that directions start with, drawn evenly."""
CHECKPOINT_STEPS = 500
CURVE_STEPS = 50
EVALUATED_AT_ONCE = 4096
RESAMPLED_ENCODER = 0.2
"""Length of a resampled encoder row over the mean of the living ones."""
PARAMETERS = ("W_enc", "b_enc", "W_dec", "b_dec")


@dataclass
class _State:
    """Everything that a step reads and changes."""

    parameters: dict[str, torch.Tensor]
    """W_enc (feature, dimension), b_enc, W_dec (feature, dimension) unless tied, b_dec."""
    optimizer: torch.optim.Adam
    fired: torch.Tensor
    """(feature,) images since the last row of the curve on which it fired."""
    idle: torch.Tensor
    """(feature,) whether it has not fired since the last resampling."""
    curve: list[list[float]]
    """Rows of step, loss, l0, explained_variance, dead_frac."""
    step: int = 0


def run(job: Job) -> None:
    """Train, resuming where a killed run left off, and write the SAE with its figures.

    Raises:
        InputError: There are no images of split "train", or training diverged.
    """
    import torch

    settings: TrainSettings = job.settings
    images = read_parquet(job.inputs["embed"] / "images.parquet", ["split", "terms"])
    chosen, heldout = split_images([name or "" for name in images["split"].to_pylist()])
    embeddings = read_embeddings(job.inputs["embed"])
    everything = embeddings.read_all()
    if not chosen.any():
        raise InputError(
            f"{job.inputs['embed'] / 'images.parquet'} has no image of split 'train'; mark some, "
            "or name a trained SAE in [sae] path"
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads add in another order, and give another SAE
    try:
        state = _train(job, everything[chosen])
    finally:
        torch.set_num_threads(threads)
    trained = _record(state, settings, everything[chosen], embeddings.encoder.get("id"))
    sae = write_own(job.out_dir, trained, settings.storage)
    write_parquet(job.out_dir / "curve.parquet", _curve_table(state))
    terms = [images["terms"][int(image)].as_py() for image in np.flatnonzero(heldout)]
    figures = evaluate(sae, everything[chosen], everything[heldout], terms)
    write_json(job.out_dir / "figures.json", figures)
    remove_tree(job.out_dir / PARTS)


def split_images(names: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images to train on and which to judge by, both (image,).

    Where no image names a split, every tenth is held out; where some do, one without is neither.

    Args:
        names: Each image's split, empty if it has none.
    """
    split = np.array(names)
    if not (split != "").any():
        held = np.arange(len(split)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        return ~held, held
    return split == TRAIN_SPLIT, (split != TRAIN_SPLIT) & (split != "")


def _train(job: Job, x: NDArray[np.float32]) -> _State:
    import torch

    settings: TrainSettings = job.settings
    key = {"settings": settings.model_dump(mode="json"), "embed": job.digests["embed"]}
    checkpoint = job.out_dir / PARTS / f"state-{digest_json(key)[:12]}.safetensors"
    device = torch.device(job.runtime.device)
    state = _start(settings, x, device)
    if checkpoint.exists():
        _restore(state, checkpoint)
    data = torch.from_numpy(x).to(device)
    job.progress.start("train", total=settings.steps, unit="steps")
    job.progress.advance(state.step)
    while state.step < settings.steps:
        _step(state, settings, data)
        job.progress.advance(1)
        if state.step % CHECKPOINT_STEPS == 0:
            with draft(checkpoint) as unfinished:
                write_tensors(unfinished, _state_tensors(state))
    return state


def _start(settings: TrainSettings, x: NDArray[np.float32], device: torch.device) -> _State:
    """Return the state before the first step."""
    import torch

    # CPU generator: CUDA's stream differs between cards.
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (settings.n_features, x.shape[1])
    directions = torch.randn(shape, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    low, high = DECODER_NORMS
    directions *= low + (high - low) * torch.rand((shape[0], 1), generator=generator)
    mean = torch.from_numpy(x.mean(axis=0, dtype=np.float64).astype(np.float32))
    start = {"W_enc": directions, "b_enc": torch.zeros(shape[0]), "b_dec": mean}
    if not settings.tied:
        start["W_dec"] = directions.clone()
    parameters = {name: value.to(device).requires_grad_() for name, value in start.items()}
    return _State(
        parameters=parameters,
        optimizer=torch.optim.Adam(parameters.values(), lr=settings.learning_rate),
        fired=torch.zeros(shape[0], device=device),
        idle=torch.ones(shape[0], dtype=torch.bool, device=device),
        curve=[],
    )


def _decoder(parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the decoder (feature, dimension): the encoder itself where they are tied."""
    return parameters.get("W_dec", parameters["W_enc"])


def _step(state: _State, settings: TrainSettings, data: torch.Tensor) -> None:
    import torch

    x = data[batch_rows(len(data), settings, state.step).to(data.device)]
    sparsity = settings.l1 * _ramp(state.step, settings.l1_warmup_steps)
    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate * _schedule(state.step, settings)
    weights = state.parameters
    decoder = _decoder(weights)
    codes = torch.relu(torch.addmm(weights["b_enc"], x, weights["W_enc"].T))
    off = torch.addmm(weights["b_dec"], codes, decoder) - x
    squared = (off * off).mean()
    loss = squared + sparsity * (codes.sum(dim=0) * decoder.norm(dim=1)).sum()
    state.optimizer.zero_grad()
    loss.backward()
    state.optimizer.step()
    state.step += 1
    with torch.no_grad():
        _watch(state, x, codes, squared, loss)
        if state.step in settings.resample_steps:
            _resample(state, settings, data)


def _ramp(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / steps) if steps else 1.0


def _schedule(step: int, settings: TrainSettings) -> float:
    """Return what the learning rate is multiplied by at a step."""
    falling = _ramp(settings.steps - 1 - step, settings.decay_steps)
    return _ramp(step, settings.warmup_steps) * falling


def batch_rows(n_images: int, settings: TrainSettings, step: int) -> torch.Tensor:
    """Return (batch,) rows of one step: an endless run of shuffled passes, cut evenly.

    Each pass is shuffled by its own seed, so that no generator need be remembered.
    """
    import torch

    first = step * settings.batch_images
    last = first + settings.batch_images
    passes = []
    for number in range(first // n_images, (last - 1) // n_images + 1):
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number + 1)
        passes.append(torch.randperm(n_images, generator=generator))
    start = first - (first // n_images) * n_images
    return torch.cat(passes)[start : start + settings.batch_images]


def _watch(
    state: _State, x: torch.Tensor, codes: torch.Tensor, squared: torch.Tensor, loss: torch.Tensor
) -> None:
    """Count what fired, and add a row to the curve now and then."""
    fires = (codes > 0).sum(dim=0)
    state.fired += fires
    state.idle &= fires == 0
    if state.step % CURVE_STEPS:
        return
    if not bool(loss.isfinite()):
        raise InputError(
            f"training diverged at step {state.step} (loss {float(loss)}); lower "
            "train.learning_rate"
        )
    variance = x.var(dim=0, correction=0).mean()
    row = (
        state.step,
        float(loss),
        float(fires.sum()) / len(x),
        float(1 - squared / variance),
        float((state.fired == 0).float().mean()),
    )
    state.curve.append([float(value) for value in row])
    state.fired.zero_()


def _resample(state: _State, settings: TrainSettings, data: torch.Tensor) -> None:
    """Give idle features the directions in which some training images are badly rebuilt."""
    import torch

    weights = state.parameters
    idle = torch.nonzero(state.idle)[:, 0]
    living = ~state.idle
    state.idle.fill_(True)
    if not len(idle) or not bool(living.any()):
        return
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 - 1 - state.step)
    rows = torch.randperm(len(data), generator=generator)[: 4 * len(idle)].to(data.device)
    x = data[rows]
    decoder = _decoder(weights)
    codes = torch.relu(torch.addmm(weights["b_enc"], x, weights["W_enc"].T))
    off = x - torch.addmm(weights["b_dec"], codes, decoder)
    lengths = off.norm(dim=1)
    worst = torch.argsort(lengths, descending=True, stable=True)[: len(idle)]
    idle = idle[: len(worst)]
    unit = off[worst] / lengths[worst, None]
    encoder = unit * weights["W_enc"][living].norm(dim=1).mean() * RESAMPLED_ENCODER
    weights["W_enc"][idle] = encoder
    weights["b_enc"][idle] = -(encoder @ weights["b_dec"])
    if "W_dec" in weights:
        weights["W_dec"][idle] = unit * decoder[living].norm(dim=1).mean()
    for name in ("W_enc", "b_enc", "W_dec"):
        for moment in state.optimizer.state[weights[name]] if name in weights else ():
            if moment != "step":
                state.optimizer.state[weights[name]][moment][idle] = 0


def _state_tensors(state: _State) -> dict[str, NDArray[Any]]:
    """Return all that _restore needs."""
    found = {
        "step": np.array([state.step], np.int64),
        "curve": np.array(state.curve, np.float64).reshape(-1, 5),
        "fired": state.fired.cpu().numpy(),
        "idle": state.idle.cpu().numpy().astype(np.int32),
    }
    for name, parameter in state.parameters.items():
        found[name] = parameter.detach().cpu().numpy()
        for moment, value in state.optimizer.state[parameter].items():
            found[f"{name}.{moment}"] = np.atleast_1d(value.cpu().numpy())
    return found


def _restore(state: _State, checkpoint: Path) -> None:
    """Continue from a checkpoint."""
    import torch

    tensors = {name: np.array(array) for name, array in map_tensors(checkpoint).items()}
    state.step = int(tensors["step"][0])
    state.curve = tensors["curve"].tolist()
    state.fired.copy_(torch.from_numpy(tensors["fired"]))
    state.idle.copy_(torch.from_numpy(tensors["idle"] > 0))
    for name, parameter in state.parameters.items():
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensors[name]))
        moments = {
            "step": torch.tensor(float(tensors[f"{name}.step"][0])),
            "exp_avg": torch.from_numpy(tensors[f"{name}.exp_avg"]).to(parameter.device),
            "exp_avg_sq": torch.from_numpy(tensors[f"{name}.exp_avg_sq"]).to(parameter.device),
        }
        state.optimizer.state[parameter] = moments


def _record(
    state: _State, settings: TrainSettings, x: NDArray[np.float32], encoder_id: str | None
) -> SAE:
    """Return the trained SAE with its provenance."""
    arrays = {name: value.detach().cpu().numpy() for name, value in state.parameters.items()}
    return SAE(
        W_enc=arrays["W_enc"],
        b_enc=arrays["b_enc"],
        W_dec=arrays.get("W_dec", arrays["W_enc"]),
        b_dec=arrays["b_dec"],
        b_pre=np.zeros_like(arrays["b_dec"]),
        tied=settings.tied,
        provenance={
            "name": "trained by the train stage",
            "recipe": "vanilla ReLU; mean squared error + l1 * sum of activation * decoder norm",
            "settings": settings.model_dump(mode="json"),
            "images": len(x),
            "encoder_id": encoder_id,
            "median_norm": float(np.median(np.sqrt(squared_lengths(x)))),
        },
    )


def _curve_table(state: _State) -> pa.Table:
    import pyarrow as pa

    rows = np.array(state.curve, np.float64).reshape(-1, 5)
    names = ("loss", "l0", "explained_variance", "dead_frac")
    columns: dict[str, Any] = {"step": rows[:, 0].astype(np.int64)}
    return pa.table(columns | {name: rows[:, 1 + i] for i, name in enumerate(names)})


def evaluate(
    sae: SAE, train: NDArray[np.float32], heldout: NDArray[np.float32], terms: list[list[str]]
) -> dict[str, Any]:
    """Return the figures of an SAE on images that it was not trained on.

    Args:
        sae: The SAE.
        train: (image, dimension) embeddings that it was trained on, for the baseline.
        heldout: (image, dimension) embeddings of other images; may be empty.
        terms: What is in each held-out image.

    Returns:
        figures: rows of name, value, unit, n, null_value, null_name, command, note.
    """
    if not len(heldout):
        return {"figures": []}
    firings, error = _encode_all(sae, heldout)
    l0 = np.bincount(firings.image, minlength=len(heldout))
    figures = [
        *_error_figures(train, heldout, error, components=max(1, round(float(l0.mean())))),
        _figure("l0_mean", float(l0.mean()), "features an image", len(heldout)),
        _figure("l0_median", float(np.median(l0)), "features an image", len(heldout)),
        *_picture_figures(firings, terms, sae.n_features),
    ]
    return {"figures": figures}


def _figure(name: str, value: float, unit: str, n: int) -> dict[str, Any]:
    """Return a row of the report without a baseline."""
    return {
        "name": f"sae_heldout_{name}",
        "value": value,
        "unit": unit,
        "n": n,
        "null_value": None,
        "null_name": "",
        "command": "atlas build CONFIG train",
        "note": "images that the SAE was not trained on",
    }


def _error_figures(
    train: NDArray[np.float32], heldout: NDArray[np.float32], error: float, components: int
) -> list[dict[str, Any]]:
    """Return the explained variance beside that of principal components; none if all are equal."""
    variance = float(((heldout - heldout.mean(axis=0, dtype=np.float64)) ** 2).sum())
    if variance <= 0:
        return []
    row = _figure("explained_variance", 1 - error / variance, "share", len(heldout))
    return [
        row
        | {
            "null_value": _pca_explained(train, heldout, components),
            "null_name": f"{components} principal components of the training images",
        }
    ]


def _picture_figures(
    firings: Firings, terms: list[list[str]], n_features: int
) -> list[dict[str, Any]]:
    """Return how many features live, and on how many different pictures the median one fires."""
    live = np.bincount(firings.feature, minlength=n_features) > 0
    single = [one if len(one) == 1 else [] for one in terms]
    figures = [_figure("alive", int(live.sum()), "features", len(terms))]
    for name, kind, chosen in (
        ("pictures_a_feature", "different pictures", terms),
        ("single_pictures_a_feature", "different pictures shown alone", single),
    ):
        counts = _distinct_terms(firings, chosen, n_features)[live]
        median = float(np.median(counts)) if len(counts) else 0.0
        n = sum(bool(one) for one in chosen)
        figures.append(_figure(name, median, f"{kind}, median over live features", n))
    return figures


def _encode_all(sae: SAE, x: NDArray[np.float32]) -> tuple[Firings, float]:
    """Return (what fires, the sum of squared errors)."""
    encoder = make_encoder(sae)
    parts, error = [], 0.0
    for start in range(0, len(x), EVALUATED_AT_ONCE):
        block = x[start : start + EVALUATED_AT_ONCE]
        found = encoder.fire(block)
        error += float(squared_lengths(block - reconstruct(sae, found, len(block))).sum())
        parts.append((found.image + start, found.feature, found.activation))
    image, feature, activation = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Firings(image, feature, activation), error


def _distinct_terms(firings: Firings, terms: list[list[str]], n_features: int) -> NDArray[np.int64]:
    """Return (feature,) how many different terms are in the images on which it fires."""
    numbers = {name: i for i, name in enumerate(sorted({t for one in terms for t in one}))}
    lengths = np.array([len(one) for one in terms], np.int64)
    flat = np.array([numbers[t] for one in terms for t in one], np.int64)
    starts = np.cumsum(lengths) - lengths
    repeats = lengths[firings.image]
    entries = np.repeat(starts[firings.image] - np.cumsum(repeats) + repeats, repeats)
    term = flat[entries + np.arange(len(entries))] if len(flat) else flat
    pairs = np.unique(np.repeat(firings.feature, repeats) * max(len(numbers), 1) + term)
    return np.bincount(pairs // max(len(numbers), 1), minlength=n_features)


def _pca_explained(
    train: NDArray[np.float32], heldout: NDArray[np.float32], components: int
) -> float:
    """Return the held-out explained variance of the training images' principal components."""
    mean = train.mean(axis=0, dtype=np.float64)
    centered = train - mean
    _, vectors = np.linalg.eigh(centered.T @ centered)
    basis = vectors[:, -components:]
    off = heldout - mean
    left = off - off @ basis @ basis.T
    total = ((heldout - heldout.mean(axis=0, dtype=np.float64)) ** 2).sum()
    # Rounded: the last digits of an eigenvector depend on threads.
    return round(float(1 - (left**2).sum() / total), 6)
