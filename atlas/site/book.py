"""What every page may need, read from the catalog once: facts, live features, names, icons, figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.base.tables import SURE
from atlas.settings.site import SiteSettings
from atlas.site import links
from atlas.site.text import clean
from atlas.study.map_order import map_order

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CONCEPT_NAMES_SHOWN = 2


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A live feature's own figures, as the catalog has them."""

    feature: int
    count: int
    density: float
    mean: float
    median: float
    max: float
    mass_share: float
    decoder_norm: float
    selectivity: float
    monosemanticity: float | None
    map_x: float
    map_y: float
    sensitive: bool


class MetricRow(NamedTuple):
    """A figure of the whole."""

    name: str
    value: float
    unit: str
    n: int
    null_value: float | None
    null_name: str
    command: str
    note: str


@dataclass(frozen=True, slots=True)
class Book:
    """What every page may need: small, and read once."""

    facts: Mapping[str, str]
    n_features: int
    live: Mapping[int, FeatureRow]
    dead: Sequence[int]
    names: Mapping[int, str]
    """First label of each feature that has one."""
    sure: Mapping[int, float]
    """How far to trust that label, 0 to 1."""
    icons: Mapping[int, str]
    """Feature -> address of the picture that stands for it; only where it may be shown."""
    opened: Sequence[int]
    """Images that have a page, ascending; none sensitive."""
    paged: frozenset[int]
    """The same images, to ask for one."""
    examples: Sequence[int]
    """Those of them whose concepts are shown."""
    drawn: Sequence[int]
    """Those of the examples that have knobs."""
    recurring: Mapping[int, tuple[str, str]]
    """Recurring concept -> its name and the address of the picture that stands for it."""
    metrics: Sequence[MetricRow]
    order: Sequence[int]
    """The features that walls show, in the order of the map; none sensitive."""
    layout: str
    """As site.layout has it: decides where a feature's page lies."""
    media: str
    """As site.media_base_url has it: where pictures are published; empty where with the pages."""
    joined: bool
    """Whether icons and the features' thumbnails lie in sheets."""
    icons_2x: bool = False
    """Whether sheets of icons have a second one beside them for dense screens."""


ROW_FIELDS = tuple(field.name for field in fields(FeatureRow))


def read_book(db: DuckDBPyConnection, site: SiteSettings | None = None) -> Book:
    """Read what every page may need; without settings, for their defaults."""
    site = site or SiteSettings()
    columns = ", ".join(ROW_FIELDS)
    live = {
        row[0]: FeatureRow(*row)
        for row in db.execute(
            f"SELECT {columns} FROM features WHERE alive ORDER BY feature"
        ).fetchall()
    }
    dead = db.execute("SELECT feature FROM features WHERE NOT alive ORDER BY feature").fetchall()
    labels = db.execute(
        f"SELECT feature, label, {SURE} FROM labels WHERE rank = 0 ORDER BY feature"
    ).fetchall()
    icons = db.execute(
        """SELECT feature, image FROM icons LEFT JOIN images USING (image)
           WHERE NOT coalesce(sensitive, false) ORDER BY feature"""
    ).fetchall()
    opened = db.execute(
        """SELECT DISTINCT image FROM decompositions JOIN images USING (image)
           WHERE NOT sensitive ORDER BY image"""
    ).fetchall()
    examples = db.execute(
        """SELECT image, drawn FROM examples JOIN images USING (image)
           WHERE NOT sensitive ORDER BY image"""
    ).fetchall()
    metrics = db.execute(
        f"SELECT {', '.join(MetricRow._fields)} FROM metrics ORDER BY name"
    ).fetchall()
    heads = db.execute(
        "SELECT recurring, feature FROM recurring_features ORDER BY recurring, rank"
    ).fetchall()
    shown = [row for row in live.values() if not row.sensitive]
    x, y = (np.array([getattr(r, axis) for r in shown], np.float32) for axis in ("map_x", "map_y"))
    names = {feature: clean(label) for feature, label, _ in labels}
    order = [shown[i].feature for i in map_order(x, y)] if shown else []
    addresses = _icon_addresses(icons, order, site)
    return Book(
        facts=dict(db.execute("SELECT key, value FROM provenance").fetchall()),
        n_features=len(live) + len(dead),
        live=live,
        dead=[row[0] for row in dead],
        names=names,
        sure={feature: score for feature, _, score in labels},
        icons=addresses,
        opened=[row[0] for row in opened],
        paged=frozenset(row[0] for row in opened),
        examples=[image for image, _ in examples],
        drawn=[image for image, drawn in examples if drawn],
        recurring=_recurring_heads(heads, names, addresses),
        metrics=[MetricRow(*row) for row in metrics],
        order=order,
        layout=site.layout,
        joined=site.pictures == "sheets",
        media=site.media_base_url,
    )


def _icon_addresses(
    rows: Sequence[tuple[int, int | None]], order: Sequence[int], site: SiteSettings
) -> dict[int, str]:
    """Return where the picture of each feature lies that may be shown.

    Args:
        rows: (feature, image that stands in, None for a rendered icon).
        order: The features that may be shown, in the order of the map.
        site: Whether pictures are joined in sheets.
    """
    place = {feature: i for i, feature in enumerate(order)}
    held = [(feature, image) for feature, image in rows if feature in place]
    if site.pictures == "sheets":
        return {feature: links.icon_cell(place[feature], site.icon_px) for feature, _ in held}
    return {
        feature: links.icon(feature) if image is None else links.thumbnail(image)
        for feature, image in held
    }


def _recurring_heads(
    rows: Sequence[tuple[int, int]], names: Mapping[int, str], icons: Mapping[int, str]
) -> dict[int, tuple[str, str]]:
    """Name each recurring concept after the strongest of its features that may be shown."""
    found = {}
    for recurring, group in groupby(rows, key=lambda row: row[0]):
        features = [feature for _, feature in group if feature in icons]
        words = dict.fromkeys(names[feature] for feature in features if feature in names)
        picture = icons[features[0]] if features else ""
        found[recurring] = (", ".join([*words][:CONCEPT_NAMES_SHOWN]), picture)
    return found


def name_of(book: Book, feature: int) -> str:
    """Return a feature's first label, or nothing."""
    return book.names.get(feature, "")
