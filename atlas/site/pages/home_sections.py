"""The sections of the home page: an image decomposed, a game with icons, and what one word changes.

Nothing is chosen by hand: every choice is a rule or an order by digest, the same on any machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas.base.tables import SURE
from atlas.base.text import BETWEEN, holds_name
from atlas.site.book import Book
from atlas.site.chapter import read_chapter
from atlas.site.pages.example import read_example
from atlas.site.pages.game import game_section
from atlas.site.pages.one_word import one_word_section
from atlas.site.pages.parts import feature_link, picture, pictures_of
from atlas.site.pages.pictures import image_view, read_decomposed
from atlas.site.text import percent

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KNOBS_SHOWN = 4


def choose_sections(db: DuckDBPyConnection, book: Book) -> dict[str, Any]:
    """Return what each section of the home page shows; None where this atlas has nothing for it.

    The game needs rendered icons, and the change captions that differ in one word. If either is
    missing, a feature from strong to weak and a near miss are shown instead.
    """
    game, changed = game_section(db, book), one_word_section(db, book)
    instead = {"film": None, "almost": None} if game and changed else _film_and_near_miss(db, book)
    return {"opened": image_section(db, book), "game": game, "changed": changed, **instead}


def image_section(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return an image with its knobs; if none was rendered, one with its strongest features."""
    image = most_telling(db, book)
    if image is None:
        return _best_named(db, book)
    knobs = read_example(db, book, image)["knobs"]
    return {**_decomposed(db, book, image), "knobs": knobs[:KNOBS_SHOWN]} if knobs else None


def most_telling(db: DuckDBPyConnection, book: Book) -> int | None:
    """Return the image with knobs of which most concepts are named after something that it shows.

    A concept's name is that of its strongest feature. Of equal ones the image of most things comes
    first, then the first by rank.
    """
    rows = db.execute(
        """WITH first AS (SELECT image, arg_max(feature, activation) AS feature
                          FROM concept_features WHERE tau = 'coarse' GROUP BY image, concept)
           SELECT e.image, terms, concat_ws(' ', caption, array_to_string(tags, ' ')), list(n.name)
           FROM examples e JOIN images i USING (image) LEFT JOIN first USING (image)
           LEFT JOIN names n USING (feature)
           WHERE drawn GROUP BY e.image, e.rank, terms, caption, tags ORDER BY e.rank, e.image"""
    ).fetchall()
    told = [
        (
            len({name.split(BETWEEN)[0] for name in names if name and holds_name(text, name)}),
            len(terms or ()),
            image,
        )
        for image, terms, text, names in rows
        if image in book.drawn
    ]
    return max(told, key=lambda one: one[:2], default=(0, 0, None))[2]


def _decomposed(db: DuckDBPyConnection, book: Book, image: int) -> dict[str, Any]:
    view = image_view(book, read_decomposed(db, [image])[image])
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


def _best_named(db: DuckDBPyConnection, book: Book) -> dict[str, Any] | None:
    """Return the image whose terms contain the most names of its eight strongest features."""
    rows = db.execute(
        """SELECT image, count(DISTINCT label) FILTER (contains(lower(array_to_string(terms, ' ')), lower(label))) AS named, len(terms) AS parts
           FROM decompositions JOIN images USING (image) LEFT JOIN names USING (feature)
           WHERE decompositions.rank < 8 AND NOT sensitive
           GROUP BY image, terms ORDER BY named DESC, parts DESC, image LIMIT 1"""
    ).fetchall()
    return _decomposed(db, book, rows[0][0]) if rows else None


def _film_and_near_miss(db: DuckDBPyConnection, book: Book) -> dict[str, Any]:
    rows = db.execute(
        f"""SELECT n.feature, n.image, n.top_image, n.similarity, a.caption, b.caption
           FROM near_misses n JOIN labels l ON l.feature = n.feature AND l.rank = 0 AND NOT l.perhaps
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
           WHERE l.rank = 0 AND NOT l.perhaps AND NOT f.sensitive AND f.feature <> ? ORDER BY f.count * {SURE} DESC, l.feature LIMIT 1""",
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
