"""The game of the home page: which of two icons belongs to a feature's strongest images?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book
from atlas.site.chapter import TOP_SHOWN, distinct_tops
from atlas.site.hash_order import hash_order
from atlas.site.queries import read_groups
from atlas.site.text import percent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROUNDS = 20
PICTURES_A_ROUND = TOP_SHOWN


class Round(NamedTuple):
    """A question: which of two icons belongs to these images?"""

    pictures: list[str]
    """Addresses of the feature's strongest images."""
    icons: list[str]
    """Addresses of the two icons."""
    pages: list[str]
    """Pages of the two features."""
    names: list[str]
    right: int
    """Index of the right answer, 0 or 1."""
    verdict: str
    """Round-trip verdict of the right icon."""


def game_section(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return the rounds of the game, and how well a second encoder plays it; None without icons.

    Features are sampled from all with a rendered icon, including those whose round trip fails:
    a game with the best icons would flatter them. Those that pass are asked first.
    """
    features = [f for f in book.icons if book.icons[f] == links.icon(f)]
    verdicts: dict[int, str] = dict(
        db.execute(
            "SELECT feature, verdict FROM icons WHERE source = 'rendered' ORDER BY feature"
        ).fetchall()
    )
    order = hash_order(features, "round")[: ROUNDS + 1]
    shown = _strongest(db, book, order)
    rounds = [
        Round(
            [links.thumbnail(image) for image in shown[feature]],
            [book.icons[f] for f in pair],
            [links.feature_page(f, book.layout) for f in pair],
            [book.names.get(f, "no name") for f in pair],
            pair.index(feature),
            verdicts[feature],
        )
        for feature, other in pairwise(order)
        for pair in [hash_order((feature, other), "side")]
        if len(shown[feature]) == PICTURES_A_ROUND
    ]
    rounds.sort(key=lambda one: one.verdict != "shown")  # who begins with a failure stops
    return {"rounds": rounds, "judge": _judge(book)} if rounds else None


def _strongest(db: DuckDBPyConnection, book: Book, features: Sequence[int]) -> dict[int, list[int]]:
    """Return the strongest images of each feature whose thumbnails may be shown."""
    query = f"""SELECT feature, image FROM {distinct_tops("feature IN (SELECT unnest(?))")}
                JOIN images USING (image) WHERE NOT sensitive ORDER BY feature, rank"""
    rows = read_groups(db, query, [list(features)])
    return {
        feature: [image for (image,) in rows[feature] if image in book.shown]
        for feature in features
    }


def _judge(book: Book) -> str:
    """Return a sentence on how well a second encoder plays the game, if the build measured it."""
    for metric in book.metrics:
        if metric.name == "icons_two_choice" and metric.null_value is not None:
            return (
                f"Chance is half. A second encoder is right {percent(metric.value)} of the time; "
                f"with the icons shuffled, {percent(metric.null_value)} (n = {metric.n:,})."
            )
    return "Chance is half."
