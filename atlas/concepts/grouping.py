"""The seed's iterated grouping: one image's features clustered by decoder direction.

Spherical k-means on the unit decoder directions of the features that fire, weighted by their
activations, for every number of groups k; the grouping kept is that of the largest k whose
every group has a mass of at least tau. A larger k may pass where a smaller one fails, so all
are tried. Everything is computed from the cosines between the features, all restarts of one k
together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.base.loops import jit

MOST_ROUNDS = 100
"""Of one run; it has almost always settled within ten."""
LEAST_GAIN = 1e-12
"""Share of the mass that moving a direction must add to the objective."""
SAME_DIRECTION = 1e-12
"""Directions whose cosine is closer to 1 are one direction: they are never separated."""
SAME_OBJECTIVE = 1e-9
"""Runs whose objectives differ by less, as a share, are equally good."""


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


@dataclass(frozen=True, slots=True)
class Runs:
    """All restarts of k-means with one number of groups, and which of them is best."""

    labels: NDArray[np.int64]
    """(restart, feature) the group of each feature, 0 to k - 1."""
    objectives: NDArray[np.float64]
    """(restart,) sum of the activations times the cosines to the group's center."""
    least: NDArray[np.float64]
    """(restart,) mass of the lightest group; 0 where a group is empty."""
    best: int
    """The restart with the largest objective; of equally good ones the one whose lightest
    group is heaviest."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """One image's features in groups."""

    labels: NDArray[np.int64]
    """(feature,) group of each feature, the heaviest group 0; all 0 where k is 0."""
    k: int
    """Groups; 0 where the image's mass is below tau, so that nothing passes."""
    lowest: int
    """The fewest groups that one restart alone would have kept."""
    highest: int
    """The most."""
    agreement: float
    """Mean adjusted Rand index between the kept run and the other restarts with k groups;
    1 where there is nothing to disagree on."""


def sweep(
    directions: NDArray[np.floating],
    weights: NDArray[np.floating],
    most: int,
    *,
    restarts: int,
    seed: int,
) -> list[Runs]:
    """Return spherical k-means for k = 1, 2, ... up to most, or up to as many directions.

    The same input gives the same runs; all k begin from the same drawn features (k-means++).

    Args:
        directions: (feature, d) of any length above 0.
        weights: (feature,) activations, greater than 0.
        most: Largest k that is tried.
        restarts: Runs with each k.
        seed: Of the features that the runs begin from.
    """
    if most < 1 or not len(weights):
        return []
    rows = directions.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    # k-means on the sphere needs only cosines: a center is a weighted sum of the rows themselves.
    cosines = rows @ rows.T
    kinds, first, mass = _merge(cosines, weights.astype(np.float64))
    cosines = np.ascontiguousarray(cosines[np.ix_(first, first)])
    most = min(most, len(first))
    # By place and then by restart: a run of k groups begins the same whatever most is.
    draws = np.ascontiguousarray(np.random.default_rng(seed).random((most, restarts)).T)
    labels = np.empty((most, restarts, len(first)), np.int64)
    objectives, least = np.empty((most, restarts)), np.empty((most, restarts))
    _sweep(cosines, mass, draws, labels, objectives, least)
    # Runs that differ in the last bits are equally good; the one with the heaviest lightest group wins.
    equal = objectives >= objectives.max(axis=1, keepdims=True) * (1 - SAME_OBJECTIVE)
    best = np.where(equal, least, -1).argmax(axis=1)
    return [
        Runs(labels[row][:, kinds], objectives[row], least[row], int(best[row]))
        for row in range(most)
    ]


def keep(runs: list[Runs], weights: NDArray[np.floating], tau: float) -> Grouping:
    """Return the grouping with the most groups that all weigh at least tau.

    Each k is judged on its best run; a k that fails does not end the search.

    Args:
        runs: What sweep returned, with every k up to the image's mass over tau.
        weights: (feature,) the activations that were swept.
        tau: Least mass of a group, in activation.
    """
    passing = np.array([k for k, run in enumerate(runs, 1) if run.least[run.best] >= tau], int)
    if not len(passing):
        return Grouping(np.zeros(len(weights), np.int64), 0, 0, 0, 1.0)
    k = int(passing.max())
    alone = np.stack([run.least >= tau for run in runs])
    each = np.where(alone.any(axis=0), len(runs) - alone[::-1].argmax(axis=0), 0)
    kept = runs[k - 1]
    others = [row for restart, row in enumerate(kept.labels) if restart != kept.best]
    agreement = [adjusted_rand(kept.labels[kept.best], row) for row in others] or [1.0]
    return Grouping(
        _by_mass(kept.labels[kept.best], weights),
        k,
        int(each.min()),
        int(each.max()),
        float(np.mean(agreement)),
    )


