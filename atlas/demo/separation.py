"""How well concepts separate the constituents of the demo's compositions; needs the built atlas."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_json, read_parquet
from atlas.concepts.grouping import adjusted_rand, keep, sweep
from atlas.demo.evaluate import ATLAS_DIR
from atlas.demo.figures import replace_figures
from atlas.demo.places import DEMO, PICTURES, RECIPES
from atlas.inputs.compositions import read_recipes
from atlas.sae.activations import ImageActivations
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import SAE, unit_directions

N_JUDGED = 1000
"""Compositions, drawn at random."""
FIXED_K = 5
SEED = 11
COMMAND = "python -m atlas.demo separation"
ATTRIBUTED = (
    "compositions; over the features that fire on exactly one of the constituents shown alone"
)
AT_RANDOM = "the same groups, features put into them at random"


@dataclass(frozen=True, slots=True)
class Judged:
    """One composition: what its attributed features belong to, and how they are grouped."""

    truth: NDArray[np.int64]
    """(attributed feature,) which constituent."""
    weights: NDArray[np.float32]
    """(attributed feature,) activation."""
    labels: dict[str, NDArray[np.int64]]
    """By way of grouping: (attributed feature,) which group."""
    share: float
    """Of the composition's features that are attributed."""


def run() -> None:
    """Put the figures of grouping into figures.json."""
    replace_figures(COMMAND, [rounded(row) for row in figures(ATLAS_DIR)])


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return a figure with four digits, as the file keeps it."""
    digits = {key: row[key] for key in ("value", "null_value") if row[key] is not None}
    return {**row, **{key: round(value, 4) for key, value in digits.items()}}


def figures(atlas_dir: Path) -> list[dict[str, Any]]:
    """Return how often concepts separate constituents, and what changes with one attribute."""
    reader = ImageActivations(atlas_dir / "scan")
    sae = load_sae(DEMO / "sae")
    judged = _judge_all(sae, reader, read_json(atlas_dir / "concepts" / "concepts.json"))
    return [*_separation(judged), *variant_figures(sae, reader)]


def _judge_all(sae: SAE, reader: ImageActivations, facts: dict[str, Any]) -> list[Judged]:
    recipes = read_recipes(RECIPES)
    random = np.random.default_rng(SEED)
    several = [i for i, recipe in enumerate(recipes) if len(recipe.placed) > 1]
    found = []
    for image in random.permutation(several)[:N_JUDGED].tolist():
        constituents = [placed.picture for placed in recipes[image].placed]
        judged = _judge(sae, reader, image, constituents, facts, random)
        if judged is not None:
            found.append(judged)
    return found


def _judge(
    sae: SAE,
    reader: ImageActivations,
    image: int,
    constituents: list[int],
    facts: dict[str, Any],
    random: np.random.Generator,
) -> Judged | None:
    """Return one composition judged; None where fewer than two constituents have a feature."""
    features, activations = reader[image]
    # Image i below the number of pictures is picture i, alone.
    alone = np.stack([np.isin(features, reader[picture][0]) for picture in constituents])
    kept = np.flatnonzero(alone.sum(axis=0) == 1)
    truth = alone[:, kept].argmax(axis=0)
    if len(np.unique(truth)) < 2:
        return None
    most = max(int(activations.sum() / facts["tau_fine"]), FIXED_K)
    runs = sweep(
        sae.W_dec[features], activations, most, restarts=facts["restarts"], seed=facts["seed"]
    )

    def fixed(k: int) -> NDArray[np.int64]:
        run = runs[min(k, len(runs)) - 1]
        labels: NDArray[np.int64] = run.labels[run.best]
        return labels

    labels = {
        "coarse": keep(runs, activations, facts["tau_coarse"]).labels,
        "fine": keep(runs, activations, facts["tau_fine"]).labels,
        "fixed": fixed(FIXED_K),
        "true": fixed(len(constituents)),
    }
    labels |= {f"{name} at random": random.permutation(row) for name, row in labels.items()}
    picked = {name: row[kept] for name, row in labels.items()}
    only = sweep(
        sae.W_dec[features[kept]],
        activations[kept],
        len(constituents),
        restarts=facts["restarts"],
        seed=facts["seed"],
    )[-1]
    picked["ceiling"] = only.labels[only.best]
    picked["ceiling at random"] = random.permutation(picked["ceiling"])
    return Judged(truth, activations[kept], picked, len(kept) / len(features))


def best_match_f1(truth: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Return the mean over constituents of the largest F1 that one group reaches for it."""
    best = []
    for constituent in np.unique(truth):
        mine = truth == constituent
        f1 = [
            2 * (mine & (labels == group)).sum() / (mine.sum() + (labels == group).sum())
            for group in np.unique(labels)
        ]
        best.append(max(f1))
    return float(np.mean(best))


