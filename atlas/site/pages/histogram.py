"""The histogram of a feature's activations, drawn as one SVG path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from atlas.base.tables import BINS_AN_OCTAVE, LOWEST_OCTAVE

BAR_ROOM, CHART_HEIGHT = 10, 48
"""In units of the chart; site.css sets the width of a bar."""
BINS_SHOWN, FEWEST_BINS = 40, 12
"""Ten octaves at most, the strongest; weaker activations share the first bar."""


class Bars(NamedTuple):
    """A histogram as one path: forty elements would take 3 kB on every page."""

    width: str
    path: str
    """A vertical line per bar, from weak to strong."""
    counts: str
    """Number of images in each bin, separated by commas; empty if zero."""
    most: str
    """Images of the tallest bar."""
    quarter: str
    """Lower edge of the first bin, in quarter octaves above 1; site.js derives all edges from it."""


def histogram_bars(rows: Sequence[tuple[Any, ...]]) -> Bars:
    """Return the histogram of a feature's activations, a quarter octave a bar.

    Args:
        rows: (feature, low, high, count, bin), from weak to strong.
    """
    if not rows:
        return Bars("", "", "", "", "")
    last = rows[-1][4]
    first = max(rows[0][4], last - BINS_SHOWN + 1)
    weaker = [row for row in rows if row[4] <= first]
    shown = [row for row in rows if row[4] > first]
    if weaker:  # else a few weak firings would squeeze all other bars
        shown.insert(0, (0, weaker[0][1], weaker[-1][2], sum(row[3] for row in weaker), first))
    counts = {bin - first: count for *_, count, bin in shown}
    scale = CHART_HEIGHT / max(counts.values())
    return Bars(
        width=f"{max(last - first + 1, FEWEST_BINS) * BAR_ROOM}",
        path="".join(
            f"M{place * BAR_ROOM + BAR_ROOM // 2} 0v{max(1, round(count * scale))}"
            for place, count in counts.items()
        ),
        counts=",".join(str(counts.get(place, "")) for place in range(last - first + 1)),
        most=f"{max(counts.values()):,}",
        quarter=f"{first - 1 + LOWEST_OCTAVE * BINS_AN_OCTAVE}",
    )
