"""Step attributes: how the SAE's features stand to what is known of the pictures.

An attribute is a group, a subgroup, a gender, a skin tone or a tag that enough pictures have;
an image has it where one of its pictures does. Thresholds, choices and probes come from the
training images; every figure is of the held-out ones. The null moves each attribute to other
images at random and does all of it again.

Splitting: features are added, best first, while the union's F1 on training images rises by
0.03. Absorption: of the images that a linear probe rightly finds, those on which none of the
chosen features fires and one other feature carries half or more of what the probe reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.demo.figures import replace_figures
from atlas.demo.places import IMAGES, PICTURES, RECIPES, SAE, VECTORS
from atlas.inputs.compositions import read_recipes
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import encode
from atlas.study.monosemanticity import interval_of_mean

COMMAND = "python -m atlas.demo attributes"
FEWEST_IMAGES = 60
"""Images of each split that an attribute must have."""
MOST_FEATURES = 10
RISE = 0.03
"""F1 that a further feature must add, as in the studies of splitting."""
CARRIED = 0.5
RIDGE = 100.0
SEED = 0
THRESHOLDS = (0.0, 0.5, 0.75, 0.9)
"""Quantiles of a feature's own firings from which it may count."""


@dataclass(frozen=True, slots=True)
class Split:
    """The images of one side."""

    codes: NDArray[np.float32]
    """(image, feature) activations."""
    vectors: NDArray[np.float32]
    """(image, d) embeddings without the training images' mean."""
    has: NDArray[np.bool_]
    """(image, attribute)."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of every attribute; NaN where it can't be told."""

    f1: NDArray[np.float64]
    """(attribute,) of the best single feature, held out."""
    features: NDArray[np.float64]
    """(attribute,) features before the union stops rising."""
    absorbed: NDArray[np.float64]
    """(attribute,) share of the probe's right finds."""


def run() -> None:
    """Measure, and put the figures into figures.json."""
    names, train, heldout = read_splits()
    directions = load_sae(SAE).W_dec
    random = np.random.default_rng(SEED)
    moved = [
        Split(side.codes, side.vectors, side.has[random.permutation(len(side.has))])
        for side in (train, heldout)
    ]
    found = judge(train, heldout, directions)
    null = judge(moved[0], moved[1], directions)
    replace_figures(COMMAND, attribute_figures(names, found, null))


def read_splits() -> tuple[list[str], Split, Split]:
    """Return the attributes' names, and both sides' images."""
    sides = np.array(read_parquet(IMAGES, ["split"])["split"].to_pylist())
    pictures = read_parquet(PICTURES).drop_columns(["webp"]).to_pylist()
    held = [attributes_of(picture) for picture in pictures]
    names = sorted({name for one in held for name in one})
    place = {name: i for i, name in enumerate(names)}
    recipes = read_recipes(RECIPES)
    has = np.zeros((len(recipes), len(names)), bool)
    for image, recipe in enumerate(recipes):
        for placed in recipe.placed:
            has[image, [place[name] for name in held[placed.picture]]] = True
    train, heldout = (sides == side for side in ("train", "heldout"))
    enough = (has[train].sum(0) >= FEWEST_IMAGES) & (has[heldout].sum(0) >= FEWEST_IMAGES)
    vectors = np.concatenate([np.load(path) for path in sorted(VECTORS.glob("*.npy"))])
    vectors = vectors.astype(np.float32)
    codes = encode(load_sae(SAE), vectors)
    vectors -= vectors[train].mean(axis=0, dtype=np.float64).astype(np.float32)
    kept = [name for name, one in zip(names, enough, strict=True) if one]
    one, two = (Split(codes[s], vectors[s], has[s][:, enough]) for s in (train, heldout))
    return kept, one, two


def attributes_of(picture: Mapping[str, Any]) -> set[str]:
    """Return what is known of a picture, each with its kind."""
    kinds = ("group", "subgroup", "gender", "skin_tone")
    found = {f"{kind}: {picture[kind]}" for kind in kinds if picture[kind]}
    return found | {f"tag: {tag}" for tag in picture["tags"]}


