"""The comparison with another atlas: features that both have, and that only one has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from atlas.base.files import read_json, read_parquet
from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import Link, common, feature_link
from atlas.site.text import clean, figure, percent

WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outputs of the stage compare."""

    facts: Mapping[str, Any]
    """The content of compare.json."""
    pairs: Sequence[Mapping[str, Any]]
    """Rows of pairs.parquet: feature, other, cosine, correlation, shown."""
    other: Mapping[int, Mapping[str, Any]]
    """Feature of the other atlas -> its row: name, sensitive, webp."""


class Pair(NamedTuple):
    """A feature and its match in the other atlas."""

    one: Link
    other: Link
    """Without a page, as it belongs to another atlas."""
    cosine: str
    correlation: str


def read_comparison(folder: Path) -> Comparison:
    """Read the folder of the stage compare."""
    rows = read_parquet(folder / "other.parquet").to_pylist()
    return Comparison(
        read_json(folder / "compare.json"),
        read_parquet(folder / "pairs.parquet").to_pylist(),
        {row["feature"]: row for row in rows},
    )


def pictures(comparison: Comparison) -> dict[str, bytes]:
    """Return the icons of the other atlas that the page shows: address -> WebP."""
    return {
        links.other_icon(feature): row["webp"]
        for feature, row in comparison.other.items()
        if row["webp"] is not None
    }


def pairs_record(book: Book, comparison: Comparison) -> dict[str, Any]:
    """Return all pairs, as the JSON file has them."""
    return {
        "id": book.facts["id"],
        "other": comparison.facts["id"],
        "pairs": [
            [row["feature"], row["other"], round(row["cosine"], 4), round(row["correlation"], 4)]
            for row in comparison.pairs
        ],
    }


def compare_view(book: Book, comparison: Comparison) -> dict[str, Any]:
    """Return what the page of the comparison shows."""
    facts = comparison.facts
    shown = sorted(
        (row for row in comparison.pairs if row["shown"]),
        key=lambda row: (-row["correlation"], row["feature"]),
    )
    return {
        **common(book, links.COMPARE, "Beside another atlas", "report"),
        "other_id": facts["id"],
        "other_title": clean(facts["title"]),
        "images": f"{facts['images']:,}",
        "live": (f"{facts['live_a']:,}", f"{facts['live_b']:,}"),
        "both": (percent(facts["both"]), percent(facts["both_null"]), f"{len(comparison.pairs):,}"),
        "rows": [_matching(facts["directions"]), _matching(facts["firing"])],
        "twins": [
            Pair(
                feature_link(row["feature"], "", book),
                other_link(comparison, row["other"], ""),
                f"{row['cosine']:.2f}",
                f"{row['correlation']:.2f}",
            )
            for row in shown
        ],
        "b_lacks": [
            feature_link(row["feature"], f"{row['cosine']:.2f}", book) for row in facts["b_lacks"]
        ],
        "a_lacks": [
            other_link(comparison, row["feature"], f"{row['cosine']:.2f}")
            for row in facts["a_lacks"]
        ],
    }


def other_link(comparison: Comparison, feature: int, value: str) -> Link:
    """Return a feature of the other atlas, without a link."""
    row = comparison.other[feature]
    name = WITHHELD if row["sensitive"] else clean(row["name"])
    thumb = "" if row["webp"] is None else links.other_icon(feature)
    return Link(feature, name, value, thumb, "")


def _matching(row: Mapping[str, Any]) -> list[str]:
    """Return one way of matching as a row of the page's table."""
    labels = {
        "directions": "decoder direction, by cosine",
        "firing": "firing, by correlation over the images",
    }
    cells = [labels[row["by"]]]
    for name in ("mutual", "close"):
        cells += [percent(row[name]), percent(row[f"{name}_null"])]
    return [*cells, figure(row["median"]), figure(row["median_null"]), f"{row['n']:,}"]
