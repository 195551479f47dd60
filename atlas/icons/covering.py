"""Cover patches of a picture and measure how much of a feature's activation is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 8
"""Of a map, along each side."""
PATCH = 2
"""Cells covered at once, along each side."""
GRAY = 128
"""Level of the second cover, which checks what the first one, in the picture's mean color, found."""
PLACES = [(r, c) for r in range(CELLS - PATCH + 1) for c in range(CELLS - PATCH + 1)]
"""Every position of the patch, as its first cell (row, column)."""

Activations = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(picture, height, width, 3) levels -> (picture, feature)."""


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """Where one feature responds to one picture."""

    shown: float
    """Activation on the uncovered picture; above 0."""
    lost: NDArray[np.float32]
    """(CELLS, CELLS) share of it that is lost when a cell is covered, mean over the patches
    that cover the cell; negative where the activation grows."""
    other: int
    """The feature that the null is taken from; -1 if no other feature fires."""
    lost_gray: float
    """Share lost when this map's strongest patch is covered in gray."""
    lost_gray_null: float
    """Share lost when the other feature's strongest patch is covered in gray; nan without one."""


def cell_edges(px: int) -> NDArray[np.int64]:
    """Return (CELLS + 1,) the pixels at which cells begin and end along a side of px pixels."""
    return np.round(np.linspace(0, px, CELLS + 1)).astype(np.int64)


def cover(levels: NDArray[np.uint8], row: int, column: int, color: Any) -> NDArray[np.uint8]:
    """Return a copy of a picture (height, width, 3) with one patch filled with a color.

    Args:
        levels: (height, width, 3).
        row: First row of cells in the patch.
        column: First column of cells in the patch.
        color: One level or (3,) levels.
    """
    down, across = cell_edges(levels.shape[0]), cell_edges(levels.shape[1])
    covered = levels.copy()
    covered[down[row] : down[row + PATCH], across[column] : across[column + PATCH]] = color
    return covered


def map_feature(
    levels: NDArray[np.uint8], feature: int, random: np.random.Generator, activations: Activations
) -> FeatureMap | None:
    """Return where a feature responds to a picture, or None if it does not fire on it.

    Args:
        levels: (height, width, 3).
        feature: Its number.
        random: Chooses the other feature, which gives the null.
        activations: The encoder and the SAE; called with all covered pictures at once, and once
            more with two.
    """
    mean = levels.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    covered = [cover(levels, row, column, mean) for row, column in PLACES]
    found = activations(np.stack([levels, *covered]))
    whole, plain = found[0], found[1:]
    if whole[feature] <= 0:
        return None
    firing = np.flatnonzero(whole > 0)
    others = firing[firing != feature]
    other = int(random.choice(others)) if len(others) else -1
    # Without another feature, -1 reads the last column: harmless, as its null becomes nan below.
    strongest = [PLACES[int(plain[:, one].argmin())] for one in (feature, other)]
    # A second color: a minimum over all patches is small by chance alone, a fresh measurement
    # at the place it chose is not.
    gray = np.stack([cover(levels, row, column, GRAY) for row, column in strongest])
    gone = 1 - activations(gray)[:, feature] / whole[feature]
    return FeatureMap(
        shown=float(whole[feature]),
        lost=mean_by_cell(1 - plain[:, feature] / whole[feature]),
        other=other,
        lost_gray=float(gone[0]),
        lost_gray_null=float(gone[1]) if other >= 0 else float("nan"),
    )


def mean_by_cell(lost: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return (CELLS, CELLS) the mean of what is lost (place,) over the patches that cover a cell."""
    total, times = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (row, column), value in zip(PLACES, lost.tolist(), strict=True):
        patch = np.s_[row : row + PATCH, column : column + PATCH]
        total[patch] += value
        times[patch] += 1
    return (total / times).astype(np.float32)
