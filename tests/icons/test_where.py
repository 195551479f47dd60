"""Where a feature looks: covered pictures, beside answers known from how they are made."""

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas.icons.where import (
    CELLS,
    GRAY,
    PATCH,
    PLACES,
    _table,
    cover,
    edges,
    figures,
    look,
    spread,
)
from atlas.site.pages.icon import VEILS, veils

PX = 32


def reads(row, column):
    """An encoder whose feature 0 is the red in one cell, feature 1 that in the last, 2 never fires."""
    ends = edges(PX)

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
    ends = edges(PX)
    for r, c in ((2, 5), (7, 7)):
        picture[ends[r] : ends[r + 1], ends[c] : ends[c + 1], 0] = 200
    return picture


def test_a_feature_of_one_cell_looks_there_and_nowhere_else(levels):
    spot = look(levels, 0, np.random.default_rng(0), reads(2, 5))
    assert spot.shown == 200
    mean = round(2 * 200 / CELLS**2)
    assert spot.lost[2, 5] == pytest.approx(1 - mean / 200)
    assert spot.lost[2, 5] == spot.lost.max()
    far = [spot.lost[r, c] for r in range(8) for c in range(8) if abs(r - 2) > 1 or abs(c - 5) > 1]
    assert far == [0] * len(far)
    assert spot.other == 1
    assert spot.lost_gray == pytest.approx(1 - GRAY / 200)
    assert spot.lost_gray_null == 0


def test_what_does_not_fire_has_no_map_and_a_lone_feature_no_null(levels):
    random = np.random.default_rng(0)
    assert look(levels, 2, random, reads(2, 5)) is None
    alone = look(levels, 0, random, lambda x: reads(2, 5)(x) * np.float32([1, 0, 0]))
    assert alone.other == -1
    assert np.isnan(alone.lost_gray_null)


@pytest.mark.parametrize("px", [8, 31, 128])
def test_the_patches_cover_every_pixel(px):
    white = np.full((px, px, 3), 255, np.uint8)
    seen = np.min([cover(white, r, c, 0) for r, c in PLACES], axis=0)
    assert not seen.any()
    assert (cover(white, 0, 0, 0) == 0).sum() == 3 * edges(px)[PATCH] ** 2
    assert (white == 255).all()


def test_a_cell_holds_the_mean_of_the_patches_over_it():
    lost = np.arange(len(PLACES), dtype=float)
    found = spread(lost)
    assert found[0, 0] == 0
    assert found[1, 1] == np.mean([lost[PLACES.index(p)] for p in ((0, 0), (0, 1), (1, 0), (1, 1))])
    assert found[7, 7] == lost[-1]


def test_the_figure_stands_beside_its_null():
    def row(own, null):
        return {"lost_gray": own, "lost_gray_null": null, "other": None if null is None else 4}

    rows = [{**row(*pair), "feature": 1, "rank": 0, "image": 2, "activation": 1.0, "on_thumbnail": 1.0, "lost": [0.0]}
            for pair in ((0.5, 0.1), (0.7, 0.3), (0.9, None), (0.6, 0.2))]  # fmt: skip
    (figure,) = figures(_table(rows))
    assert (figure["value"], figure["null_value"], figure["n"]) == pytest.approx((0.6, 0.2, 3))
    assert figures(_table([])) == []


def test_veils_hide_what_matters_little_and_leave_the_rest_clear():
    lost = [-0.5, 0.0, 0.25, 0.5, 1.0] + [1.0] * 59
    found = dict(veils(lost))
    assert found == {
        "0.4": "M3 0h1v1h-1z",
        "0.6": "M2 0h1v1h-1z",
        "0.8": "M0 0h1v1h-1zM1 0h1v1h-1z",
    }
    assert len(found) < VEILS
    assert veils([0.0] * 64)[0][0] == "0.8"


def test_the_build_maps_a_sample_and_its_pages_show_it(drawn_atlas):
    build = drawn_atlas / "build"
    rows = pq.read_table(build / "where" / "where.parquet").to_pylist()
    assert rows
    with duckdb.connect(str(build / "catalog/atlas.duckdb"), read_only=True) as db:
        assert db.execute("SELECT count(*) FROM where_maps").fetchone() == (len(rows),)
        hidden = [r[0] for r in db.execute("SELECT image FROM images WHERE sensitive").fetchall()]
        dark = [r[0] for r in db.execute("SELECT feature FROM features WHERE sensitive").fetchall()]
    assert not {row["image"] for row in rows} & set(hidden)
    for feature in {row["feature"] for row in rows}:
        text = (build / f"site/feature/0/{feature}.html").read_text()
        shown = sum(row["feature"] == feature for row in rows)
        assert text.count('class="look"') == (0 if feature in dark else shown)
