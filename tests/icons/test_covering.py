"""Covered pictures, beside answers known from how they are made."""

import numpy as np
import pytest

from atlas.icons.covering import (
    CELLS,
    GRAY,
    PATCH,
    PLACES,
    cell_edges,
    cover,
    map_feature,
    mean_by_cell,
)

PX = 32


def reads(row, column):
    """An encoder whose feature 0 is the red in one cell, feature 1 that in the last, 2 never fires."""
    ends = cell_edges(PX)

    def activations(levels):
        def red(r, c):
            return levels[:, ends[r] : ends[r + 1], ends[c] : ends[c + 1], 0].mean(axis=(1, 2))

        never = np.zeros(len(levels))
        return np.stack([red(row, column), red(7, 7), never], axis=1).astype(np.float32)

    return activations


@pytest.fixture
def levels():
    """Black, but for red in two cells."""
    picture = np.zeros((PX, PX, 3), np.uint8)
    ends = cell_edges(PX)
    for r, c in ((2, 5), (7, 7)):
        picture[ends[r] : ends[r + 1], ends[c] : ends[c + 1], 0] = 200
    return picture


def test_a_feature_of_one_cell_looks_there_and_nowhere_else(levels):
    found = map_feature(levels, 0, np.random.default_rng(0), reads(2, 5))
    assert found.shown == 200
    mean = round(2 * 200 / CELLS**2)
    assert found.lost[2, 5] == pytest.approx(1 - mean / 200)
    assert found.lost[2, 5] == found.lost.max()
    far = [found.lost[r, c] for r in range(8) for c in range(8) if abs(r - 2) > 1 or abs(c - 5) > 1]
    assert far == [0] * len(far)
    assert found.other == 1
    assert found.lost_gray == pytest.approx(1 - GRAY / 200)
    assert found.lost_gray_null == 0


def test_what_does_not_fire_has_no_map_and_a_lone_feature_no_null(levels):
    random = np.random.default_rng(0)
    assert map_feature(levels, 2, random, reads(2, 5)) is None
    alone = map_feature(levels, 0, random, lambda x: reads(2, 5)(x) * np.float32([1, 0, 0]))
    assert alone.other == -1
    assert np.isnan(alone.lost_gray_null)


@pytest.mark.parametrize("px", [8, 31, 128])
def test_the_patches_cover_every_pixel(px):
    white = np.full((px, px, 3), 255, np.uint8)
    seen = np.min([cover(white, r, c, 0) for r, c in PLACES], axis=0)
    assert not seen.any()
    assert (cover(white, 0, 0, 0) == 0).sum() == 3 * cell_edges(px)[PATCH] ** 2
    assert (white == 255).all()


def test_a_cell_holds_the_mean_of_the_patches_over_it():
    lost = np.arange(len(PLACES), dtype=float)
    found = mean_by_cell(lost)
    assert found[0, 0] == 0
    assert found[1, 1] == np.mean([lost[PLACES.index(p)] for p in ((0, 0), (0, 1), (1, 0), (1, 1))])
    assert found[7, 7] == lost[-1]
