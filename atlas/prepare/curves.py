"""Reports with curves and their numbers, as single HTML files without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.base.files import write_text
from atlas.site.render import open_templates, render

WIDTH, HEIGHT = 520, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 488, 20, 228
"""Edges of the plot inside of the picture, in its own units."""
MOST_TICKS = 5


@dataclass(frozen=True, slots=True)
class Tick:
    """A labeled place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Dot:
    """One measurement by itself."""

    x: float
    y: float
    text: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture of some points: a line through them, or dots."""

    title: str
    """What is up."""
    along: str
    """What is to the right."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    line: str = ""
    """Points of an SVG polyline."""
    dots: tuple[Dot, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    bottom: int = BOTTOM


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    chosen: int = -1
    """Row that stands out; -1 for none."""


def write_curves(
    path: Path, title: str, lead: str, plots: Sequence[Plot], tables: Sequence[Table]
) -> None:
    """Write one page."""
    view = {"page": path.name, "title": title, "lead": lead, "plots": plots, "tables": tables}
    write_text(path, render(open_templates(), "curves", view))


def draw_line(title: str, along: str, xs: Sequence[float], ys: Sequence[float]) -> Plot:
    """Return a plot with a line through points in the order given; without points it is empty."""
    x_ticks, y_ticks, points = _place(xs, ys)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return Plot(title, along, x_ticks, y_ticks, line=line)


def draw_dots(
    title: str,
    along: str,
    xs: Sequence[float],
    ys: Sequence[float],
    texts: Sequence[str],
    chosen: int,
) -> Plot:
    """Return a plot with a numbered dot a point.

    Args:
        title: What is up.
        along: What is to the right.
        xs: Places to the right.
        ys: Places up.
        texts: What each dot says under the pointer.
        chosen: The one that stands out.
    """
    x_ticks, y_ticks, points = _place(xs, ys)
    dots = tuple(
        Dot(round(x, 1), round(y, 1), text, i == chosen)
        for i, ((x, y), text) in enumerate(zip(points, texts, strict=True))
    )
    return Plot(title, along, x_ticks, y_ticks, dots=dots)


def _place(
    xs: Sequence[float], ys: Sequence[float]
) -> tuple[tuple[Tick, ...], tuple[Tick, ...], list[tuple[float, float]]]:
    """Return the ticks of both axes, and the points in the picture."""
    across, up = tick_values(xs), tick_values(ys)
    x = [_between(value, across, LEFT, RIGHT) for value in xs]
    y = [_between(value, up, BOTTOM, TOP) for value in ys]
    return (
        tuple(Tick(round(_between(v, across, LEFT, RIGHT), 1), f"{v:,.6g}") for v in across),
        tuple(Tick(round(_between(v, up, BOTTOM, TOP), 1), f"{v:,.6g}") for v in up),
        list(zip(x, y, strict=True)),
    )


def _between(value: float, ticks: Sequence[float], start: float, stop: float) -> float:
    return start + (stop - start) * (value - ticks[0]) / (ticks[-1] - ticks[0])


def tick_values(values: Sequence[float]) -> list[float]:
    """Return round numbers, equally far apart, that enclose all values; at least two."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low == high:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    rough = (high - low) / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10, 20) if m * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