def _by_mass(labels: NDArray[np.int64], weights: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the labels renamed: 0 the heaviest group, of equal ones that of the first feature."""
    mass = np.bincount(labels, weights=weights.astype(np.float64))
    first = np.unique(labels, return_index=True)[1]
    place = np.empty(len(mass), np.int64)
    place[np.lexsort((first, -mass))] = np.arange(len(mass))
    return place[labels]


def groups_of(
    features: NDArray[np.int64], activations: NDArray[np.float32], labels: NDArray[np.int64]
) -> list[Group]:
    """Return one image's groups by label, each with its features strongest first."""
    groups = []
    for label in range(int(labels.max(initial=-1)) + 1):
        mine = np.flatnonzero(labels == label)
        order = mine[np.lexsort((features[mine], -activations[mine]))]
        groups.append(Group(features[order], activations[order]))
    return groups


def adjusted_rand(
    one: NDArray[np.int64], other: NDArray[np.int64], weights: NDArray[np.floating] | None = None
) -> float:
    """Return the adjusted Rand index of two groupings of the same things: 1 equal, 0 as by chance.

    Args:
        one: (thing,) labels from 0.
        other: (thing,) labels from 0.
        weights: (thing,) with these, a pair of things counts by the product of their weights;
            without, every pair counts once.
    """
    cells = one * (int(other.max(initial=0)) + 1) + other

    def pairs(labels: NDArray[np.int64]) -> float:
        if weights is None:
            return float((np.bincount(labels) ** 2).sum() - len(labels))
        w = weights.astype(np.float64)
        return float((np.bincount(labels, w) ** 2 - np.bincount(labels, w**2)).sum())

    both, first, second, all_pairs = pairs(cells), pairs(one), pairs(other), pairs(one * 0)
    if all_pairs == 0:
        return 1.0
    # Hubert and Arabie 1985: (index - expected) / (maximum - expected), over pairs.
    chance, most = first * second / all_pairs, (first + second) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _merge(
    cosines: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return each feature's kind of direction, the first feature of each kind, and its mass."""
    # Features of one direction would make empty groups: they move as one, with their joint mass.
    same = (cosines >= 1 - SAME_DIRECTION).argmax(axis=1)
    np.minimum(same, np.arange(len(same)), out=same)
    first, kinds = np.unique(same, return_inverse=True)
    return kinds.astype(np.int64), first, np.bincount(kinds, weights=weights).astype(np.float64)


@jit
def _sweep(
    cosines: NDArray[np.float64],
    mass: NDArray[np.float64],
    draws: NDArray[np.float64],
    labels: NDArray[np.int64],
    objectives: NDArray[np.float64],
    least: NDArray[np.float64],
) -> None:
    """Fill labels (k, restart, direction), objectives and least (k, restart) of every run.

    draws (restart, k) are numbers from 0 to 1 that choose where the runs begin.
    """
    restarts, most = draws.shape
    starts = np.empty(most, np.int64)
    for restart in range(restarts):
        _draw_starts(cosines, mass, draws[restart], starts)
        for k in range(1, most + 1):
            found = labels[k - 1, restart]
            for i in range(len(mass)):
                nearest = 0
                for group in range(1, k):
                    if cosines[starts[group], i] > cosines[starts[nearest], i]:
                        nearest = group
                found[i] = nearest
            objectives[k - 1, restart], least[k - 1, restart] = _settle(cosines, mass, found, k)


@jit
def _draw_starts(
    cosines: NDArray[np.float64],
    mass: NDArray[np.float64],
    draws: NDArray[np.float64],
    starts: NDArray[np.int64],
) -> None:
    """Fill starts with directions, each drawn far from those before it (k-means++).

    The first k of them are the start of k groups.
    """
    far = np.ones(len(mass))
    for place in range(len(starts)):
        total = 0.0
        for i in range(len(mass)):
            total += far[i] * mass[i]
        seen = 0.0
        for i in range(len(mass)):
            if far[i] > 0:
                starts[place] = i
                seen += far[i] * mass[i]
                if seen > draws[place] * total:
                    break
        chosen = starts[place]
        for i in range(len(mass)):
            away = max(1 - cosines[chosen, i], SAME_DIRECTION)
            far[i] = away if place == 0 else min(far[i], away)
        for earlier in range(place + 1):
            far[starts[earlier]] = 0.0


@jit
def _settle(
    cosines: NDArray[np.float64],
    mass: NDArray[np.float64],
    labels: NDArray[np.int64],
    k: int,
) -> tuple[float, float]:
    """Move directions between groups until no move helps; return (objective, least mass).

    First all directions at once, each to its nearest center (k-means), then one by one where
    that makes the sum of the groups' lengths larger, which frees runs that are stuck. A group
    is never left empty: the last direction of one never gains by leaving.

    labels (direction,) are changed in place.
    """
    n = len(mass)
    dots = np.zeros((n, k))  # inner product of each direction and each group's sum
    sizes = np.zeros(k, np.int64)
    for i in range(n):
        sizes[labels[i]] += 1
        for j in range(n):
            dots[j, labels[i]] += mass[i] * cosines[i, j]
    squares, lengths = np.empty(k), np.empty(k)
    together = True
    for _ in range(MOST_ROUNDS):
        _measure(mass, labels, dots, squares, lengths)
        if together:
            together = _move_together(cosines, mass, labels, dots, lengths, sizes)
        elif not _move_one_by_one(cosines, mass, labels, dots, squares, lengths, sizes):
            break
    masses = np.zeros(k)
    for i in range(n):
        masses[labels[i]] += mass[i]
    return lengths.sum(), masses.min()


@jit
def _measure(
    mass: NDArray[np.float64],
    labels: NDArray[np.int64],
    dots: NDArray[np.float64],
    squares: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> None:
    """Fill squares and lengths (group,) of every group's sum."""
    squares[:] = 0.0
    for i in range(len(mass)):
        squares[labels[i]] += mass[i] * dots[i, labels[i]]
    for group in range(len(squares)):
        squares[group] = max(squares[group], 0.0)
        lengths[group] = np.sqrt(squares[group])


@jit
def _move_together(
    cosines: NDArray[np.float64],
    mass: NDArray[np.float64],
    labels: NDArray[np.int64],
    dots: NDArray[np.float64],
    lengths: NDArray[np.float64],
    sizes: NDArray[np.int64],
) -> bool:
    """Move every direction to its nearest center; return whether any moved."""
    n, k = dots.shape
    found = np.empty(n, np.int64)
    for i in range(n):
        nearest = labels[i]
        best = dots[i, nearest] / max(lengths[nearest], 1e-300) + LEAST_GAIN
        for group in range(k):
            similar = dots[i, group] / max(lengths[group], 1e-300)
            if similar > best:
                nearest, best = group, similar
        found[i] = nearest
    moved = False
    for i in range(n):
        if found[i] != labels[i] and sizes[labels[i]] > 1:
            _move(cosines, mass, labels, dots, sizes, i, found[i])
            moved = True
    return moved


@jit
def _move_one_by_one(
    cosines: NDArray[np.float64],
    mass: NDArray[np.float64],
    labels: NDArray[np.int64],
    dots: NDArray[np.float64],
    squares: NDArray[np.float64],
    lengths: NDArray[np.float64],
    sizes: NDArray[np.int64],
) -> bool:
    """Move each direction where it adds most to the sum of lengths; return whether any moved."""
    n, k = dots.shape
    enough = LEAST_GAIN * mass.sum()
    any_moved = False
    for i in range(n):
        own, weight = labels[i], mass[i]
        if sizes[own] == 1:
            continue
        left = max(squares[own] - 2 * weight * dots[i, own] + weight * weight, 0.0)
        loss = lengths[own] - np.sqrt(left)
        target, best = own, loss + enough
        for group in range(k):
            more = 2 * weight * dots[i, group] + weight * weight
            # The same as sqrt(squares + more) - lengths > best, without the root.
            if group != own and more > best * (2 * lengths[group] + best):
                target, best = group, np.sqrt(squares[group] + more) - lengths[group]
        if target != own:
            squares[target] += 2 * weight * dots[i, target] + weight * weight
            squares[own] = left
            lengths[target], lengths[own] = np.sqrt(squares[target]), np.sqrt(left)
            _move(cosines, mass, labels, dots, sizes, i, target)
            any_moved = True
    return any_moved


@jit
def _move(
    cosines: NDArray[np.float64],
    mass: NDArray[np.float64],
    labels: NDArray[np.int64],
    dots: NDArray[np.float64],
    sizes: NDArray[np.int64],
    i: int,
    target: int,
) -> None:
    own = labels[i]
    for j in range(len(mass)):
        change = mass[i] * cosines[i, j]
        dots[j, own] -= change
        dots[j, target] += change
    sizes[own] -= 1
    sizes[target] += 1
    labels[i] = target
