import numpy as np

from atlas.study.representatives import representatives


def test_each_occupied_cell_has_the_best_and_then_the_most_central_of_its_points():
    x = np.array([0.05, 0.10, 0.24, 0.90, 0.95, 1.00], np.float32)
    y = np.array([0.10, 0.10, 0.10, 0.90, 0.95, 1.00], np.float32)
    cells, points = representatives(x, y, np.array([0, 0, 0, 1, 1, 0]), 4, 2)
    assert cells.tolist() == [0, 7]
    assert points.tolist() == [1, 5]
    assert representatives(x, y, np.array([0, -1, 0, -1, -1, -1]), 4, 2)[1].tolist() == [0]


def test_ties_keep_the_order_given_and_every_level_covers_the_same_cells_as_its_points():
    random = np.random.default_rng(0)
    x, y = random.random((2, 500), np.float32)
    ranks = random.integers(0, 2, 500)
    for columns, rows in ((12, 8), (96, 64)):
        cells, points = representatives(x, y, ranks, columns, rows)
        own = (y * rows).astype(int) * columns + (x * columns).astype(int)
        assert cells.tolist() == sorted(set(own.tolist()))
        assert own[points].tolist() == cells.tolist()
        for cell, point in zip(cells, points, strict=True):
            assert ranks[point] == ranks[own == cell].min()
    same = np.full(3, 0.5, np.float32)
    assert representatives(same, same, np.zeros(3, np.int64), 3, 3)[1].tolist() == [0]
