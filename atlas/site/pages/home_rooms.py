"""The rooms of the home page: a picture opened, a game with icons, and what one change flips.

Nothing is chosen by hand: every choice is a rule or an order by digest, the same on any machine.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atlas.base.tables import SURE
from atlas.site import links
from atlas.site.book import Book
from atlas.site.chapter import TOP_SHOWN, distinct_tops, read_chapter
from atlas.site.pages.example import read_example
from atlas.site.pages.parts import feature_link, picture, pictures_of
from atlas.site.pages.pictures import image_view, read_opened
from atlas.site.text import clean, figure, percent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROUNDS = 20
PICTURES_A_ROUND = TOP_SHOWN
KNOBS_SHOWN = 4
FLIPS_SHOWN = 4
FEWEST_WORDS = 3
"""Captions shorter than this differ in one word by chance."""
PAIRS_COMPARED = 200
LARGEST_GROUP = 40
"""Captions of one pattern that are compared with each other: pairs grow with the square."""


def find_rooms(db: DuckDBPyConnection, book: Book) -> dict[str, Any]:
    """Choose what the home page opens; None where this atlas has nothing for a room.

    Without rendered icons there is no game, and without captions that differ in one word no
    change: a feature from strong to weak and a near miss are shown in their places.
    """
    game, changed = game_room(db, book), changed_room(db, book)
    places = {"film": None, "almost": None} if game and changed else _room_feature(db, book)
    return {"opened": opened_room(db, book), "game": game, "changed": changed, **places}


def in_order(items: Iterable[int], of: str) -> list[int]:
    """Return numbers in an order that looks random and is the same on any machine."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{of} {item}".encode()).digest())


# --- one picture, opened -----------------------------------------------------------------------


