"""The train stage: trains an SAE by the published recipe, on the images of split "train".

What a step computes is in atlas.recipe, the order of the images in atlas.shuffle. One thread on a
CPU, and every random number drawn from the seed and the step: the same settings give the same
bytes, also after a kill.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import (
    digest_json,
    draft,
    read_parquet,
    remove_tree,
    write_json,
    write_parquet,
)
from atlas.base.float64 import squared_lengths
from atlas.inputs.embeddings import EmbeddingSet, read_embeddings, with_crops
from atlas.prepare.curves import Table, draw_line, write_curves
from atlas.run.stage import PARTS, Job
from atlas.sae.activations import write_tensors
from atlas.sae.encoding import Firings, make_encoder, reconstruct
from atlas.sae.formats.own import write_own
from atlas.sae.formats.saelens import write_saelens
from atlas.sae.model import SAE, Activation
from atlas.settings.sae import TrainSettings
from atlas.training.recipe import (
    CURVE,
    State,
    begin,
    check_recipe,
    resample,
    restore,
    state_tensors,
    take_step,
)
from atlas.training.shuffle import Shuffled

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN_SPLIT = "train"
SAELENS = "sae_lens"
"""Folder, in the stage's, that SAELens opens."""
HELD_OUT_EVERY = 10
"""Images from one held out to the next, where nobody says which to hold out."""
CHECKPOINT_STEPS = 500
SHOWN_STEPS = 24
"""Rows of the curve in the report's table, at most; curve.parquet has all."""
EVALUATED_IMAGES = 65_536
"""Held-out images that the figures are of, at most; of more, evenly spread ones."""
EVALUATED_AT_ONCE = 4096
RECIPES = {
    "relu": "vanilla ReLU; mean squared error + l1 * sum of activation * decoder norm",
    "topk": "TopK; mean squared error; decoder directions of length 1",
    "batchtopk": "BatchTopK; mean squared error; decoder directions of length 1",
}


