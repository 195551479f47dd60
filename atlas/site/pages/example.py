"""The concepts of an example image, coarse and fine, with their knobs and transfers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from atlas.site import links
from atlas.site.book import Book
from atlas.site.pages.parts import Link, Picture, feature_link, picture
from atlas.site.queries import read_groups
from atlas.site.text import figure, percent, share_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CONCEPT_FEATURES_SHOWN = 3
ELSEWHERE_SHOWN = 4


class Concept(NamedTuple):
    """A concept of an example image."""

    names: list[Link]
    """Its strongest features."""
    more: int
    """Features beyond these."""
    mass: str
    share: str
    bar: int
    """Its share of the mass, in fiftieths."""
    stability: str
    icon: str
    """Its own if it was rendered, else that of its strongest feature; empty if withheld."""
    drawn: bool
    recurring: str
    """Page of the recurring concept that it is near; may be empty."""
    elsewhere: list[Picture]
    """Images with the most similar concepts."""


class Branch(NamedTuple):
    """A coarse concept, and the fine ones whose largest share of mass lies in it."""

    coarse: Concept
    fine: list[tuple[Concept, str]]
    """(concept, share of its mass that lies in the coarse one)."""


class Knob(NamedTuple):
    """The image rendered with one coarse concept at several gains."""

    concept: int
    thumb: str
    names: list[Link]
    more: int
    share: str
    bar: int
    """That share in fiftieths."""
    icon: str
    steps: list[tuple[str, str]]
    """(gain, mass of the concept on that picture), gains ascending."""


class Transfer(NamedTuple):
    """An example image rendered with a concept of another one."""

    source: Picture
    names: list[Link]
    icon: str
    thumb: str
    before: str
    after: str


def read_example(db: DuckDBPyConnection, book: Book, image: int) -> dict[str, Any]:
    """Return what the page of an image shows of its concepts."""
    coarse, fine = (_concepts(db, book, image, tau) for tau in ("coarse", "fine"))
    shared = db.execute(
        """SELECT f.concept, c.concept, sum(f.activation) AS common FROM concept_features f
           JOIN concept_features c ON c.image = f.image AND c.feature = f.feature AND c.tau = 'coarse'
           WHERE f.image = ? AND f.tau = 'fine' GROUP BY ALL ORDER BY f.concept, common DESC, c.concept""",
        [image],
    ).fetchall()
    branches = [Branch(concept, []) for concept in coarse]
    for number, group in groupby(shared, key=lambda row: row[0]):
        parts = list(group)
        share = parts[0][2] / sum(common for _, _, common in parts)
        branches[parts[0][1]].fine.append((fine[number], percent(share)))
    ((by_hand,),) = db.execute("SELECT by_hand FROM examples WHERE image = ?", [image]).fetchall()
    return {
        "branches": branches or [Branch(concept, []) for concept in fine],
        "by_hand": by_hand,
        **taus_view(book.facts),
        "knobs": _knobs(db, image, coarse),
        "transfers": _transfers(db, book, image),
    }


def _concepts(db: DuckDBPyConnection, book: Book, image: int, tau: str) -> list[Concept]:
    rows = db.execute(
        """SELECT concept, mass, mass_share, stability, recurring, mass_on_icon FROM concepts
           WHERE image = ? AND tau = ? ORDER BY concept""",
        [image, tau],
    ).fetchall()
    found, elsewhere = [], _elsewhere(db, book, image, tau)
    features = _concept_features(db, image, tau)
    for concept, mass, share, stability, recurring, mass_on_icon in rows:
        names, more = _first_links(features[concept], book)
        drawn = mass_on_icon is not None
        icon = links.concept_icon(image, concept) if drawn else names[0].thumb
        page = "" if recurring is None else links.concept_page(recurring)
        found.append(
            Concept(
                names,
                more,
                figure(mass),
                percent(share),
                share_of(share, 1.0),
                f"{stability:.2f}",
                icon,
                drawn,
                page,
                elsewhere.get(concept, []),
            )
        )
    return found


def _elsewhere(
    db: DuckDBPyConnection, book: Book, image: int, tau: str
) -> dict[int, list[Picture]]:
    """Return the images of the nearest concepts in other images, by concept."""
    nearest = read_groups(
        db,
        """SELECT n.concept, n.other_image, n.cosine, i.caption FROM concept_neighbors n
           JOIN images i ON i.image = n.other_image
           WHERE n.image = ? AND n.tau = ? AND NOT i.sensitive ORDER BY n.concept, n.rank""",
        [image, tau],
    )
    return {
        concept: [
            picture(other, f"{cosine:.2f}", caption, book)
            for other, cosine, caption in rows[:ELSEWHERE_SHOWN]
        ]
        for concept, rows in nearest.items()
    }


def _knobs(db: DuckDBPyConnection, image: int, coarse: Sequence[Concept]) -> list[Knob]:
    """Return a knob for each coarse concept that was rendered at several gains."""
    query = "SELECT concept, gain, mass FROM knobs WHERE image = ? ORDER BY concept, gain"
    steps = {
        concept: [(f"{gain:g}", mass) for gain, mass in against_usual(rows)]
        for concept, rows in read_groups(db, query, [image]).items()
    }
    return [
        Knob(n, links.knob(image, n), c.names, c.more, c.share, c.bar, c.icon, steps[n])
        for n, c in enumerate(coarse)
        if n in steps
    ]


def taus_view(facts: Mapping[str, str]) -> dict[str, str]:
    """Return the thresholds of concepts, as they are for this model and as they were set."""
    scale = float(facts["tau_scale"])
    found = {"tau_scale": figure(scale)}
    for name in ("tau_coarse", "tau_fine"):
        tau = float(facts[name])
        found |= {name: figure(tau), f"{name}_set": f"{round(tau / scale, 3):g}"}
    return found


def against_usual(masses: Sequence[tuple[float, float]]) -> list[tuple[float, str]]:
    """Return each gain with its mass over that at gain 1; the mass itself where that is none."""
    usual = dict(masses).get(1.0, 0.0)
    return [(gain, percent(mass / usual) if usual > 0 else figure(mass)) for gain, mass in masses]


def _transfers(db: DuckDBPyConnection, book: Book, image: int) -> list[Transfer]:
    return [
        Transfer(
            picture(source, "", caption, book),
            _first_links(_concept_features(db, source, "coarse")[concept], book)[0],
            links.concept_icon(source, concept),
            links.transfer(image, source),
            figure(before),
            figure(after),
        )
        for source, concept, before, after, caption in db.execute(
            """SELECT t.source, t.concept, t.mass_before, t.mass_after, i.caption
               FROM transfers t JOIN images i ON i.image = t.source
               WHERE t.image = ? AND NOT i.sensitive ORDER BY t.source""",
            [image],
        ).fetchall()
    ]


def _concept_features(
    db: DuckDBPyConnection, image: int, tau: str
) -> dict[int, list[tuple[int, float]]]:
    """Return each concept's (feature, activation), strongest first."""
    return read_groups(
        db,
        """SELECT concept, feature, activation FROM concept_features
           WHERE image = ? AND tau = ? ORDER BY concept, activation DESC, feature""",
        [image, tau],
    )


def _first_links(rows: list[tuple[int, float]], book: Book) -> tuple[list[Link], int]:
    """Return links to the strongest features, and how many others there are."""
    shown = [feature_link(f, figure(a), book) for f, a in rows[:CONCEPT_FEATURES_SHOWN]]
    return shown, len(rows) - len(shown)
