"""The round trip: what a feature's icon activates when it is encoded again.

It does not prove that an icon shows its feature: one encoder conditions the decoder and judges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_RANK = 10
FALSE_DISCOVERY_RATE = 0.05
MATCHED_ICONS = 999
"""Other icons that a feature's own is compared with: those that moved the embedding most nearly as far."""


@dataclass(frozen=True, slots=True)
class IconFirings:
    """Which features fire on the encoded icons: an entry for each (icon, feature) pair."""

    icon: NDArray[np.int64]
    """(entry,) place of the icon, ascending."""
    feature: NDArray[np.int64]
    """(entry,) place of the feature among the live ones."""
    activation: NDArray[np.float32]
    """(entry,) greater than 0."""


@dataclass(frozen=True, slots=True)
class Natural:
    """How strongly each live feature fires on the scanned images."""

    median: NDArray[np.float32]
    """(feature,) median of its firings."""
    q99: NDArray[np.float32]
    """(feature,) 99th percentile of its firings."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """The round trips of some icons, a row an icon."""

    activation: NDArray[np.float32]
    """(icon,) the feature's activation on its icon."""
    rank: NDArray[np.int64]
    """(icon,) place of the feature in its icon by activation over q99, from 1; ties count against it."""
    p: NDArray[np.float64]
    """(icon,) share of matched icons that activate the feature at least as strongly, its own counted."""
    passes: NDArray[np.bool_]
    """(icon,) p passes Benjamini-Hochberg over all icons judged together."""
    strong: NDArray[np.bool_]
    """(icon,) at least the feature's median firing, and among the MOST_RANK strongest."""
    verdict: NDArray[np.str_]
    """(icon,) shown, partly or not shown."""


def judge(
    fired: IconFirings,
    on_template: NDArray[np.float32],
    natural: Natural,
    moved: NDArray[np.float32],
    features: NDArray[np.int64] | None = None,
    pool: IconFirings | None = None,
) -> RoundTrips:
    """Return the round trip of every icon.

    Args:
        fired: What fires on the icons.
        on_template: (feature,) activation on the drawn template, with no feature set.
        natural: How the features fire on real images.
        moved: (feature,) how far each icon's embedding lies from the template's.
        features: (icon,) the feature of each icon, ascending; None if every feature has one.
        pool: What fires on one icon of every feature, for the test against other icons; None
            if that is fired.
    """
    n = len(moved)
    whose = np.arange(n) if features is None else features
    own = own_activations(fired, whose)
    rank = ranks(fired, own, natural.q99, whose)
    p = chance(fired if pool is None else pool, own, moved, whose)
    passes = benjamini_hochberg(p, FALSE_DISCOVERY_RATE)
    strong = (own >= natural.median[whose]) & (rank <= MOST_RANK)
    gains = own > on_template[whose]
    verdict = np.where(
        gains & strong & passes, "shown", np.where(gains & (own > 0), "partly", "not shown")
    )
    return RoundTrips(own, rank, p, passes, strong, verdict)


def own_activations(fired: IconFirings, whose: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (icon,) the activation of the feature that each icon is of; 0 where it doesn't fire."""
    own = np.zeros(len(whose), np.float32)
    mine = fired.feature == whose[fired.icon]
    own[fired.icon[mine]] = fired.activation[mine]
    return own


def worst(verdicts: NDArray[np.str_], others: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return the lesser verdict of each pair: shown only where both are."""
    order = np.array(["not shown", "partly", "shown"])
    place = {name: i for i, name in enumerate(order.tolist())}
    least = [
        min(place[a], place[b]) for a, b in zip(verdicts.tolist(), others.tolist(), strict=True)
    ]
    found: NDArray[np.str_] = order[np.array(least, np.int64)]
    return found


def partners(n: int) -> NDArray[np.int64]:
    """Return (feature,) the other feature whose icon judges it in the control."""
    return (np.arange(n) + max(1, n // 2)) % max(n, 1)


def swap(fired: IconFirings, n: int) -> IconFirings:
    """Return the firings with each feature given its partner's icon: the control of judge."""
    owner = np.empty(n, np.int64)
    owner[partners(n)] = np.arange(n)
    icon = owner[fired.icon]
    order = np.argsort(icon, kind="stable")
    return IconFirings(icon[order], fired.feature[order], fired.activation[order])


def ranks(
    fired: IconFirings,
    own: NDArray[np.float32],
    q99: NDArray[np.float32],
    whose: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return (icon,) the feature's rank in its icon by activation over q99; last if it doesn't fire."""
    relative = fired.activation / q99[fired.feature]
    mine = own / q99[whose]
    # >=: equal features count as stronger, so that ties never help the feature that is judged.
    ahead = (fired.feature != whose[fired.icon]) & (relative >= mine[fired.icon])
    found = 1 + np.bincount(fired.icon[ahead], minlength=len(own))
    return np.where(own > 0, found, len(q99)).astype(np.int64)


def chance(
    pool: IconFirings,
    own: NDArray[np.float32],
    moved: NDArray[np.float32],
    whose: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return (icon,) p: how often an icon that moved as far activates the feature as strongly.

    Args:
        pool: What fires on one icon of every feature; icon i is of feature i.
        own: (icon,) the feature's activation on its icon.
        moved: (feature,) how far the embedding of each icon of the pool lies from the template's.
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
    # Only icons that moved about as far: those that move further excite more features of any kind.
    near = place[pool.icon] - first[pool.feature]
    as_good = (
        (pool.icon != pool.feature)
        & (near >= 0)
        & (near <= matched)
        & (pool.activation >= least[pool.feature])
    )
    better = np.bincount(pool.feature[as_good], minlength=n)[whose]
    # The icon itself counts, so p is never 0 (Phipson and Smyth 2010). Every other icon does as
    # well as one on which its own feature does not fire, so p is 1 there.
    return np.where(own > 0, (1 + better) / (1 + matched), 1.0)


def benjamini_hochberg(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Return which tests pass at a false discovery rate; tests of equal p pass together."""
    if not len(p):
        return np.zeros(0, np.bool_)
    # Benjamini and Hochberg 1995: the largest i with p_(i) <= rate * i / n passes with all before it.
    order = np.sort(p)
    under = np.flatnonzero(order <= rate * np.arange(1, len(p) + 1) / len(p))
    limit = order[under[-1]] if len(under) else -1.0
    return p <= limit