def run(job: Job) -> None:
    """Train, resuming where a killed run left off, and write the SAE with its figures.

    Raises:
        InputError: There are no images of split "train", settings contradict each other or the
            device, or training diverged.
    """
    import torch

    settings: TrainSettings = job.settings
    check_recipe(settings, job.runtime.device)
    table = job.inputs["embed"] / "images.parquet"
    chosen, heldout = split_images(read_parquet(table, ["split"])["split"])
    if not chosen.any():
        raise InputError(
            f"{table} has no image of split 'train'; mark some, or name a trained SAE in [sae] path"
        )
    embeddings = read_embeddings(job.inputs["embed"])
    cropped, rows = with_crops(embeddings, chosen)
    images = Shuffled(
        cropped,
        rows,
        settings.buffer_images,
        seed=settings.seed,
        device=job.runtime.device,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads add in another order, and give another SAE
    try:
        state = _train(job, images)
    finally:
        torch.set_num_threads(threads)
    trained = _record(state, settings, images, embeddings)
    sae = write_own(job.out_dir, trained, settings.storage)
    write_saelens(job.out_dir / SAELENS, sae)
    write_parquet(job.out_dir / "curve.parquet", _curve_table(state))
    judged = _spread(np.flatnonzero(heldout), EVALUATED_IMAGES)
    terms = read_parquet(table, ["terms"])["terms"].take(judged).to_pylist()
    x = Shuffled(embeddings, _mask(len(heldout), judged), EVALUATED_IMAGES).read_all()
    figures = evaluate(sae, images, x, terms)
    write_json(job.out_dir / "figures.json", figures)
    _write_report(job.out_dir / "report.html", state, settings, figures["figures"])
    remove_tree(job.out_dir / PARTS)


def split_images(names: pa.ChunkedArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images to train on and which to judge by, both (image,).

    Where no image names a split, every tenth is held out; where some do, one without is neither.

    Args:
        names: Each image's split, empty or null if it has none.
    """
    import pyarrow.compute as pc

    known = pc.fill_null(names, "")
    named = pc.not_equal(known, "").to_numpy()
    if not named.any():
        held = np.arange(len(named)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
        return ~held, held
    train = pc.equal(known, TRAIN_SPLIT).to_numpy()
    return train, named & ~train


def _spread(images: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most so many of some images, evenly spread."""
    n = min(len(images), most)
    return images[np.arange(n) * len(images) // max(n, 1)]


def _mask(n_images: int, images: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (image,) whether an image is among some."""
    mask = np.zeros(n_images, bool)
    mask[images] = True
    return mask


def _train(job: Job, images: Shuffled) -> State:
    import torch

    settings: TrainSettings = job.settings
    key = {"settings": settings.model_dump(mode="json"), "embed": job.digests["embed"]}
    checkpoint = job.out_dir / PARTS / f"state-{digest_json(key)[:12]}.safetensors"
    state = begin(settings, _mean(images), torch.device(job.runtime.device))
    if checkpoint.exists():
        restore(state, checkpoint)
    job.progress.start("train", total=settings.steps, unit="steps")
    job.progress.advance(state.step)
    while state.step < settings.steps:
        take_step(state, settings, images.batch(state.step, settings.batch_images))
        if state.step in settings.resample_steps:
            resample(state, settings, images.buffer())
        job.progress.advance(1, state.summary())
        if state.step % CHECKPOINT_STEPS == 0:
            with draft(checkpoint) as unfinished:
                write_tensors(unfinished, state_tensors(state))
    return state


def _mean(images: Shuffled) -> NDArray[np.float64]:
    """Return (dimension,) the mean embedding."""
    total = np.zeros(images.embeddings.width)
    for block in images.blocks():
        total += block.sum(axis=0, dtype=np.float64)
    return total / images.n_images


def _record(
    state: State, settings: TrainSettings, images: Shuffled, embeddings: EmbeddingSet
) -> SAE:
    """Return the trained SAE with its provenance."""
    ground = {"ground": embeddings.ground} if embeddings.ground else {}
    arrays = {name: value.detach().cpu().numpy() for name, value in state.parameters.items()}
    threshold = np.full(settings.n_features, state.threshold, np.float32)
    activation = {
        "relu": Activation("relu"),
        "topk": Activation("topk", settings.k),
        "batchtopk": Activation("batchtopk", None, threshold),
    }[settings.activation]
    lengths = [np.sqrt(squared_lengths(block)) for block in images.blocks()]
    return SAE(
        W_enc=arrays["W_enc"],
        b_enc=arrays["b_enc"],
        W_dec=arrays.get("W_dec", arrays["W_enc"]),
        b_dec=arrays["b_dec"],
        b_pre=np.zeros_like(arrays["b_dec"]),
        activation=activation,
        tied=settings.tied,
        provenance={
            "name": "trained by the train stage",
            "recipe": RECIPES[settings.activation],
            "settings": settings.model_dump(mode="json"),
            "images": images.n_images,
            "encoder_id": embeddings.encoder.get("id"),
            "median_norm": float(np.median(np.concatenate(lengths))),
            **ground,
        },
    )


def _curve_table(state: State) -> pa.Table:
    import pyarrow as pa

    rows = np.array(state.curve, np.float64).reshape(-1, len(CURVE))
    columns: dict[str, Any] = {name: rows[:, i] for i, name in enumerate(CURVE)}
    return pa.table(columns | {"step": rows[:, 0].astype(np.int64)})


def _write_report(
    path: Path, state: State, settings: TrainSettings, figures: Sequence[dict[str, Any]]
) -> None:
    """Write the page of curves and held-out figures."""
    rows = np.array(state.curve, np.float64).reshape(-1, len(CURVE))
    titles = ("Loss", "L0, features an image", "Explained variance", "Dead share")
    plots = [
        draw_line(title, "step", rows[:, 0].tolist(), rows[:, i + 1].tolist())
        for i, title in enumerate(titles)
    ]
    shown = _spread(np.arange(len(rows))[::-1], SHOWN_STEPS)[::-1]
    curve = tuple((f"{row[0]:,.0f}", *(f"{value:.4g}" for value in row[1:])) for row in rows[shown])
    tables = [
        Table("The curves", ("step", *titles), curve, "Every row: curve.parquet."),
        Table(
            "On images that it was not trained on",
            ("figure", "value", "baseline", "n"),
            tuple(
                (
                    f"{row['name'].removeprefix('sae_heldout_')}, {row['unit']}",
                    f"{row['value']:.4g}",
                    f"{row['null_value']:.4g}, {row['null_name']}" if row["null_name"] else "",
                    f"{row['n']:,}",
                )
                for row in figures
            ),
        ),
        Table(
            "Settings",
            ("setting", "value"),
            tuple((f"train.{key}", f"{value}") for key, value in settings.model_dump().items()),
        ),
    ]
    lead = (
        f"Recipe: {RECIPES[settings.activation]}. {settings.n_features:,} features, {settings.steps:,} "
        f"steps of {settings.batch_images:,} images. Curves are of the training batches; dead is "
        "what fired on none of the images since the row before."
    )
    write_curves(path, "Training report", lead, plots, tables)


def evaluate(
    sae: SAE, train: Shuffled, heldout: NDArray[np.float32], terms: Sequence[list[str]]
) -> dict[str, Any]:
    """Return the figures of an SAE on images that it was not trained on.

    Args:
        sae: The SAE.
        train: Images that it was trained on, for the baseline.
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
    train: Shuffled, heldout: NDArray[np.float32], error: float, components: int
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
    firings: Firings, terms: Sequence[list[str]], n_features: int
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


def _distinct_terms(
    firings: Firings, terms: Sequence[list[str]], n_features: int
) -> NDArray[np.int64]:
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


def _pca_explained(train: Shuffled, heldout: NDArray[np.float32], components: int) -> float:
    """Return the held-out explained variance of the training images' principal components."""
    mean = _mean(train)
    spread = np.zeros((len(mean), len(mean)))
    for block in train.blocks():
        centered = block - mean
        spread += centered.T @ centered
    _, vectors = np.linalg.eigh(spread)
    basis = vectors[:, -components:]
    off = heldout - mean
    left = off - off @ basis @ basis.T
    total = ((heldout - heldout.mean(axis=0, dtype=np.float64)) ** 2).sum()
    # Rounded: the last digits of an eigenvector depend on threads.
    return round(float(1 - (left**2).sum() / total), 6)
