"""What changed between two builds of an atlas: features' names, verdicts and pictures, and headline figures."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.lookup.atlas import TOP_IMAGES_SHOWN, Atlas
from atlas.site import links

FEATURES = f"""
    SELECT f.feature, coalesce(n.name, ''),
           CASE WHEN NOT f.alive THEN 'dead' WHEN f.sensitive THEN 'withheld'
                WHEN n.name IS NULL THEN 'no name' ELSE 'named' END,
           coalesce(i.verdict, ''), coalesce(s.pictures, []),
           CASE WHEN i.feature IS NULL THEN '' WHEN i.image IS NULL
                THEN 'drawn at ' || round(i.strength, 4) || ', ' || round(i.on_icon, 4)
                ELSE 'picture ' || i.image END
    FROM features f
    LEFT JOIN names n USING (feature)
    LEFT JOIN icons i USING (feature)
    LEFT JOIN (SELECT feature, list(picture ORDER BY rank)[:{TOP_IMAGES_SHOWN}] pictures
               FROM (SELECT t.feature, min(t.rank) AS rank,
                            arg_min(coalesce(nullif(m.name, ''), 'image ' || t.image), t.rank) AS picture
                     FROM top_images t JOIN images m USING (image) WHERE NOT m.sensitive
                     GROUP BY t.feature, coalesce(m.duplicate_of, t.image))
               GROUP BY feature) s ON s.feature = f.feature
    ORDER BY f.feature"""
"""A feature's name, how that stands, its icon's verdict, its strongest pictures, what its icon is.

As on the site, whose tables have no others: nothing withheld, and of repeated pictures the first."""


@dataclass(frozen=True, slots=True)
class State:
    """What a reader sees of a feature."""

    name: str
    """Empty where it has none."""
    verdict: str
    """named, no name, withheld or dead; with an icon its round trip: "named; icon shown"."""
    pictures: tuple[str, ...]
    """Names of its nine strongest images, the strongest first."""
    icon: str
    """What its icon is: a picture's number, or the strengths it was drawn and read at."""


@dataclass(frozen=True, slots=True)
class Change:
    """A feature that changed."""

    feature: int
    what: tuple[str, ...]
    """Of name, verdict, pictures and icon, those that differ."""
    old: State
    new: State
    page: str
    """In the new site, relative to its root."""

    @property
    def gone(self) -> tuple[str, ...]:
        """Pictures that are no longer among its strongest."""
        return tuple(one for one in self.old.pictures if one not in self.new.pictures)

    @property
    def come(self) -> tuple[str, ...]:
        """Pictures that were not among its strongest."""
        return tuple(one for one in self.new.pictures if one not in self.old.pictures)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the report that changed; None where an atlas lacks it."""

    name: str
    unit: str
    old: float | None
    new: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two atlases."""

    place: str
    id: str
    title: str
    n_features: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one atlas to another."""

    old: Side
    new: Side
    same_sae: bool
    """False: feature numbers mean different features, so features are not compared."""
    features: tuple[Change, ...]
    """By number."""
    figures: tuple[Figure, ...]
    """By name."""

    @property
    def counts(self) -> dict[str, int]:
        """How many features changed in each way."""
        kinds = ("name", "verdict", "pictures", "icon")
        return {kind: sum(kind in one.what for one in self.features) for kind in kinds}


def diff(old: str, new: str) -> Difference:
    """Compare two builds of an atlas.

    Args:
        old: An atlas, a bundle or a published site, by whatever atlas.open takes.
        new: Another one.

    Raises:
        MissingError: There is no atlas.
        InputError: One is damaged, or of a later version.
    """
    with Atlas(old) as a, Atlas(new) as b:
        same = a.provenance.get("sae_digest") == b.provenance.get("sae_digest")
        features = tuple(_changes(a, b)) if same else ()
        return Difference(_side(a), _side(b), same, features, _figures(a, b))


def _side(opened: Atlas) -> Side:
    title = opened.provenance.get("title", "")
    return Side(opened.place, opened.id, title, opened.n_features)


def _changes(old: Atlas, new: Atlas) -> list[Change]:
    before, after = _states(old), _states(new)
    found = []
    for feature in sorted(before.keys() & after.keys()):
        a, b = before[feature], after[feature]
        kinds = ("name", "verdict", "pictures", "icon")
        what = tuple(kind for kind in kinds if getattr(a, kind) != getattr(b, kind))
        if what:
            page = links.feature_page(feature, new.layout) if "dead" not in b.verdict else ""
            found.append(Change(feature, what, a, b, page))
    return found


def _states(opened: Atlas) -> dict[int, State]:
    states = {}
    for feature, name, standing, icon_verdict, pictures, icon in opened.rows(FEATURES):
        withheld = standing == "withheld"
        verdict = f"{standing}; icon {icon_verdict}" if icon_verdict else standing
        # What is withheld has neither name nor pictures, whichever catalog is asked.
        shown = ("", ()) if withheld else (name, tuple(pictures))
        states[feature] = State(shown[0], verdict, shown[1], "" if withheld else icon)
    return states


def _figures(old: Atlas, new: Atlas) -> tuple[Figure, ...]:
    before, after = ({one.name: one for one in opened.report()} for opened in (old, new))
    found = []
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name), after.get(name)
        values = (a.value if a else None, b.value if b else None)
        if values[0] != values[1]:
            unit = (b or a).unit  # type: ignore[union-attr]  # a name is of one of them
            found.append(Figure(name, unit, *values))
    return tuple(found)
