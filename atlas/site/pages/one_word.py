"""What changes between two images whose captions differ in one word, for the home page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.base.text import holds_name, plain_words
from atlas.site.book import Book
from atlas.site.hash_order import hash_order
from atlas.site.pages.parts import feature_link, picture
from atlas.site.queries import read_groups
from atlas.site.text import clean, figure, percent
from atlas.study.unfit_names import shows_people

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FLIPS_SHOWN = 3
FEWEST_WORDS = 3
"""Shorter captions differ in one word by chance."""
PAIRS_COMPARED = 200
BODY = frozenset(["skin", "body", "hand", "hair"])
"""Words of texts about people beside those of study.unfit_names."""
LARGEST_GROUP = 40
"""Captions of one pattern that are compared: pairs grow with the square."""


class Change(NamedTuple):
    """Two images whose captions differ in one word."""

    images: tuple[int, int]
    words: tuple[str, str]


def one_word_apart(captions: Mapping[int, str]) -> list[Change]:
    """Return the pairs of images whose captions differ in exactly one word, ascending.

    Args:
        captions: Image -> caption; captions of fewer than three words are left out.
    """
    alike: dict[tuple[str, ...], list[tuple[int, str]]] = defaultdict(list)
    for image in sorted(captions):
        words = captions[image].split()
        if len(words) >= FEWEST_WORDS:
            for i, word in enumerate(words):
                alike[(*words[:i], "", *words[i + 1 :])].append((image, word))
    return sorted(
        Change((a, b), (word, other))
        for held in alike.values()
        for (a, word), (b, other) in combinations(held[:LARGEST_GROUP], 2)
        if word != other
    )


def of_things(caption: str, tags: Iterable[str]) -> bool:
    """Return whether a picture is of things rather than people, by its words."""
    words = frozenset(word for text in (caption, *tags) for word in plain_words(text))
    return not words & BODY and not shows_people([words])


Codes = Mapping[int, Mapping[int, float]]
"""Image -> feature -> activation."""


def flips(codes: Codes, pair: tuple[int, int]) -> tuple[float, float]:
    """Return the share of two images' features that fire on only one of them, and their share of the mass."""
    a, b = codes[pair[0]], codes[pair[1]]
    common = a.keys() & b.keys()
    mass = sum(a.values()) + sum(b.values())
    shared = sum(a[f] + b[f] for f in sorted(common))
    both = len(a.keys() | b.keys())
    return 1 - len(common) / max(both, 1), 1 - shared / mass if mass else 0.0


def one_word_section(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return two images whose captions differ in one word, and the features that fire on only one.

    First come pairs of which the strongest such feature of each image is named after the word that
    only its caption has, then those of most features shown that are named after something in their
    picture, then those that share most of their mass. Beside its share of
    features that fire on only one image stands the median of that share for random pairs. Pictures of
    people are left out: one person in two skin tones is no curiosity. None if no captions differ in
    one word.
    """
    rows = db.execute(
        "SELECT image, caption, tags FROM images WHERE image IN (SELECT unnest(?)) ORDER BY image",
        [list(book.decomposed)],
    ).fetchall()
    texts = {image: (caption, *tags) for image, caption, tags in rows if of_things(caption, tags)}
    captions = {image: text[0] for image, text in texts.items()}
    pairs = one_word_apart({image: clean(text) for image, text in captions.items()})
    if not pairs:
        return None
    strangers = hash_order(book.decomposed, "stranger")[: 2 * PAIRS_COMPARED]
    apart = list(zip(strangers[::2], strangers[1::2], strict=False))
    codes = _codes(db, {image for pair in pairs for image in pair.images} | set(strangers))
    best = max(
        pairs, key=lambda change: (*_told(book, codes, change, texts), _shared(codes, change))
    )
    return {
        **_changed(book, codes, best, captions),
        "pairs": f"{len(pairs):,}",
        "null": percent(float(np.median([flips(codes, pair)[0] for pair in apart]))),
        "null_n": f"{len(apart):,}",
    }


def _alone(book: Book, codes: Codes, image: int, other: int) -> list[int]:
    """Return the features that fire on one image and not on another, the strongest first."""
    found = [f for f in codes[image].keys() - codes[other].keys() if f in book.live]
    return sorted(found, key=lambda f: (-codes[image][f], f))[:FLIPS_SHOWN]


def _told(
    book: Book, codes: Codes, change: Change, texts: Mapping[int, Sequence[str]]
) -> tuple[bool, int]:
    """Return whether each first feature is named by the word that differs, and how many names hold."""
    one, two = change.images
    firsts, held = [], 0
    for image, other, word in ((one, two, change.words[0]), (two, one, change.words[1])):
        names = [book.names.get(f, "") for f in _alone(book, codes, image, other)]
        firsts.append(bool(names) and holds_name(word, names[0]))
        held += sum(holds_name(" ".join(texts[image]), name) for name in names)
    return all(firsts), held


def _shared(codes: Codes, change: Change) -> tuple[float, tuple[int, int]]:
    """Return the share of mass that two images have in common; of equal ones the first pair's is more."""
    one, two = change.images
    return 1 - flips(codes, change.images)[1], (-one, -two)


def _changed(
    book: Book, codes: Codes, change: Change, captions: Mapping[int, str]
) -> dict[str, Any]:
    one, two = change.images
    every = codes[one].keys() | codes[two].keys()
    sides = []
    for image, other, word in ((one, two, change.words[0]), (two, one, change.words[1])):
        sides.append(
            {
                "word": word,
                "picture": picture(image, "", captions[image], book),
                "alone": [
                    feature_link(f, figure(codes[image][f]), book)
                    for f in _alone(book, codes, image, other)
                ],
            }
        )
    share = flips(codes, change.images)[0]
    return {
        "sides": sides,
        "n_flips": f"{round(share * len(every)):,}",
        "n_all": f"{len(every):,}",
        "share": percent(share),
    }


def _codes(db: DuckDBPyConnection, images: Iterable[int]) -> Codes:
    """Return the activations of some decomposed images."""
    query = """SELECT image, feature, activation FROM decompositions
               WHERE image IN (SELECT unnest(?)) ORDER BY image, rank"""
    wanted = sorted(images)
    rows = read_groups(db, query, [wanted])
    return {image: dict(rows[image]) for image in wanted}
