"""Groups of one image's features by where their decoder directions point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.sae import SAE

RESTARTS = 8
MOST_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Group:
    """Features of one image that belong together, strongest first."""

    features: NDArray[np.int64]
    """(feature,) numbers."""
    activations: NDArray[np.float32]
    """(feature,) on the image."""

    @property
    def mass(self) -> float:
        """Sum of the activations."""
        return float(self.activations.sum(dtype=np.float64))


def group_features(
    sae: SAE,
    features: NDArray[np.int64],
    activations: NDArray[np.float32],
    n_groups: int,
    seed: int,
) -> list[Group]:
    """Return an image's features in groups, the heaviest first.

    Spherical k-means on the unit decoder directions, weighted by activation; the best of a few
    restarts.

    Args:
        sae: The SAE.
        features: (feature,) that fire on the image.
        activations: (feature,) greater than 0.
        n_groups: How many, if there are as many features.
        seed: Of the restarts.
    """
    rows = sae.W_dec[features].astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    k = min(n_groups, len(features))
    runs = [
        _cluster(rows, activations.astype(np.float64), k, np.random.default_rng([seed, restart]))
        for restart in range(RESTARTS)
    ]
    _, labels = max(runs, key=lambda run: run[0])
    groups = []
    for label in range(k):
        mine = np.flatnonzero(labels == label)
        order = mine[np.lexsort((features[mine], -activations[mine]))]
        if len(order):
            groups.append(Group(features[order], activations[order]))
    return sorted(groups, key=lambda group: (-group.mass, int(group.features[0])))


def _cluster(
    rows: NDArray[np.float64], weights: NDArray[np.float64], k: int, random: np.random.Generator
) -> tuple[float, NDArray[np.int64]]:
    """Return (weighted sum of cosines, label of each row)."""
    centers = rows[_seeds(rows, weights, k, random)]
    labels = np.full(len(rows), -1)
    for _ in range(MOST_ROUNDS):
        cosines = rows @ centers.T
        found = cosines.argmax(axis=1)
        if (found == labels).all():
            break
        labels = found
        sums = np.zeros_like(centers)
        np.add.at(sums, labels, weights[:, None] * rows)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centers = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centers)
    best = (rows @ centers.T)[np.arange(len(rows)), labels]
    return float(weights @ best), labels


def _seeds(
    rows: NDArray[np.float64], weights: NDArray[np.float64], k: int, random: np.random.Generator
) -> list[int]:
    """Return rows to begin from, each far from those before it (k-means++)."""
    chosen = [int(random.choice(len(rows), p=weights / weights.sum()))]
    while len(chosen) < k:
        nearest = (rows @ rows[chosen].T).max(axis=1)
        worth = weights * np.maximum(1 - nearest, 0) + 1e-12
        worth[chosen] = 0
        chosen.append(int(random.choice(len(rows), p=worth / worth.sum())))
    return chosen
