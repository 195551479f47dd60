"""What every page may need, read from the catalog once: facts, features, names, icons, metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from atlas.base.tables import SURE
from atlas.settings.site import SiteSettings
from atlas.site import links
from atlas.site.queries import read_column, read_groups, read_records
from atlas.site.shown import LISTED, Shown, how_shown, read_urls
from atlas.site.text import clean
from atlas.study.map import map_order

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CONCEPT_NAMES_SHOWN = 2
TOPS_ON_WALLS = 3


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A live feature's row of the table `features`."""

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
    seeds_seen: int | None
    seeds: int | None
    map_x: float
    map_y: float
    sensitive: bool


class MetricRow(NamedTuple):
    """A row of the table `metrics`: a figure of the whole atlas beside its baseline."""

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
    """What every page may need; small enough to keep in memory while the site is written."""

    facts: Mapping[str, str]
    n_features: int
    live: Mapping[int, FeatureRow]
    dead: Sequence[int]
    names: Mapping[int, str]
    """The best name of each feature that has one."""
    sure: Mapping[int, float]
    """How far to trust its first label, 0 to 1 (the SQL expression SURE)."""
    icons: Mapping[int, str]
    """Feature -> address of its icon; only where it may be shown."""
    recognized: frozenset[int]
    """Features whose rendered icon the model recognizes; none where icons are images that stand in."""
    decomposed: Sequence[int]
    """Images that have a page, as the catalog has their features; ascending, none sensitive."""
    has_page: frozenset[int]
    """The same images, for fast look-up."""
    examples: Sequence[int]
    """Those of them whose concepts are shown: the example images."""
    drawn: Sequence[int]
    """Those of the examples that have rendered knobs."""
    recurring: Mapping[int, tuple[str, str]]
    """Recurring concept -> its name and the address of an icon; either may be empty."""
    metrics: Sequence[MetricRow]
    order: Sequence[int]
    """The features that walls show, in the order of the map; none sensitive."""
    layout: str
    """The setting site.layout, which decides where a feature's page lies."""
    base_url: str
    """The setting site.base_url; without it no page says how to share it."""
    media: str
    """The setting site.media_base_url: where pictures are published; empty if beside the pages."""
    shown: Shown
    """How images are shown."""
    joined: bool
    """Whether icons and the features' thumbnails are joined in sheets."""
    icon_px: int = 0
    """Natural side of an icon on a page; 0 if there is none. Nothing is shown larger."""
    thumbnail_px: int = 0
    """The same of a thumbnail of a feature's page."""
    icons_2x: bool = False
    """Whether each sheet of icons has a second one, of twice the resolution."""
    thumbnails_2x: bool = False
    """Whether each sheet of thumbnails has a second one."""
    tops: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """The images that excite a feature most, each a file that walls can show; none where they lie in
    sheets."""
    urls: Mapping[int, str] = field(default_factory=dict)
    """Where some images were found; empty unless the site shows links."""


ROW_FIELDS = tuple(field.name for field in fields(FeatureRow))