def judge(train: Split, heldout: Split, directions: NDArray[np.float32]) -> Result:
    """Return the three figures of every attribute.

    Args:
        train: Images by which features, thresholds and probes are chosen.
        heldout: Images that are judged.
        directions: (feature, d) decoder rows.
    """
    f1, cut = best_cuts(train)
    probes, bars = fit_probes(train)
    single, counts, absorbed = [], [], []
    for attribute in range(train.has.shape[1]):
        chosen = choose(train, attribute, f1[attribute], cut[attribute])
        fires = heldout.codes[:, chosen] > cut[attribute, chosen]
        truth = heldout.has[:, attribute]
        single.append(f1_of(fires[:, 0], truth))
        counts.append(len(chosen))
        found = (heldout.vectors @ probes[attribute] > bars[attribute]) & truth
        silent = found & ~(heldout.codes[:, chosen] > 0).any(axis=1)
        carried = np.maximum(heldout.codes[silent] * (directions @ probes[attribute]), 0)
        read = heldout.vectors[silent] @ probes[attribute]
        carrying = carried.max(axis=1, initial=0) >= CARRIED * np.maximum(read, 1e-12)
        absorbed.append(carrying.sum() / found.sum() if found.any() else np.nan)
    return Result(np.array(single), np.array(counts, float), np.array(absorbed))


def f1_of(fires: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the harmonic mean of precision and recall; 0 where nothing is right."""
    total = int(fires.sum()) + int(truth.sum())
    return 2 * int((fires & truth).sum()) / total if total else 0.0


def best_cuts(train: Split) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return (attribute, feature) the best F1 on training images, and the activation to exceed."""
    shape = train.has.shape[1], train.codes.shape[1]
    best, cut = np.full(shape, -1.0), np.zeros(shape, np.float32)
    truth = train.has.astype(np.float32)
    fires = train.codes > 0
    for quantile in THRESHOLDS:
        bars = np.array(
            [
                np.quantile(column[mask], quantile) if quantile and mask.any() else 0.0
                for column, mask in zip(train.codes.T, fires.T, strict=True)
            ],
            np.float32,
        )
        over = (train.codes > bars).astype(np.float32)
        f1 = 2 * (truth.T @ over) / np.maximum(truth.sum(0)[:, None] + over.sum(0), 1)
        better = f1 > best
        best = np.where(better, f1, best)
        cut = np.where(better, bars, cut)
    return best, cut


def choose(
    train: Split, attribute: int, f1: NDArray[np.float64], cut: NDArray[np.float32]
) -> list[int]:
    """Return the features whose union tells an attribute, best first."""
    truth = train.has[:, attribute]
    candidates = np.argsort(-f1, kind="stable")[: 4 * MOST_FEATURES].tolist()
    chosen = [candidates[0]]
    union = train.codes[:, chosen[0]] > cut[chosen[0]]
    while len(chosen) < MOST_FEATURES:
        trials = [union | (train.codes[:, f] > cut[f]) for f in candidates]
        scores = [f1_of(trial, truth) for trial in trials]
        best = int(np.argmax(scores))
        if scores[best] < f1_of(union, truth) + RISE:
            break
        chosen.append(candidates[best])
        union = trials[best]
    return chosen


def fit_probes(train: Split) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return ridge regressions (attribute, d), and the reading from which as many images count as have it."""
    x = train.vectors.astype(np.float64)
    truth = train.has - train.has.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ truth)
    readings = x @ weights
    counts = train.has.sum(axis=0)
    bars = np.array(
        [np.sort(column)[-count] for column, count in zip(readings.T, counts, strict=True)]
    )
    return weights.T.astype(np.float32), bars


def attribute_figures(names: list[str], found: Result, null: Result) -> list[dict[str, Any]]:
    """Return the means over attributes, each beside its null and with its interval."""
    shuffled = "attributes moved to other images at random"
    rows = [
        ("attributes_best_feature_f1", found.f1, null.f1, "share",
         "best single feature, chosen on training images, judged on held-out ones"),
        ("attributes_features_each", found.features, null.features, "features",
         f"added while the union's F1 on training images rises by {RISE:g}; {MOST_FEATURES} at most"),
        ("attributes_absorbed", found.absorbed, null.absorbed, "share",
         "of what a linear probe rightly finds: the chosen features silent, one other carries half"),
    ]  # fmt: skip
    figures = []
    for name, values, nulls, unit, note in rows:
        known = values[~np.isnan(values)]
        low, high = interval_of_mean(known, SEED)
        figures.append(
            {
                "name": name,
                "value": round(float(known.mean()), 4),
                "unit": unit,
                "n": len(known),
                "null_value": round(float(np.nanmean(nulls)), 4),
                "null_name": shuffled,
                "command": COMMAND,
                "note": f"{note}; mean over {len(names)} attributes, 95 % interval {low:.3f} to {high:.3f}",
            }
        )
    return figures
