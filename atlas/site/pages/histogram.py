"""The chart of a feature's activations, drawn as one path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from atlas.base.tables import BINS_AN_OCTAVE, LOWEST_OCTAVE

BAR_ROOM, CHART_HEIGHT = 10, 48
"""Of a chart of activations, in its own units; site.css gives bars their width."""
BINS_SHOWN, FEWEST_BINS = 40, 12
"""The strongest ten octaves; what is weaker shares the first bar."""


class Bars(NamedTuple):
    """A chart of a feature's activations, one path: forty elements are 3 kB on every page."""

    width: str
    path: str
    """Bars from weak to strong, each a line as wide as site.css makes it."""
    counts: str
    """Of the images in each bin, with commas between; empty where there are none."""
    quarter: str
    """Where the first bin begins, in quarters of an octave above 1; site.js tells all edges by it."""


def histogram_bars(rows: Sequence[tuple[Any, ...]]) -> Bars:
    """Return the bars of a feature's activations, a quarter octave each.

    Args:
        rows: (feature, low, high, count, bin), from weak to strong.
    """
    if not rows:
        return Bars("", "", "", "")
    last = rows[-1][4]
    first = max(rows[0][4], last - BINS_SHOWN + 1)
    weaker = [row for row in rows if row[4] <= first]
    shown = [row for row in rows if row[4] > first]
    if weaker:  # a few stray weak firings would else squeeze the rest
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
        quarter=f"{first - 1 + LOWEST_OCTAVE * BINS_AN_OCTAVE}",
    )
