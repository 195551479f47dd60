"""The order of the wall."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlas.study import map as atlas_map
from atlas.study.map import _along_curve, map_order, wall


def test_the_curve_meets_every_cell_once_in_steps_of_one(monkeypatch):
    monkeypatch.setattr(atlas_map, "CURVE_ORDER", 4)
    cells = np.array([(x, y) for x in range(16) for y in range(16)])
    distance = _along_curve(cells[:, 0], cells[:, 1])
    assert sorted(distance) == list(range(256))
    steps = np.abs(np.diff(cells[np.argsort(distance)], axis=0)).sum(axis=1)
    assert set(steps) == {1}


POINTS = st.integers(0, 40).flatmap(
    lambda n: st.lists(
        st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32), st.floats(-1, 1)),
        min_size=n,
        max_size=n,
    )
)


@given(points=POINTS)
def test_the_order_names_every_point_once(points):
    x, y, _ = np.array(points, np.float32).reshape(-1, 3).T
    assert sorted(map_order(x, y)) == list(range(len(points)))


@given(points=POINTS, columns=st.integers(1, 6), rows=st.integers(1, 5))
def test_the_wall_names_no_point_twice_and_none_without_worth(points, columns, rows):
    x, y, worth = np.array(points, np.float64).reshape(-1, 3).T
    shown = wall(x.astype(np.float32), y.astype(np.float32), worth, columns, rows)
    assert len(shown) == len(set(shown)) <= max(columns * rows, len(points))
    assert all(worth[point] > 0 for point in shown)
    assert len(shown) == min(columns * rows, int((worth > 0).sum()))


def test_the_wall_shows_the_best_of_each_part_where_it_lies():
    x = np.array([0.1, 0.1, 0.9, 0.9, 0.1, 0.9], np.float32)
    y = np.array([0.1, 0.9, 0.1, 0.9, 0.2, 0.8], np.float32)
    worth = np.array([1.0, 1, 1, 1, 5, 5])
    assert wall(x, y, worth, 2, 2) == [4, 5, 1, 3]
