"""Relatives of features: duplicates, antipodes and parents, by direction and by the images they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.float64 import inner_products
from atlas.sae.activations import EveryFiring, FeatureActivations
from atlas.settings.study import FamiliesSettings
from atlas.study.clusters import DIGITS
from atlas.study.intervals import wilson

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Firing:
    """Where the live features fire, and where they fire strongly."""

    by_feature: FeatureActivations
    every: EveryFiring
    strong_share: float
    cache: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    """Feature -> its strong images, as they were found."""

    def images(self, feature: int) -> NDArray[np.int64]:
        """Return the images on which a feature fires, ascending."""
        return self.by_feature[feature][0]

    def strong(self, feature: int) -> NDArray[np.int64]:
        """Return the images of its strongest firings, ascending; equal ones by image."""
        if feature not in self.cache:
            images, activations = self.by_feature[feature]
            count = int(np.ceil(self.strong_share * len(images)))
            best = np.lexsort((images, -activations))[:count]
            self.cache[feature] = np.sort(images[best])
        return self.cache[feature]


@dataclass(frozen=True, slots=True)
class Relative:
    """One row of the table relatives."""

    feature: int
    kind: str
    other: int
    cosine: float
    n: int
    share: float
    share_low: float
    share_back: float
    share_back_high: float


def count_common(some: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    """Return how many images two ascending lists have in common."""
    return len(np.intersect1d(some, others, assume_unique=True))


def _relative(
    kind: str,
    pair: tuple[int, int],
    cosine: float,
    mine: tuple[NDArray[np.int64], int],
    theirs: tuple[NDArray[np.int64], int],
) -> Relative:
    """Return a row, from (images, of these how many fire the other) of both sides."""
    (images, hits), (back_images, back_hits) = mine, theirs
    n, back = len(images), len(back_images)
    return Relative(
        *(pair[0], kind, pair[1], cosine, n),
        hits / n if n else 0.0,
        wilson(hits, n)[0],
        back_hits / back if back else 0.0,
        wilson(back_hits, back)[1],
    )


def duplicates(firing: Firing, near: pa.Table, settings: FamiliesSettings) -> list[Relative]:
    """Return pairs with similar directions that fire on the same images, in both orders."""
    cosine = near["cosine"].to_numpy()
    close = np.flatnonzero(cosine > settings.duplicate_cosine)
    feature, neighbor = near["feature"].to_numpy(), near["neighbor"].to_numpy()
    found = []
    for i in close.tolist():
        pair = int(feature[i]), int(neighbor[i])
        mine, theirs = firing.images(pair[0]), firing.images(pair[1])
        both = count_common(mine, theirs)
        if both >= settings.duplicate_share * max(len(mine), len(theirs)):
            found.append(
                _relative("duplicate", pair, float(cosine[i]), (mine, both), (theirs, both))
            )
    return found


def antipodes(
    firing: Firing,
    live: NDArray[np.int64],
    directions: NDArray[np.float32],
    settings: FamiliesSettings,
) -> list[Relative]:
    """Return each feature's most opposed one, where it is opposed enough."""
    rows, cosines = most_opposed(directions, np.arange(len(live)))
    found = []
    for i in np.flatnonzero(cosines <= -settings.antipode_cosine).tolist():
        pair = int(live[i]), int(live[rows[i]])
        mine, theirs = firing.images(pair[0]), firing.images(pair[1])
        both = count_common(mine, theirs)
        found.append(_relative("antipode", pair, float(cosines[i]), (mine, both), (theirs, both)))
    return found