def _separation(judged: list[Judged]) -> list[dict[str, Any]]:
    def rand(name: str) -> float:
        return float(np.mean([adjusted_rand(j.truth, j.labels[name]) for j in judged]))

    def weighted(name: str) -> float:
        return float(np.mean([adjusted_rand(j.truth, j.labels[name], j.weights) for j in judged]))

    def f1(name: str) -> float:
        return float(np.mean([best_match_f1(j.truth, j.labels[name]) for j in judged]))

    n, index = len(judged), "adjusted Rand index"
    words = {
        "coarse": "coarse concepts",
        "fine": "fine concepts",
        "fixed": f"plain k-means, k = {FIXED_K}",
        "true": "plain k-means, k = number of constituents",
        "ceiling": "k-means of the attributed features alone, k = number of constituents: what their directions allow",
    }
    found = []
    for name, what in words.items():
        for measure, score, unit in (
            ("ari", rand, index),
            ("weighted_ari", weighted, index),
            ("f1", f1, "F1"),
        ):
            note = f"{what}; {ATTRIBUTED}"
            if measure == "weighted_ari":
                note += "; pairs weighted by the product of activations"
            found.append(
                _figure(
                    f"separation_{name}_{measure}",
                    score(name),
                    unit,
                    n,
                    (score(f"{name} at random"), AT_RANDOM),
                    note,
                )
            )
    share = float(np.mean([j.share for j in judged]))
    note = "features of a composition that fire on exactly one of its constituents shown alone; many of the others fire on none, so that nothing can be said of them"
    return [*found, _figure("separation_attributed", share, "share", n, (None, ""), note)]


ATTRIBUTES = {"gender": ("base", "skin_tone"), "skin_tone": ("base", "gender")}
"""What changes between two pictures -> what stays."""
PAIRS_JUDGED = 500
Change = tuple[str, tuple[str, str], NDArray[np.float32]]
"""The base of two pictures, (value before, after), (feature,) change of activation."""
Directions = NDArray[np.float32] | None


def variant_figures(sae: SAE, reader: ImageActivations) -> list[dict[str, Any]]:
    """Return whether the same features change wherever the same attribute changes.

    For a pair of pictures that differ in one attribute only, the change is the difference of
    their activations; two such pairs of other bases that change the same way are compared.
    """
    rows = read_parquet(PICTURES).drop_columns(["webp"]).to_pylist()
    units = unit_directions(sae)
    every = {
        attribute: _changes(rows, reader, sae.n_features, attribute, fixed)
        for attribute, fixed in ATTRIBUTES.items()
    }
    found = []
    for attribute, changes in every.items():
        (others,) = (held for name, held in every.items() if name != attribute)
        for name, what, turn in (
            ("features", "changes of activations", None),
            ("concepts", "sums of the changes' unit directions", units),
        ):
            found.append(
                _figure(
                    f"{attribute}_change_{name}_cosine",
                    _alignment(changes, changes, turn),
                    "cosine",
                    len(changes),
                    (_alignment(changes, others, turn), "pairs that differ in the other attribute"),
                    f"mean cosine between the {what} of two pairs of pictures of different bases, each alike but for {attribute.replace('_', ' ')}, that change the same way; over all such two of n pairs",
                )
            )
    return found


def _changes(
    rows: list[dict[str, Any]],
    reader: ImageActivations,
    n_features: int,
    attribute: str,
    fixed: tuple[str, ...],
) -> list[Change]:
    """Return (base, (value before, after), change of activations) of every pair."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row[attribute]:
            alike.setdefault(tuple(row[name] for name in fixed), []).append(row)

    def dense(picture: int) -> NDArray[np.float32]:
        found = np.zeros(n_features, np.float32)
        features, activations = reader[picture]
        found[features] = activations
        return found

    found = []
    for members in alike.values():
        for one, other in combinations(sorted(members, key=lambda row: row[attribute]), 2):
            if one[attribute] != other[attribute]:
                change = dense(other["picture"]) - dense(one["picture"])
                found.append((one["base"], (one[attribute], other[attribute]), change))
    lot = np.random.default_rng(SEED).permutation(len(found))[:PAIRS_JUDGED]
    return [found[i] for i in lot]


def _alignment(changes: list[Change], others: list[Change], turn: Directions) -> float:
    """Return the mean cosine between changes and others of other bases.

    Args:
        changes: Pairs that differ in one attribute.
        others: The same ones, of which those that change the same way count, or pairs that
            differ in another attribute, which all count.
        turn: (feature, d) unit directions that changes are summed along; none to compare the
            changes themselves.
    """

    def unit(held: list[Change]) -> NDArray[np.float32]:
        rows = np.stack([change for _, _, change in held])
        rows = rows if turn is None else rows @ turn
        found: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
        return found

    def column(held: list[Change], place: int) -> NDArray[np.str_]:
        return np.array([str(row[place]) for row in held])

    wanted = column(changes, 0)[:, None] != column(others, 0)
    if others is changes:
        wanted &= column(changes, 1)[:, None] == column(others, 1)
    return float((unit(changes) @ unit(others).T)[wanted].mean())


def _figure(
    name: str,
    value: float,
    unit: str,
    n: int,
    null: tuple[float | None, str],
    note: str,
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "n": n,
        "null_value": None if null[0] is None else round(null[0], 4),
        "null_name": null[1],
        "command": COMMAND,
        "note": note,
    }
