"""Step pairs: two images that differ in one picture; do the features that should answer do so alone?

In a held-out composition one picture gives way to another, at the same place and of the same size,
which brings an attribute that nothing else in the image has. The attribute's feature is the one
that tells it best on training images (step attributes). It should rise, few features should answer,
and it should be the first of them. Chance is the feature of another pair's attribute, and images
that differ in everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.demo.attributes import attributes_of, best_cuts, read_splits
from atlas.demo.figures import replace_figures
from atlas.demo.places import ENCODER, IMAGES, PICTURES, RECIPES, SAE
from atlas.inputs.compositions import Recipe, compose, open_pictures
from atlas.inputs.encoder import embed_images, load_encoder
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import encode

COMMAND = "python -m atlas.demo pairs"
PAIRS = 500
SEED = 11


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that differ in one picture."""

    without: Recipe
    has: Recipe
    attribute: int
    """What the picture brings: its place among the names."""


def run() -> None:
    """Measure, and put the figures into figures.json."""
    names, train, _ = read_splits()
    f1, _ = best_cuts(train)
    sae, source, encoder = load_sae(SAE), open_pictures(PICTURES, RECIPES), load_encoder(ENCODER)
    pairs = draw_pairs(names, source.recipes)
    before, after = (
        encode(sae, embed_images(encoder, [compose(one, source.pictures, encoder.image_px) for one in side]))
        for side in ([pair.without for pair in pairs], [pair.has for pair in pairs])
    )  # fmt: skip
    features = f1.argmax(axis=1)[[pair.attribute for pair in pairs]]
    lengths = np.linalg.norm(sae.W_dec, axis=1)
    replace_figures(COMMAND, pair_figures(before * lengths, after * lengths, features))


def draw_pairs(names: list[str], recipes: tuple[Recipe, ...]) -> list[Pair]:
    """Return pairs made of held-out compositions and pictures."""
    place = {name: i for i, name in enumerate(names)}
    rows = read_parquet(PICTURES).drop_columns(["webp"]).to_pylist()
    held = [{place[name] for name in attributes_of(row) & place.keys()} for row in rows]
    split = read_parquet(IMAGES, ["split"])["split"].to_pylist()
    ours = [r for r, side in zip(recipes, split, strict=True) if side == "heldout" and len(r.placed) > 1]  # fmt: skip
    pictures = [i for i, row in enumerate(rows) if row["split"] == "heldout"]
    random = np.random.default_rng(SEED)
    found: list[Pair] = []
    while len(found) < PAIRS:
        recipe = ours[random.integers(len(ours))]
        slot, picture = random.integers(len(recipe.placed)), pictures[random.integers(len(pictures))]  # fmt: skip
        new = held[picture].difference(*(held[placed.picture] for placed in recipe.placed))
        if new:
            placed = list(recipe.placed)
            placed[slot] = replace(placed[slot], picture=picture)
            attribute = sorted(new)[random.integers(len(new))]
            found.append(Pair(recipe, replace(recipe, placed=tuple(placed)), attribute))
    return found


def pair_figures(
    before: NDArray[np.float32], after: NDArray[np.float32], features: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return what the features make of the pairs, each figure beside chance.

    Args:
        before: (pair, feature) activations, by their directions' length, without the attribute.
        after: The same with it.
        features: (pair,) the feature of what changes.
    """
    change, apart = after - before, np.roll(after, 1, axis=0) - before
    other = np.roll(features, 1)
    differ = other != features
    another = "the feature of another pair's attribute"
    return [
        _figure("pairs_feature_rises", rises(change, features), rises(change, other)[differ], another,
                "share", "the attribute's feature is stronger where the attribute is"),
        _figure("pairs_feature_first", is_first(change, features), is_first(change, other)[differ], another,
                "share", "and rises more than any other feature"),
        _figure("pairs_features_answering", answering(change), answering(apart), "two images that differ in everything",
                "features", "as many as would change alike: the square of the sum of all changes over the sum of their squares"),
    ]  # fmt: skip


def rises(change: NDArray[np.float32], features: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (pair,) whether a feature rises."""
    found: NDArray[np.bool_] = change[np.arange(len(change)), features] > 0
    return found


def is_first(change: NDArray[np.float32], features: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (pair,) whether a feature rises, and more than all others."""
    found: NDArray[np.bool_] = rises(change, features) & (change.argmax(axis=1) == features)
    return found


def answering(change: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (pair,) how many features answer, by the participation ratio of their changes."""
    size = np.abs(change.astype(np.float64))
    found: NDArray[np.float64] = size.sum(axis=1) ** 2 / np.maximum((size**2).sum(axis=1), 1e-12)
    return found


def _figure(
    name: str, values: NDArray[Any], nulls: NDArray[Any], null_name: str, unit: str, note: str
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(float(values.mean()), 4),
        "unit": unit,
        "n": len(values),
        "null_value": round(float(nulls.mean()), 4),
        "null_name": null_name,
        "command": COMMAND,
        "note": f"{note}; held-out images that differ in one picture",
    }
