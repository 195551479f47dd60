"""What several kinds of page share: the frame, images, links to features.

Sensitive images are left out here, before a template sees them, and a sensitive feature shows no
image at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from atlas.site import links
from atlas.site.book import Book, name_of
from atlas.site.text import clean, figure


class Picture(NamedTuple):
    """An image as a page shows it."""

    image: int
    caption: str
    value: str
    """The figure below it; may be empty."""
    thumb: str
    """Empty if it has none: its caption is shown instead."""
    page: str
    """Empty if the image has no page."""
    url: str = ""
    """Where it was found; empty where the site shows no links."""
    remote: bool = False
    """Whether the page loads it from there."""

    @property
    def host(self) -> str:
        """The host of the url, as a link names it."""
        return urlsplit(self.url).netloc.removeprefix("www.")


class Sheets(NamedTuple):
    """How scripts find the thumbnails of a feature."""

    features: int
    """How many features share a sheet; 0 where each picture is a file."""
    twice: bool
    """Whether each sheet has a second one, for dense screens."""


class Link(NamedTuple):
    """A link to a feature."""

    feature: int
    name: str
    """Empty if it has none."""
    value: str
    thumb: str
    """Empty if its images are withheld."""
    page: str
    share: int = 0
    """Length of a bar, 0 to 50."""
    tops: Sequence[int] = ()
    """Its strongest images, where walls show them as files."""


def picture(image: int, value: str, caption: str, book: Book) -> Picture:
    """Return an image as pages show it."""
    page = links.image_page(image) if image in book.has_page else ""
    thumb = links.thumbnail(image) if image in book.shown else ""
    url = "" if thumb else book.urls.get(image, "")
    remote = book.shown.remote and url.startswith("https:")
    return Picture(image, clean(caption), value, thumb, page, url, remote)


def pictures_of(rows: Iterable[tuple[Any, ...]], book: Book) -> list[Picture]:
    """Return rows (feature, image, value, caption, sensitive) as pictures, without sensitive ones."""
    return [
        picture(image, figure(value), caption, book)
        for _, image, value, caption, sensitive in rows
        if not sensitive
    ]


def feature_link(feature: int, value: str, book: Book, share: int = 0) -> Link:
    """Return a link to a feature.

    Args:
        feature: A live feature.
        value: The figure below it; may be empty.
        book: The atlas.
        share: Length of a bar, 0 to 50.
    """
    return Link(
        feature,
        "withheld" if book.live[feature].sensitive else name_of(book, feature),
        value,
        book.icons.get(feature, ""),
        links.feature_page(feature, book.layout),
        share,
        book.tops.get(feature, ()),
    )


def common(book: Book, page: str, title: str, section: str = "") -> dict[str, Any]:
    """Return what the frame around every page shows."""
    facts = book.facts
    return {
        "page": page,
        "address": page,
        "base_url": book.base_url,
        "card": links.CARD if book.icons else "",
        "oembed": "",
        "title": title,
        "section": section,
        "site_title": facts["title"],
        "note": facts["note"],
        "credit": facts["credit"],
        "license_url": links.outward(facts.get("license_url")),
        "synthetic": facts["synthetic"] == "true",
        "unfit": facts.get("unfit", ""),
        "atlas_id": facts["id"],
        "joined": book.joined,
        "sheets": _sheets(book),
        "remote": book.shown.remote,
        "linked": book.shown.linked,
        "media": book.media,
        "owner_url": links.outward(facts["owner_url"]),
        "n_live": f"{len(book.live):,}",
        "n_features": f"{book.n_features:,}",
    }


def _sheets(book: Book) -> Sheets:
    if not book.joined or not book.shown.thumbnails.any():
        return Sheets(0, False)
    return Sheets(links.features_a_sheet(book.layout), book.thumbnails_2x)


def split_pages(items: Sequence[Any], a_page: int) -> list[tuple[int, int, Sequence[Any]]]:
    """Split a list into pages: (page number, last page number, items); one page if empty."""
    last = max(1, math.ceil(len(items) / a_page))
    return [(n, last, items[(n - 1) * a_page : n * a_page]) for n in range(1, last + 1)]
