"""What a feature's page shows of its icon: round trip, strip of strengths, where-maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book
from atlas.site.chapter import TRIP_COLUMNS, Chapter
from atlas.site.pages.parts import Link, Picture, feature_link, pictures_of
from atlas.site.text import clean, figure, percent


def stand_in_of(book: Book, chapter: Chapter, feature: int) -> Picture | None:
    """Return the image that stands in for the icon of a feature; None if there is none to show."""
    rows = chapter.icon.get(feature, [])
    if not rows or feature not in book.icons:
        return None
    return pictures_of(rows, book)[0]._replace(thumb=book.icons[feature])


def unpictured(book: Book, chapter: Chapter, feature: int) -> Picture | None:
    """Return the image that would stand in for an icon had it a thumbnail; None if it has one."""
    shown = pictures_of(chapter.icon.get(feature, []), book)
    return shown[0] if shown and not shown[0].thumb else None


def round_trip_record(chapter: Chapter, feature: int) -> dict[str, Any] | None:
    """Return the round trip of a rendered icon by column; None if none was rendered."""
    rows = chapter.trip.get(feature)
    return dict(zip(TRIP_COLUMNS.split(", "), rows[0][1:], strict=True)) if rows else None


STRIP_WIDTH, STRIP_HEIGHT = 280, 56


def strip_view(chapter: Chapter, feature: int) -> dict[str, Any] | None:
    """Return the strip of a feature: strengths, activations, and the points of their curve."""
    rows = chapter.strip.get(feature, [])
    if not rows:
        return None
    step, tallest = STRIP_WIDTH / len(rows), max(max(row[2] for row in rows), 1e-9)
    line = [
        f"{(i + 0.5) * step:.1f},{(STRIP_HEIGHT - 4) * (1 - row[2] / tallest) + 2:.1f}"
        for i, row in enumerate(rows)
    ]
    return {
        "thumb": links.strip(feature),
        "steps": [(figure(strength), figure(on_icon)) for _, strength, on_icon in rows],
        "line": " ".join(line),
    }


class WhereMap(NamedTuple):
    """A top image, covered where it matters little for the feature."""

    thumb: str
    caption: str
    veils: list[tuple[str, str]]
    """(opacity, SVG path of the cells covered, in a grid of 8 by 8), opacity ascending."""
    lost: str
    null: str
    """The same for other features; empty where none fires."""


MAP_CELLS = 8
VEILS = 4
"""Steps of opacity up to 0.8."""


def where_maps(book: Book, chapter: Chapter, feature: int) -> list[WhereMap]:
    """Return the maps of where a feature looks; none for a sensitive image.

    Args:
        book: The atlas.
        chapter: Rows of the feature, among others.
        feature: A live feature; only a sample has maps.
    """
    return [
        WhereMap(
            links.thumbnail(image),
            clean(caption),
            veils(lost),
            percent(max(gray, 0.0)),
            "" if null is None else percent(max(null, 0.0)),
        )
        for _, image, _, _, lost, gray, null, caption, sensitive in chapter.where.get(feature, [])
        if not sensitive and image in book.shown
    ]


def veils(lost: Sequence[float]) -> list[tuple[str, str]]:
    """Return (opacity, SVG path) of a map's cells; the less activation is lost there, the more opaque.

    Args:
        lost: Of each cell of the 8 by 8 grid, row by row, what the feature loses if it is covered.
    """
    most = max(max(lost), 1e-9)
    steps = [VEILS - min(VEILS, max(0, round(VEILS * value / most))) for value in lost]
    return [
        (
            f"{0.8 * step / VEILS:.1f}",
            "".join(
                f"M{i % MAP_CELLS} {i // MAP_CELLS}h1v1h-1z"
                for i, own in enumerate(steps)
                if own == step
            ),
        )
        for step in range(1, VEILS + 1)
        if step in steps
    ]


def effects_view(book: Book, chapter: Chapter, feature: int) -> list[Link]:
    """Return the other features that changed on a feature's icon, with before and after."""
    return [
        feature_link(other, f"{figure(before)} → {figure(after)}", book)
        for _, other, after, before in chapter.effects.get(feature, [])
    ]


ANSWERS = {
    "shown": ("yes", "It makes the feature fire as strongly as its own pictures do."),
    "partly": ("partly", "It makes the feature fire, but less clearly than its own pictures do."),
    "not shown": ("no", "It makes the feature fire no more than an empty picture does."),
}
"""Verdict of a round trip -> whether the model recognizes the icon, and what that means."""


def rendered_view(book: Book, chapter: Chapter, feature: int) -> dict[str, Any] | None:
    """Return what the page shows of a rendered icon; None if none was rendered."""
    trip = round_trip_record(chapter, feature)
    if trip is None:
        return None
    return {
        "thumb": book.icons[feature],
        "answer": ANSWERS[trip["verdict"]][0],
        "meaning": ANSWERS[trip["verdict"]][1],
        "on_icon": figure(trip["on_icon"]),
        "on_template": figure(trip["on_template"]),
        "percentile": percent(trip["percentile"]),
        "rank": f"{trip['icon_rank']:,}",
        "p": f"{trip['p']:.3f}",
        "strength": figure(trip["strength"]),
        "median": figure(book.live[feature].median),
        "seeds": trip["seeds"],
        "strip": strip_view(chapter, feature),
        "effects": effects_view(book, chapter, feature),
    }
