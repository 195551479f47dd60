"""Pages of curves."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.prepare.curves import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Table,
    draw_dots,
    draw_line,
    tick_values,
    write_curves,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=9)


@given(NUMBERS)
def test_ticks_are_round_and_enclose_all_values(values):
    ticks = tick_values(values)
    slack = 1e-6 * max(1e-9, max(values) - min(values))
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= min(values) + slack
    assert ticks[-1] >= max(values) - slack


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], [0, 0.5, 1]),
        ([50.0, 5000.0], [0, 2000, 4000, 6000]),
        ([], [0, 0.5, 1]),
        ([0.0, 0.0], [0, 0.5, 1]),
    ],
)
def test_ticks_by_hand(values, ticks):
    assert tick_values(values) == ticks


def test_points_lie_where_their_values_are():
    plot = draw_line("up", "along", [0, 50, 100], [0.0, 0.5, 1.0])
    middle = f"{(LEFT + RIGHT) / 2:.1f},{(TOP + BOTTOM) / 2:.1f}"
    assert plot.line == f"{LEFT}.0,{BOTTOM}.0 {middle} {RIGHT}.0,{TOP}.0"
    assert [tick.text for tick in plot.x_ticks] == ["0", "50", "100"]
    assert draw_line("up", "along", [], []).line == ""


def test_a_page_is_one_file_and_hostile_text_stays_text(tmp_path):
    path = tmp_path / "report.html"
    hostile = "</title><script>alert(1)</script>"
    plot = draw_dots(hostile, "x", [1, 2], [3, 4], [hostile, "b"], 1)
    table = Table(hostile, ("a", "b"), ((hostile, "2"),), hostile, 0)
    write_curves(path, hostile, hostile, [plot], [table])
    page = path.read_text()
    assert "<script" not in page
    assert not re.search(r"""(src|href)=|url\(""", page)
    assert page.count("<circle") == 2
    assert page.count('class="chosen"') == 2
