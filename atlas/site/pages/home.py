"""The home page, except for its sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common, feature_link
from atlas.site.pages.questions import PUBLISHED_SAE
from atlas.site.text import metric_value, percent
from atlas.study.map import wall

WALL_COLUMNS, WALL_ROWS = 14, 7
STEP_ICONS = 4
UNRECOGNIZED = 0.01
"""Weight of a feature whose icon the model does not recognize, when one is chosen for the wall."""


def home_view(book: Book, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the home page shows.

    Args:
        book: The atlas.
        sections: What home_sections.choose_sections returns.
    """
    return {
        **common(book, links.HOME, book.facts["title"]),
        "wall": [feature_link(f, percent(book.live[f].density), book) for f in home_wall(book)],
        "line": home_line(book),
        "steps": three_steps(sections["opened"]),
        **sections,
    }


def three_steps(opened: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what the atlas does in three pictures: an image, its features, a concept turned off.

    The concept turned off is the smallest of those with knobs: what is left should be recognized.

    Args:
        opened: What home_sections.image_section returns.

    Returns:
        None where there is no picture, no knobs, or no icons.
    """
    if not opened or len(opened["knobs"]) < 2 or not opened["picture"].thumb:
        return None
    features = [item for item in opened["features"] if item.thumb][:STEP_ICONS]
    off = opened["knobs"][-1]
    names = [item.name for item in off.names if item.name and item.thumb]
    if len(features) < STEP_ICONS or not names:
        return None
    return {
        "page": opened["page"],
        "picture": opened["picture"].thumb,
        "caption": opened["picture"].caption or "A picture",
        "features": features,
        "knob": off.thumb,
        "off": names[0],
    }


def home_wall(book: Book) -> list[int]:
    """Return the features of the home page's wall: of each part of the map the best-named one.

    Where icons were rendered, those that the model recognizes come first.
    """
    shown = [f for f in book.order if f in book.icons] or list(book.order)
    if not shown:
        return []
    seen: set[str] = set()
    worth = np.zeros(len(shown))
    for i in sorted(range(len(shown)), key=lambda i: (-book.live[shown[i]].max, shown[i])):
        look = book.icons.get(shown[i]) or book.names.get(shown[i], "")
        fresh = look not in seen
        seen.add(look)
        worth[i] = (book.sure.get(shown[i], 0.0) + 0.01) * (1.0 if fresh else 0.01)
        if book.recognized and shown[i] not in book.recognized:
            worth[i] *= UNRECOGNIZED
    rows = [book.live[f] for f in shown]
    x = np.array([r.map_x for r in rows], np.float32)
    y = np.array([r.map_y for r in rows], np.float32)
    return [shown[i] for i in wall(x, y, worth, WALL_COLUMNS, WALL_ROWS)]


class Headline(NamedTuple):
    """A metric on the home page."""

    value: str
    words: str
    null: str
    """Its baseline with the value; may be empty."""
    n: str
    published: str
    """Value of the published SAE, not reproduced here; may be empty."""
    command: str


HEADLINES = (
    ("alive", "alive"),
    ("dead_share", "never fire"),
    ("images", "images scanned"),
    ("l0_mean", "features fire on an image"),
    ("explained_variance_heldout", "of variance explained, held out"),
    ("icons_round_trip_shown", "of icons make the round trip"),
    ("names_right", "features whose name is in the captions of half of their strongest pictures"),
    ("names_right_unseen", "the same of pictures that had no say in the name"),
    ("search_precision_at_10", "of the first ten found are right"),
)


def home_line(book: Book) -> list[Headline]:
    """Return the headline metrics, each with its baseline, n and command."""
    found = {metric.name: metric for metric in book.metrics}
    line = []
    for name, words in HEADLINES:
        if name not in found:
            continue
        metric = found[name]
        shown = percent if metric.unit == "share" else _of_unit(metric.unit)
        null = "" if metric.null_value is None else f"{metric.null_name} {shown(metric.null_value)}"
        meaning = f"alive of {book.n_features:,} features" if name == "alive" else words
        published = PUBLISHED_SAE.get(name.removesuffix("_heldout"), "")
        line.append(
            Headline(shown(metric.value), meaning, null, f"{metric.n:,}", published, metric.command)
        )
    return line


def _of_unit(unit: str) -> Callable[[float], str]:
    return lambda value: metric_value(value, unit)