def opened_room(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return a picture with its knobs; where none is drawn, one with its strongest features."""
    rows = db.execute("SELECT image FROM examples WHERE drawn ORDER BY rank, image").fetchall()
    image = next((row[0] for row in rows if row[0] in book.drawn), None)
    if image is None:
        return _opened_by_names(db, book)
    knobs = read_example(db, book, image)["knobs"]
    return {**_opened(db, book, image), "knobs": knobs[:KNOBS_SHOWN]} if knobs else None


def _opened(db: DuckDBPyConnection, book: Book, image: int) -> dict[str, Any]:
    view = image_view(book, read_opened(db, [image])[image])
    ((error, norm),) = db.execute(
        "SELECT squared_error, norm FROM images WHERE image = ?", [image]
    ).fetchall()
    return {
        "picture": view["picture"],
        "features": view["features"][:6],
        "page": view["page"],
        "left_out": percent(error / norm**2) if norm else "",
        "knobs": [],
    }


def _opened_by_names(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return the opened picture most of whose parts name one of its eight strongest features."""
    rows = db.execute(
        """SELECT image, count(DISTINCT label) FILTER (contains(lower(array_to_string(terms, ' ')), lower(label))) AS named, len(terms) AS parts
           FROM decompositions JOIN images USING (image) LEFT JOIN labels USING (feature)
           WHERE decompositions.rank < 8 AND NOT sensitive
           GROUP BY image, terms ORDER BY named DESC, parts DESC, image LIMIT 1"""
    ).fetchall()
    return _opened(db, book, rows[0][0]) if rows else None


# --- which icon is it? ---------------------------------------------------------------------------


class Round(NamedTuple):
    """One question: which of two icons belongs to these images?"""

    pictures: list[str]
    """Addresses of the feature's strongest images."""
    icons: list[str]
    """Addresses of the two icons."""
    pages: list[str]
    """Pages of the two features."""
    names: list[str]
    right: int
    """Which of the two it is, 0 or 1."""
    verdict: str
    """Of the round trip of the right one."""


def game_room(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return the rounds of the game, and how well a second encoder plays it.

    Features are taken in the order of a digest among all with a rendered icon, those whose
    round trip fails included: a game of the best ones would flatter the icons.
    """
    features = [f for f in book.icons if book.icons[f] == links.icon(f)]
    verdicts: dict[int, str] = dict(
        db.execute(
            "SELECT feature, verdict FROM icons WHERE source = 'rendered' ORDER BY feature"
        ).fetchall()
    )
    order = in_order(features, "round")[: ROUNDS + 1]
    shown = _strongest(db, order)
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
        for pair in [in_order((feature, other), "side")]
        if len(shown[feature]) == PICTURES_A_ROUND
    ]
    return {"rounds": rounds, "judge": _judge(book)} if rounds else None


def _strongest(db: DuckDBPyConnection, features: Sequence[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for feature, image in db.execute(
        f"""SELECT feature, image FROM {distinct_tops("feature IN (SELECT unnest(?))")}
            JOIN images USING (image) WHERE NOT sensitive ORDER BY feature, rank""",
        [list(features)],
    ).fetchall():
        found[feature].append(image)
    return found


def _judge(book: Book) -> str:
    """Return in a sentence how well a machine plays the game, where the build measured it."""
    for metric in book.metrics:
        if metric.name == "icons_two_choice" and metric.null_value is not None:
            return (
                f"Chance is half. A second encoder is right {percent(metric.value)} of the time; "
                f"with the icons handed round, {percent(metric.null_value)} (n = {metric.n:,})."
            )
    return "Chance is half."


# --- what changed? -------------------------------------------------------------------------------


class Change(NamedTuple):
    """Two images whose captions differ in one word."""

    images: tuple[int, int]
    words: tuple[str, str]


def one_word_apart(captions: Mapping[int, str]) -> list[Change]:
    """Return the pairs of images whose captions differ in exactly one word, ascending.

    Args:
        captions: Of each image; those of fewer than three words are left out.
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


Codes = Mapping[int, Mapping[int, float]]
"""Image -> feature -> activation."""


def flips(codes: Codes, pair: tuple[int, int]) -> tuple[float, float]:
    """Return which share of the features of two images fires on one alone, and of their mass."""
    a, b = codes[pair[0]], codes[pair[1]]
    common = a.keys() & b.keys()
    mass = sum(a.values()) + sum(b.values())
    shared = sum(a[f] + b[f] for f in sorted(common))
    both = len(a.keys() | b.keys())
    return 1 - len(common) / max(both, 1), 1 - shared / mass if mass else 0.0


def changed_room(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return two images that differ in a word, and the features that fire on one alone.

    Of all such pairs, the one whose images share most of their mass: the purest change. Beside
    it the same share between images that have nothing to do with each other.
    """
    captions = dict(
        db.execute(
            "SELECT image, caption FROM images WHERE image IN (SELECT unnest(?)) ORDER BY image",
            [list(book.opened)],
        ).fetchall()
    )
    pairs = one_word_apart({image: clean(text) for image, text in captions.items()})
    if not pairs:
        return None
    strangers = in_order(book.opened, "stranger")[: 2 * PAIRS_COMPARED]
    apart = list(zip(strangers[::2], strangers[1::2], strict=False))
    codes = _codes(db, {image for pair in pairs for image in pair.images} | set(strangers))
    best = min(pairs, key=lambda change: (flips(codes, change.images)[1], change))
    return {
        **_changed(book, codes, best, captions),
        "pairs": f"{len(pairs):,}",
        "null": percent(float(np.median([flips(codes, pair)[0] for pair in apart]))),
        "null_n": f"{len(apart):,}",
    }


def _changed(
    book: Book, codes: Codes, change: Change, captions: Mapping[int, str]
) -> dict[str, Any]:
    one, two = change.images
    every = codes[one].keys() | codes[two].keys()
    sides = []
    for image, other, word in ((one, two, change.words[0]), (two, one, change.words[1])):
        alone = sorted(
            (f for f in codes[image].keys() - codes[other].keys() if f in book.live),
            key=lambda f: (-codes[image][f], f),
        )
        sides.append(
            {
                "word": word,
                "picture": picture(image, "", captions[image], book),
                "alone": [
                    feature_link(f, figure(codes[image][f]), book) for f in alone[:FLIPS_SHOWN]
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
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for image, feature, activation in db.execute(
        """SELECT image, feature, activation FROM decompositions
           WHERE image IN (SELECT unnest(?)) ORDER BY image, rank""",
        [sorted(images)],
    ).fetchall():
        found[image][feature] = activation
    return found


# --- in their places -----------------------------------------------------------------------------


def _room_feature(db: DuckDBPyConnection, book: Book) -> dict[str, Any]:
    rows = db.execute(
        f"""SELECT n.feature, n.image, n.top_image, n.similarity, a.caption, b.caption
           FROM near_misses n JOIN labels l ON l.feature = n.feature AND l.rank = 0
           JOIN images a ON a.image = n.image JOIN images b ON b.image = n.top_image
           JOIN features f ON f.feature = n.feature
           WHERE NOT f.sensitive AND NOT a.sensitive AND NOT b.sensitive AND a.caption <> b.caption
             AND NOT list_has_any(a.terms, b.terms) AND len(a.terms) = 1 AND len(b.terms) = 1
             AND coalesce(n.verdict, 'negative') = 'negative'
           ORDER BY {SURE} DESC, n.similarity DESC, n.feature, n.rank LIMIT 1"""
    ).fetchall()
    if not rows:
        return {"almost": None, "film": None}
    feature, miss, top, similarity, miss_caption, top_caption = rows[0]
    strongest = db.execute(
        f"""SELECT l.feature FROM labels l JOIN features f USING (feature)
           WHERE l.rank = 0 AND NOT f.sensitive AND f.feature <> ? ORDER BY f.count * {SURE} DESC, l.feature LIMIT 1""",
        [feature],
    ).fetchall()
    filmed = strongest[0][0] if strongest else feature
    chapter = read_chapter(db, filmed, filmed + 1)
    return {
        "almost": {
            "link": feature_link(feature, f"{similarity:.2f}", book),
            "fires": picture(top, "fires", top_caption, book),
            "silent": picture(miss, "silent", miss_caption, book),
        },
        "film": {
            "link": feature_link(filmed, "", book),
            "pictures": pictures_of(chapter.film.get(filmed, []), book),
        },
    }
