"""The search page, with the lists of labels by first letter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import common, feature_link
from atlas.site.text import percent


def words_views(book: Book) -> list[dict[str, Any]]:
    """Return what each list of first labels shows, one page a letter."""
    by_letter: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for feature, name in book.names.items():
        if feature in book.live and not book.live[feature].sensitive:
            first = name[:1].lower()
            by_letter[first if "a" <= first <= "z" else links.OTHER][name].append(feature)
    letters = sorted(by_letter, key=lambda letter: (letter == links.OTHER, letter))
    pages = [(letter, links.words_page(letter)) for letter in letters]
    return [
        {
            **common(book, links.words_page(letter), f"Labels: {letter}", "search"),
            "letter": letter,
            "letters": pages,
            "words": [
                (name, [feature_link(f, "", book) for f in features])
                for name, features in sorted(
                    by_letter[letter].items(), key=lambda item: (item[0].lower(), item[0])
                )
            ],
        }
        for letter in letters
    ]


def search_view(book: Book, letters: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what the search page shows before a query.

    Args:
        book: The atlas.
        letters: (letter, page) of the lists of labels.
    """
    common_names = sorted(
        (f for f in book.order if f in book.names and f in book.icons),
        key=lambda f: (-book.live[f].mass_share, f),
    )
    return {
        **common(book, links.SEARCH, "Search", "search"),
        "letters": letters,
        "suggested": [feature_link(f, "", book) for f in common_names[:24]],
        "recall": [
            (percent(m.value), percent(m.null_value), f"{m.n:,}")
            for m in book.metrics
            if m.name == "search_recall_at_10" and m.null_value is not None
        ],
    }
