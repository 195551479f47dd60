"""The pages of decomposed images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common, feature_link, picture, split_pages
from atlas.site.queries import read_groups
from atlas.site.text import clean, figure, share_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FEATURES_SHOWN = 60
PICTURES_A_PAGE = 240


@dataclass(frozen=True, slots=True)
class DecomposedImage:
    """An image with its strongest features."""

    image: int
    name: str
    caption: str
    url: str | None
    tags: Sequence[str]
    terms: Sequence[str]
    split: str
    l0: int
    mass: float
    features: Sequence[tuple[int, float]]
    """(feature, activation), strongest first."""


def read_decomposed(db: DuckDBPyConnection, images: Sequence[int]) -> dict[int, DecomposedImage]:
    """Read some of the decomposed images; sensitive ones are left out."""
    wanted = [int(image) for image in images]
    strongest = read_groups(
        db,
        """SELECT image, feature, activation FROM decompositions
           WHERE image IN (SELECT unnest(?)) AND rank < ? ORDER BY image, rank""",
        [wanted, FEATURES_SHOWN],
    )
    names = ("image", "name", "caption", "url", "tags", "terms", "split", "l0", "mass")
    rows = db.execute(
        f"""SELECT {", ".join(names)} FROM images
            WHERE image IN (SELECT unnest(?)) AND NOT sensitive ORDER BY image""",
        [wanted],
    ).fetchall()
    facts = [dict(zip(names, row, strict=True)) for row in rows]
    return {f["image"]: DecomposedImage(**f, features=strongest[f["image"]]) for f in facts}


def image_view(
    book: Book, decomposed: DecomposedImage, example: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the page of an image shows.

    Args:
        book: The atlas.
        decomposed: The image.
        example: What read_example returns, if it is an example image.
    """
    strongest = decomposed.features[0][1] if decomposed.features else 0.0
    at = int(np.searchsorted(book.decomposed, decomposed.image))
    page = links.image_page(decomposed.image)
    caption = clean(decomposed.caption)
    return {
        **common(book, page, caption or f"Image {decomposed.image}", "pictures"),
        "picture": picture(decomposed.image, "", decomposed.caption, book),
        "image": f"{decomposed.image:,}",
        "caption": caption,
        "name": clean(decomposed.name),
        "url": links.outward(decomposed.url),
        "terms": [clean(term) for term in decomposed.terms],
        "tags": [clean(tag) for tag in decomposed.tags],
        "split": decomposed.split,
        **(example or {"branches": [], "knobs": [], "transfers": []}),
        "l0": f"{decomposed.l0:,}",
        "mass": figure(decomposed.mass),
        "features": [
            feature_link(feature, figure(a), book, share_of(a, strongest))
            for feature, a in decomposed.features
            if feature in book.live
        ],
        "left_out": f"{decomposed.l0 - len(decomposed.features):,}"
        if decomposed.l0 > len(decomposed.features)
        else "",
        "before": links.image_page(book.decomposed[at - 1]) if at else "",
        "after": links.image_page(book.decomposed[at + 1]) if at + 1 < len(book.decomposed) else "",
    }


def pictures_views(book: Book, captions: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return what each page of the list of decomposed images shows.

    Args:
        book: The atlas.
        captions: Image -> caption, of all decomposed images.
    """
    return [
        {
            **common(book, links.pictures_page(n), title, "pictures"),
            "number": n,
            "numbers": list(range(1, last + 1)),
            "pages": [links.pictures_page(i) for i in range(1, last + 1)],
            "pictures": [picture(image, "", captions[image], book) for image in some],
            "drawn": [picture(image, "", captions[image], book) for image in book.drawn]
            if n == 1
            else [],
            "examples": [
                picture(image, "", captions[image], book)
                for image in book.examples
                if image not in book.drawn
            ]
            if n == 1
            else [],
            "recurring": f"{len(book.recurring):,}" if book.recurring else "",
            "shown": f"{len(book.decomposed):,}",
        }
        for n, last, some in split_pages(book.decomposed, PICTURES_A_PAGE)
        for title in [f"Pictures, page {n} of {last}" if last > 1 else "Pictures"]
    ]
