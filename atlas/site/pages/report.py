"""The report: eight questions with charts, every metric beside its baseline; dead features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book, MetricRow
from atlas.site.pages.parts import common
from atlas.site.pages.questions import PUBLISHED_SAE, QUESTIONS, by_question, headline
from atlas.site.text import figure, metric_value, percent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


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


class Plot(NamedTuple):
    """What a chart counts, and the finding below it."""

    question: str
    """Key of the question that it helps to answer."""
    title: str
    of: str
    """What its bars count, for the caption of its numbers."""
    bins: str
    """SQL of (bin, count), ascending."""
    bounds: Callable[[int], str]
    """The lower bound of a bin, as text."""
    finding: str
    """SQL of one number, null where there is nothing to count."""
    caption: Callable[[float], str]
    """The finding in words."""


PLOTS = (
    Plot(
        "sparse",
        "How often features fire",
        "Live features by density, four bars to each doubling",
        "SELECT floor(4 * log2(density))::INTEGER AS bin, count(*) FROM features WHERE alive GROUP BY bin ORDER BY bin",
        lambda bin: percent(2.0 ** (bin / 4)),
        "SELECT median(density) FROM features WHERE alive",
        lambda half: f"Half of the live features fire on fewer than 1 in {1 / half:,.0f} pictures.",
    ),
    Plot(
        "sparse",
        "How many features fire on a picture",
        "Pictures by L0, in bins of four features",
        "SELECT (l0 // 4)::INTEGER AS bin, count(*) FROM images GROUP BY bin ORDER BY bin",
        lambda bin: f"{4 * bin}",
        "SELECT quantile_disc(l0, 0.9) FROM images",
        lambda most: f"On nine of ten pictures, {most:,.0f} features fire or fewer.",
    ),
    Plot(
        "explained",
        "How much fires on a picture",
        "Pictures by mass, the sum of their activations, four bars to each doubling",
        "SELECT floor(4 * log2(mass))::INTEGER AS bin, count(*) FROM images WHERE mass > 0 GROUP BY bin ORDER BY bin",
        lambda bin: figure(2.0 ** (bin / 4)),
        """SELECT quantile_disc(mass, 0.9) / quantile_disc(mass, 0.1) FROM images
           WHERE mass > 0 HAVING count(*) > 0""",
        lambda times: (
            f"Busy pictures excite the features {figure(times)} times as much as plain ones, in sum (the strongest tenth beside the weakest)."
        ),
    ),
    Plot(
        "single",
        "How alike the nearest features are",
        "Live features by the cosine to their nearest neighbor",
        """SELECT floor(cosine * 20)::INTEGER AS bin, count(*) FROM feature_neighbors
           WHERE rank = 0 GROUP BY bin ORDER BY bin""",
        lambda bin: f"{bin / 20:.2f}",
        "SELECT avg((cosine > 0.9)::INTEGER) FROM feature_neighbors WHERE rank = 0",
        lambda share: (
            f"{percent(share) if share else 'None'} of the features {'have' if share else 'has'} a near-copy, a neighbor with a cosine above 0.9."
        ),
    ),
    Plot(
        "names",
        "How well names hold",
        "Names by the share of the 20 strongest pictures whose caption or tags hold them, of pictures that had no say in the name",
        """SELECT least(floor(judged * 20), 19)::INTEGER AS bin, count(*) FROM names
           WHERE judged IS NOT NULL GROUP BY bin ORDER BY bin""",
        lambda bin: percent(bin / 20),
        "SELECT avg((judged >= 0.5)::INTEGER) FROM names WHERE judged IS NOT NULL",
        lambda share: (
            f"{percent(share) if share else 'None'} of the names {'stand' if share else 'stands'} in the captions or tags of half or more of the strongest pictures that had no say."
        ),
    ),
    Plot(
        "names",
        "How well names from the vocabulary tell pictures apart",
        "First names by AUROC on pictures that did not choose them; 0.5 is chance",
        """SELECT floor(auroc * 40)::INTEGER AS bin, count(*) FROM names
           JOIN labels USING (feature, label)
           WHERE rank = 0 AND held IS NULL AND auroc IS NOT NULL GROUP BY bin ORDER BY bin""",
        lambda bin: f"{bin / 40:.3f}",
        """SELECT avg((auroc < 0.6)::INTEGER) FROM names JOIN labels USING (feature, label)
           WHERE rank = 0 AND held IS NULL AND auroc IS NOT NULL""",
        lambda share: (
            f"{percent(share) if share else 'None'} of the names {'do' if share else 'does'} little better than chance (AUROC below 0.6; chance is 0.5)."
        ),
    ),
    Plot(
        "icons",
        "How strongly icons excite their feature",
        "Drawn icons by the share of the feature’s own pictures on which it fires more weakly",
        """SELECT least(floor(percentile * 20), 19)::INTEGER AS bin, count(*) FROM icons
           WHERE source = 'rendered' GROUP BY bin ORDER BY bin""",
        lambda bin: percent(bin / 20),
        "SELECT avg((percentile >= 0.5)::INTEGER) FROM icons WHERE source = 'rendered'",
        lambda share: (
            f"{percent(share)} of the icons excite their feature more than half of its own pictures do. Icons without effect would all stand at the left."
        ),
    ),
    Plot(
        "concepts",
        "How many concepts a picture has",
        "Pictures by the number of their fine concepts",
        "SELECT k AS bin, count(*) FROM groupings WHERE tau = 'fine' GROUP BY bin ORDER BY bin",
        lambda bin: f"{bin}",
        "SELECT quantile_disc(k, 0.5) FROM groupings WHERE tau = 'fine'",
        lambda half: f"Half of the pictures have {half:,.0f} fine concepts or fewer.",
    ),
)
"""In the order of their questions."""


class Chart(NamedTuple):
    """A bar chart with its numbers."""

    question: str
    title: str
    of: str
    caption: str
    bars: list[Bar]
    rows: list[tuple[str, str]]
    """(bin, count), the numbers of the chart."""
    first: str
    last: str


def charts(db: DuckDBPyConnection) -> list[Chart]:
    """Return the charts of the report that have something to show."""
    drawn = []
    for plot in PLOTS:
        bars = _bars(db.execute(plot.bins).fetchall(), plot.bounds)
        found = db.execute(plot.finding).fetchone()
        if bars and found and found[0] is not None:
            told = plot.caption(found[0])
            drawn.append(Chart(plot.question, plot.title, plot.of, told, *bars))
    return drawn


REPORT_WIDTH, REPORT_HEIGHT = 560, 160


def _bars(
    rows: Sequence[tuple[int, int]], bound: Callable[[int], str]
) -> tuple[list[Bar], list[tuple[str, str]], str, str] | None:
    if len(rows) < 2:  # one bar says nothing
        return None
    first, last = rows[0][0], rows[-1][0]
    step = REPORT_WIDTH / (last - first + 1)
    tallest = max(count for _, count in rows)
    table = [(f"{bound(bin)} to {bound(bin + 1)}", f"{count:,}") for bin, count in rows]
    bars = [
        Bar(
            round((bin - first) * step, 1),
            round(REPORT_HEIGHT - max(1.0, REPORT_HEIGHT * count / tallest), 1),
            round(max(1.0, step - 1), 1),
            round(max(1.0, REPORT_HEIGHT * count / tallest), 1),
            f"{span}: {told}",
        )
        for (bin, count), (span, told) in zip(rows, table, strict=True)
    ]
    return bars, table, bound(first), bound(last + 1)


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
        ("AUROC, the words together", "95%", "first word alone", "another feature's name", "features"),
        [
            [f"{10 - q}", f"{a:.3f}", f"{low:.3f} to {high:.3f}", f"{one:.3f}", f"{null:.3f}", f"{n:,}"]
            for q, a, low, high, one, null, n in rows
        ],
    )  # fmt: skip


def report_view(book: Book, drawn: Sequence[Chart], tenths: Tenths) -> dict[str, Any]:
    """Return what the report shows: eight questions, each with its answer, charts and all metrics.

    Args:
        book: The atlas.
        drawn: Its charts.
        tenths: What read_reliability returns.
    """
    held = by_question(book.metrics)
    return {
        **common(book, links.REPORT, "Report", "report"),
        "questions": [
            {
                "key": question.key,
                "title": question.title,
                "told": headline(book, question),
                "charts": [chart for chart in drawn if chart.question == question.key],
                "metrics": [metric_view(metric) for metric in held[question.key]],
            }
            for question in QUESTIONS
        ],
        "tenths": tenths,
        "compared": any(metric.name == "features_shared" for metric in book.metrics),
        "provenance": sorted(book.facts.items()),
        "n_dead": f"{len(book.dead):,}",
    }


def metric_view(metric: MetricRow) -> dict[str, str]:
    """Return a row of a table of metrics."""
    null = metric.null_value
    return {
        "name": metric.name.replace("_", " ").replace("l0", "L0"),
        "value": metric_value(metric.value, metric.unit),
        "unit": "" if metric.unit == "share" else metric.unit,
        "n": f"{metric.n:,}",
        "null": "" if null is None else metric_value(null, metric.unit),
        "null_name": metric.null_name,
        "published": PUBLISHED_SAE.get(metric.name, ""),
        "command": metric.command,
        "note": metric.note,
    }