def most_opposed(
    directions: NDArray[np.float32], queries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return for each query the row with the least cosine, of equal ones the first, and it.

    Float32 products choose the candidates, float64 ones decide.

    Args:
        directions: (row, d) of length 1; two or more, or no query has an answer but itself.
        queries: (query,) rows.
    """
    rows = np.empty(len(queries), np.int64)
    cosines = np.empty(len(queries), np.float32)
    margin = (directions.shape[1] + 4) * 2.0**-22
    for start in range(0, len(queries), ROWS_PER_BLOCK):
        asked = queries[start : start + ROWS_PER_BLOCK]
        products = directions[asked] @ directions.T
        which, row = np.nonzero(products <= products.min(axis=1, keepdims=True) + margin)
        exact = inner_products(directions, asked[which], directions, row).astype(np.float32)
        order = np.lexsort((row, exact, which))
        best = order[np.searchsorted(which[order], np.arange(len(asked)))]
        rows[start : start + len(asked)] = row[best]
        cosines[start : start + len(asked)] = exact[best]
    return rows, cosines


def parents(
    firing: Firing,
    live: NDArray[np.int64],
    directions: NDArray[np.float32],
    settings: FamiliesSettings,
    advance: Callable[[], None] = lambda: None,
) -> list[Relative]:
    """Return for each feature those that fire wherever it is strong, while it seldom does for them.

    The share on the child's strong images is at least `parent_share`; the Wilson interval of
    it, widened for the number of pairs that were looked at, lies above the parent's density;
    the share of the parent's strong images on which the child fires is at most `child_share`.
    """
    densities = firing.by_feature.counts() / max(len(firing.every), 1)
    z = corrected_z(len(live) * (len(live) - 1))
    place = {int(feature): row for row, feature in enumerate(live)}
    found = []
    for child in live.tolist():
        images = firing.strong(child)
        for parent, hits in likely_parents(firing, images, child, densities, settings, z):
            back_images = firing.strong(parent)
            back = count_common(back_images, firing.images(child))
            if back > settings.child_share * len(back_images):
                continue
            two = np.array([place[child]]), np.array([place[parent]])
            cosine = float(inner_products(directions, two[0], directions, two[1])[0])
            found.append(
                _relative("parent", (child, parent), cosine, (images, hits), (back_images, back))
            )
        advance()
    return found


def corrected_z(tests: int) -> float:
    """Return how many standard errors a two-sided 5 % error over so many tests takes."""
    return NormalDist().inv_cdf(1 - 0.025 / max(tests, 1))


def likely_parents(
    firing: Firing,
    images: NDArray[np.int64],
    child: int,
    densities: NDArray[np.float64],
    settings: FamiliesSettings,
    z: float,
) -> list[tuple[int, int]]:
    """Return (feature, on how many of the images it fires) of those that fire on enough of them."""
    counts = firing.every.count_together(images)
    counts[child] = 0
    enough = np.flatnonzero(counts >= max(settings.parent_share * len(images), 1))
    return [
        (other, int(counts[other]))
        for other in enough.tolist()
        if wilson(int(counts[other]), len(images), z)[0] > densities[other]
    ]


def relatives_table(rows: list[Relative], most: int) -> pa.Table:
    """Return the table: of each feature and kind the closest ones, at most so many."""
    import pyarrow as pa

    def closeness(row: Relative) -> tuple[Any, ...]:
        first = -row.share if row.kind == "parent" else -abs(row.cosine)
        return row.feature, row.kind, round(first, DIGITS), row.other

    ranked: list[tuple[int, Relative]] = []
    for row in sorted(rows, key=closeness):
        last = ranked[-1] if ranked else None
        same = last and (last[1].feature, last[1].kind) == (row.feature, row.kind)
        ranked.append((last[0] + 1 if last and same else 0, row))
    kept = [(rank, row) for rank, row in ranked if rank < most]
    columns: dict[str, tuple[Any, list[Any]]] = {
        "feature": (pa.int32(), [row.feature for _, row in kept]),
        "kind": (pa.string(), [row.kind for _, row in kept]),
        "rank": (pa.int32(), [rank for rank, _ in kept]),
        "other": (pa.int32(), [row.other for _, row in kept]),
        "cosine": (pa.float32(), [row.cosine for _, row in kept]),
        "n": (pa.int64(), [row.n for _, row in kept]),
        "share": (pa.float64(), [row.share for _, row in kept]),
        "share_low": (pa.float64(), [row.share_low for _, row in kept]),
        "share_back": (pa.float64(), [row.share_back for _, row in kept]),
        "share_back_high": (pa.float64(), [row.share_back_high for _, row in kept]),
    }
    return pa.table({name: pa.array(held, kind) for name, (kind, held) in columns.items()})


def rows_table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    """Return tuples as a table, a column for each of their entries."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(held, part.type) for held, part in zip(columns, schema, strict=True)],
        schema=schema,
    )