def read_book(db: DuckDBPyConnection, site: SiteSettings, thumbnails: Iterable[Path]) -> Book:
    """Read what every page may need.

    Args:
        db: The catalog.
        site: How it is laid out, and how it shows images.
        thumbnails: Parquet files of the images' thumbnails.

    Raises:
        ConfigError: site.images asks for what is not there.
    """
    shown = how_shown(db, site, thumbnails)
    rows = read_records(db, FeatureRow, "features WHERE alive ORDER BY feature")
    labels = db.execute(
        f"""SELECT feature, name, sure FROM names
            JOIN (SELECT feature, {SURE} AS sure FROM labels WHERE rank = 0) USING (feature)
            ORDER BY feature"""
    ).fetchall()
    names = {feature: clean(name) for feature, name, _ in labels}
    order = _map_order([row for row in rows if not row.sensitive])
    icons = _icon_addresses(db, order, site, shown)
    dead = read_column(db, "SELECT feature FROM features WHERE NOT alive ORDER BY feature")
    decomposed = read_column(
        db,
        """SELECT DISTINCT image FROM decompositions JOIN images USING (image)
           WHERE NOT sensitive ORDER BY image""",
    )
    examples = db.execute(
        """SELECT image, drawn FROM examples JOIN images USING (image)
           WHERE NOT sensitive ORDER BY image"""
    ).fetchall()
    return Book(
        facts=dict(db.execute("SELECT key, value FROM provenance").fetchall()),
        n_features=len(rows) + len(dead),
        live={row.feature: row for row in rows},
        dead=dead,
        names=names,
        sure={feature: score for feature, _, score in labels},
        icons=icons,
        recognized=frozenset(
            read_column(db, "SELECT feature FROM icons WHERE verdict = 'shown' ORDER BY feature")
        ),
        decomposed=decomposed,
        has_page=frozenset(decomposed),
        examples=[image for image, _ in examples],
        drawn=[image for image, drawn in examples if drawn],
        recurring=_name_recurring(db, names, icons),
        metrics=read_records(db, MetricRow, "metrics ORDER BY name"),
        order=order,
        layout=site.layout,
        shown=shown,
        tops={} if site.pictures == "sheets" else _tops(db, shown),
        urls=read_urls(db, LISTED) if shown.linked else {},
        joined=site.pictures == "sheets",
        base_url=site.base_url,
        media=site.media_base_url,
    )


def _map_order(shown: Sequence[FeatureRow]) -> list[int]:
    """Return features in the order of the map."""
    x, y = (np.array([getattr(r, axis) for r in shown], np.float32) for axis in ("map_x", "map_y"))
    return [shown[i].feature for i in map_order(x, y)] if shown else []


def _tops(db: DuckDBPyConnection, shown: Shown) -> dict[int, list[int]]:
    """Return the first images with a thumbnail of each feature, of repeated ones only the first."""
    rows = db.execute(
        """SELECT feature, list(image ORDER BY rank) FROM (
               SELECT feature, image, rank FROM top_images
               JOIN features USING (feature) JOIN images USING (image)
               WHERE NOT features.sensitive AND NOT images.sensitive
               QUALIFY row_number() OVER (
                   PARTITION BY feature, coalesce(duplicate_of, image) ORDER BY rank) = 1)
           GROUP BY feature ORDER BY feature"""
    ).fetchall()
    return {feature: [i for i in images if i in shown][:TOPS_ON_WALLS] for feature, images in rows}


def _icon_addresses(
    db: DuckDBPyConnection, order: Sequence[int], site: SiteSettings, shown: Shown
) -> dict[int, str]:
    """Return the address of each feature's icon, only of features and images that may be shown.

    Args:
        db: The catalog.
        order: The features that may be shown, in the order of the map.
        site: Whether pictures are joined in sheets.
        shown: Which images have a thumbnail: no other can stand in for an icon.
    """
    rows = db.execute(
        """SELECT feature, image FROM icons LEFT JOIN images USING (image)
           WHERE NOT coalesce(sensitive, false) ORDER BY feature"""
    ).fetchall()
    place = {feature: i for i, feature in enumerate(order)}
    held = [
        (feature, image)
        for feature, image in rows
        if feature in place and (image is None or image in shown)
    ]
    if site.pictures == "sheets":
        return {feature: links.icon_cell(place[feature], site.icon_px) for feature, _ in held}
    # icons.image is null where an icon was rendered, else the image that stands in for it.
    return {
        feature: links.icon(feature) if image is None else links.thumbnail(image)
        for feature, image in held
    }


def _name_recurring(
    db: DuckDBPyConnection, names: Mapping[int, str], icons: Mapping[int, str]
) -> dict[int, tuple[str, str]]:
    """Name each recurring concept after the strongest of its features that may be shown."""
    found = {}
    query = "SELECT recurring, feature FROM recurring_features ORDER BY recurring, rank"
    for recurring, rows in read_groups(db, query).items():
        features = [feature for (feature,) in rows if feature in icons]
        words = dict.fromkeys(names[feature] for feature in features if feature in names)
        picture = icons[features[0]] if features else ""
        found[recurring] = (", ".join([*words][:CONCEPT_NAMES_SHOWN]), picture)
    return found


def name_of(book: Book, feature: int) -> str:
    """Return a feature's best name, or an empty string."""
    return book.names.get(feature, "")
