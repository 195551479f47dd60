"""The report: every metric beside its baseline, charts with their numbers, dead features."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common
from atlas.site.text import figure, metric_value, percent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PUBLISHED_SAE = {
    "images": "5 million",
    "features": "81,920",
    "alive": "60,620",
    "dead_share": "about 0.26",
    "l0_mean": "about 60",
    "explained_variance": "0.65",
}
"""Figures of the published SAE (1280 dimensions, images of LAION-2B); not reproduced here."""


class Bar(NamedTuple):
    """A bar of a chart, in units of the chart."""

    x: float
    y: float
    width: float
    height: float
    title: str


def dead_view(book: Book) -> dict[str, Any]:
    """Return what the list of dead features shows."""
    return {
        **common(book, links.DEAD, "Dead features", "report"),
        "n_dead": f"{len(book.dead):,}",
        "share": percent(len(book.dead) / book.n_features) if book.n_features else "0",
        "images": f"{int(book.facts['n_images']):,}",
        "runs": ranges(book.dead),
    }


def ranges(numbers: Sequence[int]) -> list[str]:
    """Return ascending numbers with three or more consecutive ones joined, as in 3–5."""
    found = []
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        ends = f"{members[0]}–{members[-1]}" if len(members) > 2 else None
        found += [ends] if ends else [str(number) for number in members]
    return found


class Chart(NamedTuple):
    """A bar chart with its numbers."""

    title: str
    caption: str
    bars: list[Bar]
    rows: list[tuple[str, str]]
    """(bin, count), the numbers of the chart."""
    first: str
    last: str


def charts(db: DuckDBPyConnection) -> list[Chart]:
    """Return the charts of the report."""
    return [
        Chart(
            "How often features fire",
            "Live features by density, four bars to each doubling. A healthy dictionary has one broad hill.",
            *_bars(
                db,
                "SELECT floor(4 * log2(density))::INTEGER AS bin, count(*) FROM features WHERE alive GROUP BY bin ORDER BY bin",
                lambda bin: percent(2.0 ** (bin / 4)),
            ),
        ),
        Chart(
            "How many features fire on an image",
            "Images by L0, in bins of four features.",
            *_bars(
                db,
                "SELECT (l0 // 4)::INTEGER AS bin, count(*) FROM images GROUP BY bin ORDER BY bin",
                lambda bin: f"{4 * bin}",
            ),
        ),
        Chart(
            "How much fires on an image",
            "Images by mass, the sum of their activations, four bars to each doubling.",
            *_bars(
                db,
                "SELECT floor(4 * log2(mass))::INTEGER AS bin, count(*) FROM images WHERE mass > 0 GROUP BY bin ORDER BY bin",
                lambda bin: figure(2.0 ** (bin / 4)),
            ),
        ),
        Chart(
            "Whether icons activate what they show",
            "Rendered icons by the share of the feature's own images on which it fires more weakly. Without effect all would stand at the left.",
            *_bars(
                db,
                """SELECT least(floor(percentile * 20), 19)::INTEGER AS bin, count(*) FROM icons
                   WHERE source = 'rendered' GROUP BY bin ORDER BY bin""",
                lambda bin: percent(bin / 20),
            ),
        ),
        Chart(
            "How well names hold",
            "Names by the share of the feature's 20 strongest pictures whose caption or tags hold them, among pictures that had no say in the name.",
            *_bars(
                db,
                """SELECT least(floor(judged * 20), 19)::INTEGER AS bin, count(*) FROM names
                   WHERE judged IS NOT NULL GROUP BY bin ORDER BY bin""",
                lambda bin: percent(bin / 20),
            ),
        ),
        Chart(
            "How well names from the vocabulary tell pictures apart",
            "First labels by AUROC on images that did not choose them; 0.5 is chance.",
            *_bars(
                db,
                """SELECT floor(auroc * 40)::INTEGER AS bin, count(*) FROM names
                   JOIN labels USING (feature, label)
                   WHERE rank = 0 AND held IS NULL AND auroc IS NOT NULL GROUP BY bin ORDER BY bin""",
                lambda bin: f"{bin / 40:.3f}",
            ),
        ),
        Chart(
            "How alike the nearest features are",
            "Live features by the cosine to their nearest neighbor; at the right lie near-duplicates.",
            *_bars(
                db,
                """SELECT floor(cosine * 20)::INTEGER AS bin, count(*) FROM feature_neighbors
                   WHERE rank = 0 GROUP BY bin ORDER BY bin""",
                lambda bin: f"{bin / 20:.2f}",
            ),
        ),
    ]


REPORT_WIDTH, REPORT_HEIGHT = 560, 160


def _bars(
    db: DuckDBPyConnection, query: str, label: Any
) -> tuple[list[Bar], list[tuple[str, str]], str, str]:
    rows = db.execute(query).fetchall()
    if not rows:
        return [], [], "", ""
    first, last = rows[0][0], rows[-1][0]
    step = REPORT_WIDTH / (last - first + 1)
    tallest = max(count for _, count in rows)
    bars = [
        Bar(
            round((bin - first) * step, 1),
            round(REPORT_HEIGHT - max(1.0, REPORT_HEIGHT * count / tallest), 1),
            round(max(1.0, step - 1), 1),
            round(max(1.0, REPORT_HEIGHT * count / tallest), 1),
            f"{label(bin)} to {label(bin + 1)}: {count:,}",
        )
        for bin, count in rows
    ]
    table = [(f"{label(bin)} to {label(bin + 1)}", f"{count:,}") for bin, count in rows]
    return bars, table, label(first), label(last + 1)


class Tenths(NamedTuple):
    """How well names hold for each tenth of their features' firings, strongest first."""

    what: str
    """What the figures are."""
    heads: tuple[str, ...]
    rows: list[list[str]]
    """The tenth, then a cell for each head."""


