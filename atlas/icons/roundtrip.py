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
    """One row for each icon that is judged."""

    activation: NDArray[np.float32]
    """(icon,) the feature's activation on its icon."""
    rank: NDArray[np.int64]
    """(icon,) place of the feature in its icon by activation over q99, from 1; ties count against it."""
    p: NDArray[np.float64]
    """(icon,) share of matched other icons that activate the feature as strongly, itself counted."""
    passes: NDArray[np.bool_]
    """(icon,) p survives Benjamini-Hochberg over all icons judged together."""
    strong: NDArray[np.bool_]
    """(icon,) as strong as the feature's median firing, and among the MOST_RANK strongest."""
    verdict: NDArray[np.str_]
    """(icon,) shown, partly or not shown."""


def judge(
    fired: Fired,
    on_template: NDArray[np.float32],
    natural: Natural,
    moved: NDArray[np.float32],
    features: NDArray[np.int64] | None = None,
    pool: Fired | None = None,
) -> RoundTrips:
    """Return the round trip of every icon.

    Args:
        fired: What the icons activate.
        on_template: (feature,) activation on the drawn template without a feature set.
        natural: The features on real images.
        moved: (feature,) length of what each feature adds to the embedding of its icon.
        features: (icon,) whose icon each is, ascending; None where there is one for every feature.
        pool: What one icon of every feature activates, for the test against other icons; None
            if fired is that.
    """
    n = len(moved)
    whose = np.arange(n) if features is None else features
    own = np.zeros(len(whose), np.float32)
    mine = fired.feature == whose[fired.icon]
    own[fired.icon[mine]] = fired.activation[mine]
    rank = ranks(fired, own, natural.q99, whose)
    p = chance(fired if pool is None else pool, own, moved, whose)
    passes = benjamini_hochberg(p, FALSE_DISCOVERY_RATE)
    strong = (own >= natural.median[whose]) & (rank <= MOST_RANK)
    gains = own > on_template[whose]
    verdict = np.where(
        gains & strong & passes, "shown", np.where(gains & (own > 0), "partly", "not shown")
    )
    return RoundTrips(own, rank, p, passes, strong, verdict)


def worst(verdicts: NDArray[np.str_], others: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the lesser of two verdicts, one by one: shown only where both are."""
    order = np.array(["not shown", "partly", "shown"])
    place = {name: i for i, name in enumerate(order.tolist())}
    least = [
        min(place[a], place[b]) for a, b in zip(verdicts.tolist(), others.tolist(), strict=True)
    ]
    found: NDArray[np.str_] = order[np.array(least, np.int64)]
    return found


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


def ranks(
    fired: Fired,
    own: NDArray[np.float32],
    q99: NDArray[np.float32],
    whose: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return each feature's place in its icon; one that stays silent comes after all others."""
    relative = fired.activation / q99[fired.feature]
    mine = own / q99[whose]
    # >=: equal features count as stronger, so that ties never help the feature that is judged.
    ahead = (fired.feature != whose[fired.icon]) & (relative >= mine[fired.icon])
    found = 1 + np.bincount(fired.icon[ahead], minlength=len(own))
    return np.where(own > 0, found, len(q99)).astype(np.int64)


def chance(
    pool: Fired,
    own: NDArray[np.float32],
    moved: NDArray[np.float32],
    whose: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return how often another icon, matched in how far it moved, does as well for the feature.

    Args:
        pool: What one icon of every feature activates; icon i is of feature i.
        own: (icon,) the feature's activation on the icon that is judged.
        moved: (feature,) how far each icon of the pool moved the embedding.
        whose: (icon,) the feature, ascending.
    """
    n = len(moved)
    order = np.argsort(moved, kind="stable")
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    matched = min(MATCHED_ICONS, n - 1)
    first = np.clip(place - matched // 2, 0, n - 1 - matched)
    least = np.full(n, np.inf, np.float32)
    least[whose] = own
    # Matched: an icon that moves the embedding further excites more features of any kind.
    near = place[pool.icon] - first[pool.feature]
    as_good = (
        (pool.icon != pool.feature)
        & (near >= 0)
        & (near <= matched)
        & (pool.activation >= least[pool.feature])
    )
    better = np.bincount(pool.feature[as_good], minlength=n)[whose]
    # The icon itself counts, so p is never 0 (Phipson and Smyth 2010); a feature that does not
    # fire in its own icon is matched by every other icon.
    return np.where(own > 0, (1 + better) / (1 + matched), 1.0)


def benjamini_hochberg(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Return which of the tests pass at a false discovery rate."""
    if not len(p):
        return np.zeros(0, np.bool_)
    # Benjamini and Hochberg 1995: the largest i with p_(i) <= rate * i / n passes with all before it.
    order = np.sort(p)
    under = np.flatnonzero(order <= rate * np.arange(1, len(p) + 1) / len(p))
    limit = order[under[-1]] if len(under) else -1.0
    return p <= limit
