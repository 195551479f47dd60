"""The round trip: what a feature's icon activates when it is encoded again.

Never proof that the icon shows the feature: the same encoder conditions and judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_RANK = 10
FALSE_DISCOVERY_RATE = 0.05
MATCHED_ICONS = 999
"""Other icons that a feature's own is compared with: those nearest in how far they moved."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What re-encoded icons activate, as a table of few entries."""

    icon: NDArray[np.int64]
    """(entry,) place of the icon, ascending."""
    feature: NDArray[np.int64]
    """(entry,) place of the feature among the live ones."""
    activation: NDArray[np.float32]
    """(entry,) greater than 0."""


@dataclass(frozen=True, slots=True)
class Natural:
    """What each live feature does on the scanned images."""

    median: NDArray[np.float32]
    """(feature,) of its firings."""
    q99: NDArray[np.float32]
    """(feature,) the activation that a hundredth of its firings exceed."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """One row for each icon; icon i is of feature i."""

    activation: NDArray[np.float32]
    """(icon,) the feature's activation on its own icon."""
    rank: NDArray[np.int64]
    """(icon,) place of the feature in its icon by activation over q99, from 1; ties count against it."""
    p: NDArray[np.float64]
    """(icon,) share of matched other icons that activate the feature as strongly, itself counted."""
    passes: NDArray[np.bool_]
    """(icon,) p survives Benjamini-Hochberg over all icons."""
    verdict: NDArray[np.str_]
    """(icon,) shown, partly or not shown."""


def judge(
    fired: Fired,
    on_template: NDArray[np.float32],
    natural: Natural,
    moved: NDArray[np.float32],
) -> RoundTrips:
    """Return the round trip of every icon.

    Args:
        fired: What the icons activate; as many icons as features.
        on_template: (feature,) activation on the drawn template without a feature set.
        natural: The features on real images.
        moved: (icon,) length of what the feature added to the embedding.
    """
    n = len(moved)
    own = np.zeros(n, np.float32)
    mine = fired.icon == fired.feature
    own[fired.icon[mine]] = fired.activation[mine]
    rank = ranks(fired, own, natural.q99)
    p = chance(fired, own, moved)
    passes = benjamini_hochberg(p, FALSE_DISCOVERY_RATE)
    checks = np.stack([own > on_template, own >= natural.median, rank <= MOST_RANK, passes])
    verdict = np.where(
        checks.all(axis=0), "shown", np.where(own > on_template, "partly", "not shown")
    )
    verdict = np.where(own > 0, verdict, "not shown")
    return RoundTrips(own, rank, p, passes, verdict)


def partners(n: int) -> NDArray[np.int64]:
    """Return for each feature the icon of another one, by which the control judges it."""
    return (np.arange(n) + max(1, n // 2)) % max(n, 1)


def swap(fired: Fired, n: int) -> Fired:
    """Return what is fired if each feature is given its partner's icon: the control of judge."""
    owner = np.empty(n, np.int64)
    owner[partners(n)] = np.arange(n)
    icon = owner[fired.icon]
    order = np.argsort(icon, kind="stable")
    return Fired(icon[order], fired.feature[order], fired.activation[order])


def ranks(fired: Fired, own: NDArray[np.float32], q99: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return each feature's place in its own icon; one that stays silent comes after all others."""
    relative = fired.activation / q99[fired.feature]
    mine = own / q99
    ahead = (fired.feature != fired.icon) & (relative >= mine[fired.icon])
    found = 1 + np.bincount(fired.icon[ahead], minlength=len(own))
    return np.where(own > 0, found, len(own)).astype(np.int64)


def chance(
    fired: Fired, own: NDArray[np.float32], moved: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return how often another icon, matched in how far it moved, does as well for the feature."""
    n = len(own)
    order = np.argsort(moved, kind="stable")
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    matched = min(MATCHED_ICONS, n - 1)
    first = np.clip(place - matched // 2, 0, n - 1 - matched)
    near = place[fired.icon] - first[fired.feature]
    as_good = (
        (fired.icon != fired.feature)
        & (near >= 0)
        & (near <= matched)
        & (fired.activation >= own[fired.feature])
    )
    better = np.bincount(fired.feature[as_good], minlength=n)
    # A feature that stays silent in its own icon is matched by every other icon.
    return np.where(own > 0, (1 + better) / (1 + matched), 1.0)


def benjamini_hochberg(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Return which of the tests pass at a false discovery rate."""
    if not len(p):
        return np.zeros(0, np.bool_)
    order = np.sort(p)
    under = np.flatnonzero(order <= rate * np.arange(1, len(p) + 1) / len(p))
    limit = order[under[-1]] if len(under) else -1.0
    return p <= limit