def read_reliability(db: DuckDBPyConnection) -> Tenths:
    """Return the table of name reliability, one row per tenth of firings, strongest first."""
    borne_out = db.execute(
        """SELECT quantile, held, held_shuffled, features FROM name_reliability
           WHERE held IS NOT NULL ORDER BY quantile DESC"""
    ).fetchall()
    if borne_out:
        return Tenths(
            "Means over the features that have a name: the share of pictures whose caption or tags hold it.",
            ("name in the caption or tags", "another feature's name", "features"),
            [[f"{10 - q}", percent(a), percent(null), f"{n:,}"] for q, a, null, n in borne_out],
        )
    rows = db.execute(
        """SELECT quantile, auroc, auroc_low, auroc_high, first_word, shuffled, features
           FROM name_reliability ORDER BY quantile DESC"""
    ).fetchall()
    return Tenths(
        "Medians over the features that have a name: how often a picture on which the feature fires scores above one on which it does not.",
        ("AUROC, the words together", "95 %", "first word alone", "another feature's name", "features"),
        [
            [f"{10 - q}", f"{a:.3f}", f"{low:.3f} to {high:.3f}", f"{one:.3f}", f"{null:.3f}", f"{n:,}"]
            for q, a, low, high, one, null, n in rows
        ],
    )  # fmt: skip


def report_view(book: Book, drawn: Sequence[Chart], tenths: Tenths) -> dict[str, Any]:
    """Return what the report shows: every metric beside its baseline, its n and its command.

    Args:
        book: The atlas.
        drawn: Its charts.
        tenths: What read_reliability returns.
    """
    return {
        **common(book, links.REPORT, "Report", "report"),
        "metrics": [
            {
                "name": metric.name.replace("_", " ").replace("l0", "L0"),
                "value": metric_value(metric.value, metric.unit),
                "unit": "" if metric.unit == "share" else metric.unit,
                "n": f"{metric.n:,}",
                "null": ""
                if metric.null_value is None
                else metric_value(metric.null_value, metric.unit),
                "null_name": metric.null_name,
                "published": PUBLISHED_SAE.get(metric.name, ""),
                "command": metric.command,
                "note": metric.note,
            }
            for metric in book.metrics
        ],
        "charts": drawn,
        "tenths": tenths,
        "compared": any(metric.name == "features_shared" for metric in book.metrics),
        "provenance": sorted(book.facts.items()),
        "n_dead": f"{len(book.dead):,}",
    }
