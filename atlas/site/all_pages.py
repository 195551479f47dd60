"""What each page shows: rows of the catalog turned into words, numbers and addresses.

Nothing here is markup; templates choose that. Where an image is sensitive, its place is taken
by None before a template sees it; a sensitive feature shows no image at all.
"""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from atlas.base.tables import BINS_AN_OCTAVE, LOWEST_OCTAVE, SURE, TABLES
from atlas.settings.site import SiteSettings
from atlas.site import links
from atlas.study.map_order import map_order, wall

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TOP_SHOWN = 9
NEAR_SHOWN = 4
NEIGHBORS_SHOWN = 12
COACTIVE_SHOWN = 6
OPENED_FEATURES_SHOWN = 60
CONCEPT_FEATURES_SHOWN = 3
CONCEPT_NAMES_SHOWN = 2
ELSEWHERE_SHOWN = 4
EXAMPLES_SHOWN = 6
WALL_COLUMNS, WALL_ROWS = 14, 7
FEATURES_A_PAGE = 400
PICTURES_A_PAGE = 240
LONGEST_CAPTION = 300
NO_NAME = "no name"
FEWEST_FIRINGS = 10
"""As the names stage has it: what fires more rarely gets no name."""
PUBLISHED = {
    "images": "5 million",
    "features": "81,920",
    "alive": "60,620",
    "dead_share": "about 0.26",
    "l0_mean": "about 60",
    "explained_variance": "0.65",
}
"""Figures of the published SAE (1280 dimensions, images of LAION-2B); not reproduced here."""


class Picture(NamedTuple):
    """An image where a page shows it."""

    image: int
    caption: str
    value: str
    """The figure below it, ready to print; may be empty."""
    thumb: str
    page: str
    """Empty where the image has no page of its own."""


class Link(NamedTuple):
    """A feature where another page points to it."""

    feature: int
    name: str
    """Empty where it has none."""
    value: str
    thumb: str
    """Empty where its images are withheld."""
    page: str
    share: int = 0
    """Of a bar, in steps of a fiftieth, 0 to 50."""


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
Rows = Mapping[int, list[tuple[Any, ...]]]
LABEL_COLUMNS = "label, source, author, score, null_score, auroc, auroc_low, auroc_high"
MISS_COLUMNS = "pre_activation, verdict, sibling"
TRIP_COLUMNS = "strength, on_template, on_icon, percentile, icon_rank, p, seeds, verdict"


@dataclass(frozen=True, slots=True)
class Chapter:
    """What the pages of some features need, by feature."""

    labels: Rows
    icon: Rows
    """The picture that stands in, where nothing was rendered."""
    trip: Rows
    """The round trip, where an icon was rendered."""
    effects: Rows
    """What else changed in that icon."""
    strip: Rows
    """The icon at several strengths, of a sample."""
    top: Rows
    where: Rows
    """Which part of some top images drives it, of a sample."""
    film: Rows
    near: Rows
    misses: Rows
    """What is known of every near miss, shown or not."""
    neighbors: Rows
    coactive: Rows
    relatives: Rows
    """Duplicates, antipodes and parents."""
    children: Rows
    clusters: Rows
    """Its cluster at each level, the coarsest first."""
    concepts: Rows
    """Examples with a coarse concept that it is part of."""
    histogram: Rows


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


def distinct_tops(span: str) -> str:
    """Return a query, in brackets, of the first top images of some features that show different pictures."""
    return f"""(SELECT feature, rank, image, activation FROM (
        SELECT t.feature, t.rank, t.image, t.activation
        FROM top_images t JOIN images USING (image) WHERE {span}
        QUALIFY row_number() OVER (PARTITION BY feature, coalesce(duplicate_of, image) ORDER BY rank) = 1
    ) QUALIFY row_number() OVER (PARTITION BY feature ORDER BY rank) <= {TOP_SHOWN})"""


def chapter_queries(first: int, last: int) -> dict[str, str]:
    """Return for each field of a chapter the query that reads it, by feature in their order.

    Args:
        first: Feature that the chapter begins with.
        last: Feature before which it ends.
    """
    span = f"feature >= {int(first)} AND feature < {int(last)}"
    pictures = "image, {value}, caption, sensitive FROM {table} JOIN images USING (image)"

    def shown(table: str, value: str, keep: str, order: str) -> str:
        source = pictures.format(value=value, table=table)
        return f"SELECT feature, {source} WHERE {span} AND {keep} ORDER BY feature, {order}"

    return {
        "labels": (
            f"SELECT feature, {LABEL_COLUMNS} FROM labels WHERE {span} ORDER BY feature, rank"
        ),
        "icon": shown(
            "(FROM icons JOIN top_images USING (feature, image))", "activation", "true", "rank"
        ),
        "trip": (
            f"""SELECT feature, {TRIP_COLUMNS} FROM icons
                WHERE {span} AND source = 'rendered' ORDER BY feature"""
        ),
        "effects": (
            f"""SELECT feature, other, on_icon, on_template FROM icon_side_effects
                WHERE {span} ORDER BY feature, rank"""
        ),
        "strip": (
            f"SELECT feature, strength, on_icon FROM strips WHERE {span} ORDER BY feature, step"
        ),
        "top": shown(distinct_tops(span), "activation", "true", "rank"),
        "where": shown(
            "where_maps",
            "activation, on_thumbnail, lost, lost_gray, lost_gray_null",
            "true",
            "rank",
        ),
        "film": shown("quantile_images", "activation", "rank = 0", "quantile DESC"),
        "near": shown("near_misses", "similarity", f"rank < {NEAR_SHOWN}", "similarity DESC, rank"),
        "misses": (
            f"""SELECT feature, image, {MISS_COLUMNS} FROM near_misses
                WHERE {span} ORDER BY feature, similarity DESC, rank"""
        ),
        "neighbors": (
            f"""SELECT feature, neighbor, cosine FROM feature_neighbors
                WHERE {span} AND rank < {NEIGHBORS_SHOWN} ORDER BY feature, rank"""
        ),
        "coactive": (
            f"""SELECT feature, other, p_other_given_feature FROM coactivations
                WHERE {span} AND rank < {COACTIVE_SHOWN} ORDER BY feature, rank"""
        ),
        "relatives": (
            f"""SELECT feature, kind, other, cosine, share, share_back FROM relatives
                WHERE {span} ORDER BY feature, kind, rank"""
        ),
        "children": (
            f"""SELECT feature, child, share, share_back
                FROM (SELECT other AS feature, feature AS child, share, share_back
                      FROM relatives WHERE kind = 'parent')
                WHERE {span} ORDER BY feature, share DESC, child"""
        ),
        "clusters": (
            f"""SELECT feature, level, cluster, label, features
                FROM cluster_features JOIN clusters USING (level, cluster)
                WHERE {span} ORDER BY feature, level"""
        ),
        "concepts": (
            f"""SELECT feature, image, activation, caption, sensitive FROM concept_features
                JOIN examples USING (image) JOIN images USING (image)
                WHERE {span} AND tau = 'coarse' ORDER BY feature, activation DESC, image"""
        ),
        "histogram": (
            f"SELECT feature, low, high, count, bin FROM activation_histogram WHERE {span} ORDER BY feature, bin"
        ),
    }


def read_chapter(db: DuckDBPyConnection, first: int, last: int) -> Chapter:
    """Read what the pages of the features from first up to, not including, last need."""
    return Chapter(
        **{
            name: {
                key: list(rows)
                for key, rows in groupby(db.execute(query).fetchall(), itemgetter(0))
            }
            for name, query in chapter_queries(first, last).items()
        }
    )


# --- words and numbers ---------------------------------------------------------------------


def clean(text: str) -> str:
    """Return text for a page: one line, no control or direction-changing characters."""
    if not (text.isascii() and text.isprintable()):  # most captions are, and need no look at each
        kept = (" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
        text = "".join(
            c for c in kept if not ("\u202a" <= c <= "\u202e" or "\u2066" <= c <= "\u2069")
        )
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_CAPTION else line[: LONGEST_CAPTION - 1].rstrip() + "…"


def figure(value: float) -> str:
    """Return a number with three significant digits, and thousands with commas."""
    if 1 <= value < 10:  # by far the most, and there are a hundred on a page
        return f"{value:.2f}"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    if digits > 6:
        return f"{value:.2e}"
    return f"{value:,.{digits}f}"


def percent(share: float) -> str:
    """Return a share as a percentage with a no-break space."""
    if share and share < 1e-5:
        return "< 0.001\u00a0%"
    return f"{figure(100 * share)}\u00a0%"


def share_of(part: float, whole: float) -> int:
    """Return how long a bar is, in fiftieths, at least one where there is something."""
    return max(1, round(50 * part / whole)) if whole > 0 and part > 0 else 0


def name_of(book: Book, feature: int) -> str:
    """Return a feature's first label, or nothing."""
    return book.names.get(feature, "")


# --- records that pages share ----------------------------------------------------------------


def picture(image: int, value: str, caption: str, book: Book) -> Picture:
    """Return an image as pages show it."""
    page = links.image_page(image) if image in book.paged else ""
    return Picture(image, clean(caption), value, links.thumbnail(image), page)


def pictures_of(rows: Iterable[tuple[Any, ...]], book: Book) -> list[Picture]:
    """Return (feature, image, value, caption, sensitive) rows as pictures, sensitive ones left out."""
    return [
        picture(image, figure(value), caption, book)
        for _, image, value, caption, sensitive in rows
        if not sensitive
    ]


def feature_link(feature: int, value: str, book: Book, share: int = 0) -> Link:
    """Return a feature as other pages point to it."""
    return Link(
        feature,
        "withheld" if book.live[feature].sensitive else name_of(book, feature),
        value,
        book.icons.get(feature, ""),
        links.feature_page(feature, book.layout),
        share,
    )


def common(book: Book, page: str, title: str, section: str = "") -> dict[str, Any]:
    """Return what the frame around every page needs."""
    facts = book.facts
    return {
        "page": page,
        "title": title,
        "section": section,
        "site_title": facts["title"],
        "note": facts["note"],
        "credit": facts["credit"],
        "synthetic": facts["synthetic"] == "true",
        "atlas_id": facts["id"],
        "joined": book.joined,
        "media": book.media,
        "owner_url": links.outward(facts["owner_url"]),
        "n_live": f"{len(book.live):,}",
        "n_features": f"{book.n_features:,}",
    }


# --- feature pages ------------------------------------------------------------------------------


class Bar(NamedTuple):
    """One bar of a chart, in the chart's own units."""

    x: float
    y: float
    width: float
    height: float
    title: str


BAR_ROOM, CHART_HEIGHT = 10, 48
"""Of a chart of activations, in its own units; site.css gives bars their width."""
BINS_SHOWN, FEWEST_BINS = 40, 12
"""The strongest ten octaves; what is weaker shares the first bar."""


class Bars(NamedTuple):
    """A chart of a feature's activations, one path: forty elements are 3 kB on every page."""

    width: str
    path: str
    """Bars from weak to strong, each a line as wide as site.css makes it."""
    counts: str
    """Of the images in each bin, with commas between; empty where there are none."""
    quarter: str
    """Where the first bin begins, in quarters of an octave above 1; site.js tells all edges by it."""


def histogram_bars(rows: Sequence[tuple[Any, ...]]) -> Bars:
    """Return the bars of a feature's activations, a quarter octave each.

    Args:
        rows: (feature, low, high, count, bin), from weak to strong.
    """
    if not rows:
        return Bars("", "", "", "")
    last = rows[-1][4]
    first = max(rows[0][4], last - BINS_SHOWN + 1)
    weaker = [row for row in rows if row[4] <= first]
    shown = [row for row in rows if row[4] > first]
    if weaker:  # a few stray weak firings would else squeeze the rest
        shown.insert(0, (0, weaker[0][1], weaker[-1][2], sum(row[3] for row in weaker), first))
    counts = {bin - first: count for *_, count, bin in shown}
    scale = CHART_HEIGHT / max(counts.values())
    return Bars(
        width=f"{max(last - first + 1, FEWEST_BINS) * BAR_ROOM}",
        path="".join(
            f"M{place * BAR_ROOM + BAR_ROOM // 2} 0v{max(1, round(count * scale))}"
            for place, count in counts.items()
        ),
        counts=",".join(str(counts.get(place, "")) for place in range(last - first + 1)),
        quarter=f"{first - 1 + LOWEST_OCTAVE * BINS_AN_OCTAVE}",
    )


FILM_SHOWN = 10
"""One picture of each tenth of firings."""
PICTURES_A_ROW = TOP_SHOWN + FILM_SHOWN + NEAR_SHOWN
"""Of a sheet of thumbnails: a row is a feature; site.css knows where each list begins."""


def row_of_images(book: Book, chapter: Chapter, feature: int) -> list[int | None]:
    """Return the images that a feature's page shows small, each where its sheet has it.

    Returns:
        As many as a row of a sheet holds; None where there is no more to show.
    """
    if book.live[feature].sensitive:
        return [None] * PICTURES_A_ROW
    row: list[int | None] = []
    for held, most in ((chapter.top, TOP_SHOWN), (chapter.film, FILM_SHOWN), (chapter.near, NEAR_SHOWN)):  # fmt: skip
        images = [image for _, image, _, _, sensitive in held.get(feature, []) if not sensitive]
        row += images
        row += [None] * (most - len(images))
    return row


def feature_view(
    book: Book,
    chapter: Chapter,
    feature: int,
    turn: tuple[int | None, int | None],
    sheet: str = "",
) -> dict[str, Any]:
    """Return what a feature's page shows.

    Args:
        book: The atlas.
        chapter: Rows of this feature and its like.
        feature: A live one.
        turn: The live features before and after it; None at the ends.
        sheet: Address of the sheet of its small pictures; empty where each is a file.
    """
    row = book.live[feature]
    number = f"{feature:,}"
    labels = [clean(row[1]) for row in chapter.labels.get(feature, [])]
    name = "" if row.sensitive else name_of(book, feature)
    hidden = row.sensitive
    top = [] if hidden else chapter.top.get(feature, [])
    bars = histogram_bars(chapter.histogram.get(feature, []))
    return {
        "page": links.feature_page(feature, book.layout),
        "title": f"{name or 'Feature'} · {number}",
        "about": f"Feature {number}{name and f', {name}'}",
        "sheet": sheet,
        "row": feature % links.features_a_sheet(book.layout),
        "feature": feature,
        "number": number,
        "citation": f"{book.facts['id']}/f{feature}",
        "name": name,
        "also": [] if hidden else labels[1:],
        "evidence": "" if hidden else reliability(book, chapter, feature),
        "withheld": hidden,
        "withheld_images": sum(bool(r[4]) for r in chapter.top.get(feature, [])),
        "icon": _icon(book, chapter, feature),
        "rendered": None if hidden else rendered_view(book, chapter, feature),
        "figures": [
            ("density", percent(row.density), f"fires on {row.count:,} images"),
            ("strongest", figure(row.max), "largest activation, unitless"),
            ("median", figure(row.median), "over the images on which it fires"),
            ("share of mass", percent(row.mass_share), "of the activation of all features"),
        ],
        "bars": bars,
        "chart_height": CHART_HEIGHT,
        "weakest": figure(chapter.histogram[feature][0][1]) if bars.path else "",
        "strongest": figure(row.max),
        "top": pictures_of(top, book),
        "where": [] if hidden else where_maps(chapter, feature),
        "film": [] if hidden else pictures_of(chapter.film.get(feature, []), book),
        "near": [] if hidden else near_pictures(book, chapter, feature),
        "near_line": "" if hidden else near_line(chapter, feature),
        "neighbors": [
            feature_link(other, f"{cosine:.2f}", book)
            for _, other, cosine in chapter.neighbors.get(feature, [])
        ],
        "coactive": [
            feature_link(other, percent(share), book)
            for _, other, share in chapter.coactive.get(feature, [])
        ],
        **family_view(book, chapter, feature),
        "occurs": []
        if hidden
        else pictures_of(chapter.concepts.get(feature, [])[:EXAMPLES_SHOWN], book),
        "bibtex": bibtex(book, feature, name),
        "feedback": links.feedback(book.facts["owner_url"], f"{book.facts['id']}/f{feature}"),
        **{
            way: "" if other is None else links.feature_page(other, book.layout)
            for way, other in zip(("before", "after"), turn, strict=True)
        },
        "details": [
            ("mean where it fires", figure(row.mean)),
            ("length of decoder direction", figure(row.decoder_norm)),
            ("selectivity", figure(row.selectivity)),
            *(
                [("monosemanticity in a second encoder", f"{row.monosemanticity:.3f}")]
                if row.monosemanticity is not None
                else []
            ),
        ],
        "json": links.feature_json(feature),
        "map_link": f"{links.MAP}#f{feature}",
    }


def frame_view(book: Book) -> dict[str, Any]:
    """Return what the frame of every feature's page shows."""
    return common(book, links.any_feature_page(book.layout), "")


CHILDREN_SHOWN = 12
TEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": " ", "~": " ", "^": " "})
"""Marks that mean something to LaTeX."""


def bibtex(book: Book, feature: int, name: str) -> str:
    """Return the entry by which a feature is cited; without a year, for an atlas has no clock."""
    key = f"{book.facts['id']}/f{feature}"
    title = f"Feature {feature}{f': {name}' if name else ''}".translate(TEX)
    return (
        f"@misc{{{key.replace(':', '-').replace('/', '-')},\n"
        f"  title = {{{title}}},\n"
        f"  howpublished = {{{book.facts['title'].translate(TEX)}, {key}}},\n"
        f"}}"
    )


def group_view(book: Book, features: Sequence[int]) -> dict[str, Any]:
    """Return the frame of a page that shows features of one group, all of them live."""
    group = features[0] // links.FEATURES_A_GROUP
    ends = [f"{number:,}" for number in (features[0], features[-1])]
    title = f"Features {ends[0]} to {ends[1]}" if len(features) > 1 else f"Feature {ends[0]}"
    return {**common(book, links.group_page(group), title), "heading": title}


def family_view(book: Book, chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return a feature's relatives by kind, and the clusters that it is in, coarsest first."""
    of_kind: dict[str, list[Link]] = defaultdict(list)
    for _, kind, other, cosine, share, back in chapter.relatives.get(feature, []):
        value = f"{percent(share)}, back {percent(back)}" if kind == "parent" else f"{cosine:.2f}"
        of_kind[kind].append(feature_link(other, value, book))
    children = [
        feature_link(child, f"{percent(share)}, back {percent(back)}", book)
        for _, child, share, back in chapter.children.get(feature, [])[:CHILDREN_SHOWN]
    ]
    kinds = [
        ("Parents", "fire where this one is strong; back: how often it fires where they are", of_kind["parent"]),
        ("Children", "where they are strong, this one fires; back: how often they where it is", children),
        ("Duplicates", "point alike and fire alike; cosine of the decoder directions", of_kind["duplicate"]),
        ("Antipode", "points away; cosine of the decoder directions", of_kind["antipode"]),
    ]  # fmt: skip
    clusters = chapter.clusters.get(feature, [])
    middle = next((cluster for _, level, cluster, *_ in clusters if level == 1), None)
    return {
        "kin": [(title, note, held) for title, note, held in kinds if held],
        "clusters": [
            (clean(label) or f"cluster {cluster + 1}", f"{size:,}", cluster_link(level, cluster, middle))
            for _, level, cluster, label, size in clusters
        ],
    }  # fmt: skip


def cluster_link(level: int, cluster: int, middle: int | None) -> str:
    """Return where a cluster is shown: a section of all families, a page, a section of that page."""
    if level == 0:
        return f"{links.FAMILIES}#c{cluster}"
    page = links.family_page(middle if middle is not None else cluster)
    return page if level == 1 else f"{page}#c{cluster}"


def label_records(chapter: Chapter, feature: int) -> list[dict[str, Any]]:
    """Return a feature's labels, columns by name."""
    columns = LABEL_COLUMNS.split(", ")
    rows = chapter.labels.get(feature, [])
    return [dict(zip(columns, row[1:], strict=True)) for row in rows]


def reliability(book: Book, chapter: Chapter, feature: int) -> str:
    """Return in a sentence or two how far a feature's name is to be trusted."""
    labels = label_records(chapter, feature)
    if not labels:
        return _why_nameless(book, book.live[feature])
    first = labels[0]
    if first["source"] == "captions":
        return f"The name covers {percent(first['score'])} of its strongest pictures by activation, {percent(first['null_score'])} of all pictures."
    words = ""
    if first["source"] == "imported":
        own = [label for label in labels if label["source"] == "imported"]
        graded, words = own[0], f"Named by {clean(first['author']) or 'an unknown author'}. "
    else:
        graded = labels[-1]
    if graded["auroc"] is None:
        return f"{words}How well the name holds could not be measured."
    what = "the words together pick" if graded is not first else "the name picks"
    low, high = (round(100 * graded[end]) for end in ("auroc_low", "auroc_high"))
    return (
        f"{words}Shown a picture on which it fires and one on which it does not, {what} the right one "
        f"{round(100 * graded['auroc'])} times in 100 (95 %: {low} to {high}; chance 50), on pictures that did not choose the name."
    )


def names_were_looked_for(book: Book) -> bool:
    """Return whether a feature without a name was given none, rather than not looked at."""
    return any(metric.name == "names_share" for metric in book.metrics)


def _why_nameless(book: Book, row: FeatureRow) -> str:
    """Return why a feature has no name, where names were looked for."""
    if not names_were_looked_for(book):
        return ""
    if row.count < FEWEST_FIRINGS:
        return f"It fires on {row.count:,} pictures: too few to name it by."
    return "No word tells its pictures from others well enough."


def near_pictures(book: Book, chapter: Chapter, feature: int) -> list[Picture]:
    """Return the near misses shown, each with how alike it is, how far from firing, and the verdict."""
    known = {row[1]: row[2:] for row in chapter.misses.get(feature, [])}
    shown = []
    for row in chapter.near.get(feature, []):
        pre, verdict, sibling = known[row[1]]
        said = f"{figure(row[2])}, {figure(pre)}".replace("-", "\u2212")
        if verdict in ("missed", "absorption suspect"):
            said += "; name holds"
        if sibling is not None:
            said += f", {sibling:,} fires"
        if not row[4]:
            shown.append(picture(row[1], said, row[3], book))
    return shown


def near_line(chapter: Chapter, feature: int) -> str:
    """Return in a sentence what the near misses say of a feature's name."""
    verdicts = [row[3] for row in chapter.misses.get(feature, []) if row[3] is not None]
    if not verdicts:
        return ""
    suspects = verdicts.count("absorption suspect")
    missed = verdicts.count("missed") + suspects
    line = f"The name holds on {missed} of all {len(verdicts)} near misses: recall that the feature lacks, no counterexamples."
    if suspects:
        line += f" On {suspects} of these a feature that points alike fires instead: absorption suspect."
    return line


def _icon(book: Book, chapter: Chapter, feature: int) -> Picture | None:
    rows = chapter.icon.get(feature, [])
    if not rows or feature not in book.icons:
        return None
    return pictures_of(rows, book)[0]._replace(thumb=book.icons[feature])


def _round_trip_record(chapter: Chapter, feature: int) -> dict[str, Any] | None:
    rows = chapter.trip.get(feature)
    return dict(zip(TRIP_COLUMNS.split(", "), rows[0][1:], strict=True)) if rows else None


STRIP_WIDTH, STRIP_HEIGHT = 280, 56


def strip_view(chapter: Chapter, feature: int) -> dict[str, Any] | None:
    """Return the strengths of a feature's strip, what each activates, and the curve of both."""
    rows = chapter.strip.get(feature, [])
    if not rows:
        return None
    step, tallest = STRIP_WIDTH / len(rows), max(max(row[2] for row in rows), 1e-9)
    line = [
        f"{(i + 0.5) * step:.1f},{(STRIP_HEIGHT - 4) * (1 - row[2] / tallest) + 2:.1f}"
        for i, row in enumerate(rows)
    ]
    return {
        "thumb": links.strip(feature),
        "steps": [(figure(strength), figure(on_icon)) for _, strength, on_icon in rows],
        "line": " ".join(line),
    }


class WhereMap(NamedTuple):
    """A top image, veiled where it matters little."""

    thumb: str
    caption: str
    veils: list[tuple[str, str]]
    """(opacity, outline of the cells in a square of 8 by 8), from light to dense."""
    lost: str
    null: str
    """Empty where no other feature fires."""


MAP_CELLS = 8
VEILS = 4
"""Steps of a veil; its densest hides four fifths of a picture."""


def where_maps(chapter: Chapter, feature: int) -> list[WhereMap]:
    """Return the maps of where a feature looks; none of a sensitive image.

    Args:
        chapter: Its rows.
        feature: Of a sample that has maps.
    """
    return [
        WhereMap(
            links.thumbnail(image),
            clean(caption),
            veils(lost),
            percent(max(gray, 0.0)),
            "" if null is None else percent(max(null, 0.0)),
        )
        for _, image, _, _, lost, gray, null, caption, sensitive in chapter.where.get(feature, [])
        if not sensitive
    ]


def veils(lost: Sequence[float]) -> list[tuple[str, str]]:
    """Return what covers a map's cells, the denser the less is lost there: (opacity, outline)."""
    most = max(max(lost), 1e-9)
    steps = [VEILS - min(VEILS, max(0, round(VEILS * value / most))) for value in lost]
    return [
        (
            f"{0.8 * step / VEILS:.1f}",
            "".join(
                f"M{i % MAP_CELLS} {i // MAP_CELLS}h1v1h-1z"
                for i, own in enumerate(steps)
                if own == step
            ),
        )
        for step in range(1, VEILS + 1)
        if step in steps
    ]


def effects_view(book: Book, chapter: Chapter, feature: int) -> list[Link]:
    """Return the other features that changed in a feature's icon, by how much."""
    return [
        feature_link(other, f"{figure(before)} → {figure(after)}", book)
        for _, other, after, before in chapter.effects.get(feature, [])
    ]


def rendered_view(book: Book, chapter: Chapter, feature: int) -> dict[str, Any] | None:
    """Return what the page says of a rendered icon, or nothing where there is none."""
    trip = _round_trip_record(chapter, feature)
    if trip is None:
        return None
    return {
        "thumb": book.icons[feature],
        "verdict": f"Round trip {'partly shown' if trip['verdict'] == 'partly' else trip['verdict']}.",
        "on_icon": figure(trip["on_icon"]),
        "on_template": figure(trip["on_template"]),
        "percentile": percent(trip["percentile"]),
        "rank": f"{trip['icon_rank']:,}",
        "p": f"{trip['p']:.3f}",
        "strength": figure(trip["strength"]),
        "median": figure(book.live[feature].median),
        "seeds": trip["seeds"],
        "strip": strip_view(chapter, feature),
        "effects": effects_view(book, chapter, feature),
    }


def short(value: Any) -> Any:
    """Return a value as JSON files hold it: numbers with five significant digits."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def feature_record(book: Book, chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return a feature as the JSON files give it.

    Numbers have five significant digits; the Parquet tables hold them whole, and the captions.
    """
    row = book.live[feature]
    hidden, icon = row.sensitive, book.icons.get(feature)

    def images(rows: Rows) -> dict[str, list[Any]]:
        held = [row for row in ([] if hidden else rows.get(feature, [])) if not row[4]]
        return {"image": [row[1] for row in held], "value": [short(row[2]) for row in held]}

    def pairs(rows: Rows, *names: str) -> dict[str, list[Any]]:
        held = rows.get(feature, [])
        return {name: [short(row[i]) for row in held] for i, name in enumerate(names, start=1)}

    return {
        **{name: short(getattr(row, name)) for name in ROW_FIELDS},
        "citation": f"{book.facts['id']}/f{feature}",
        "page": links.feature_page(feature, book.layout),
        "icon": icon and links.published(icon, book.media),
        "round_trip": None if hidden else _round_trip_record(chapter, feature),
        "side_effects": [
            {"feature": other, "on_icon": after, "on_template": before}
            for _, other, after, before in ([] if hidden else chapter.effects.get(feature, []))
        ],
        "strip": [
            {"strength": strength, "on_icon": on_icon}
            for _, strength, on_icon in ([] if hidden else chapter.strip.get(feature, []))
        ],
        "labels": [] if hidden else label_records(chapter, feature),
        "top_images": images(chapter.top),
        "quantile_images": images(chapter.film),
        "near_misses": images(chapter.near),
        "neighbors": pairs(chapter.neighbors, "feature", "cosine"),
        "coactivations": pairs(chapter.coactive, "feature", "p_other_given_feature"),
        "relatives": [
            {"kind": kind, "feature": other, "cosine": cosine, "share": share, "share_back": back}
            for _, kind, other, cosine, share, back in chapter.relatives.get(feature, [])
        ],
        "clusters": [
            {"level": level, "cluster": cluster, "label": label}
            for _, level, cluster, label, _ in chapter.clusters.get(feature, [])
        ],
    }


# --- walls, lists and the rest -----------------------------------------------------------------


def home_view(book: Book, rooms: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the home page shows.

    Args:
        book: The atlas.
        rooms: What rooms.find_rooms chose.
    """
    return {
        **common(book, links.HOME, book.facts["title"]),
        "wall": [feature_link(f, percent(book.live[f].density), book) for f in home_wall(book)],
        "line": home_line(book),
        **rooms,
    }


def home_wall(book: Book) -> list[int]:
    """Return the features of the home page's wall: of each part of the map the best named one."""
    shown = [f for f in book.order if f in book.icons]
    if not shown:
        return []
    seen: set[str] = set()
    worth = np.zeros(len(shown))
    for i in sorted(range(len(shown)), key=lambda i: (-book.live[shown[i]].max, shown[i])):
        image = book.icons[shown[i]]
        fresh = image not in seen
        seen.add(image)
        worth[i] = (book.sure.get(shown[i], 0.0) + 0.01) * (1.0 if fresh else 0.01)
    rows = [book.live[f] for f in shown]
    x = np.array([r.map_x for r in rows], np.float32)
    y = np.array([r.map_y for r in rows], np.float32)
    return [shown[i] for i in wall(x, y, worth, WALL_COLUMNS, WALL_ROWS)]


class Headline(NamedTuple):
    """A figure of the report on the home page."""

    value: str
    words: str
    null: str
    """What its baseline is and gives; may be empty."""
    n: str
    published: str
    """Of the published SAE, not reproduced; may be empty."""
    command: str


HEADLINES = (
    ("alive", "alive"),
    ("dead_share", "never fire"),
    ("images", "images scanned"),
    ("l0_mean", "features fire on an image"),
    ("explained_variance_heldout", "of variance explained, held out"),
    ("icons_round_trip_shown", "of icons make the round trip"),
    ("names_auroc", "AUROC of names, median"),
    ("search_precision_at_10", "of the first ten found are right"),
)


def home_line(book: Book) -> list[Headline]:
    """Return the report in one line, with what stands behind each figure."""
    found = {metric.name: metric for metric in book.metrics}
    line = []
    for name, words in HEADLINES:
        if name not in found:
            continue
        metric = found[name]
        shown = percent if metric.unit == "share" else _of_unit(metric.unit)
        null = "" if metric.null_value is None else f"{metric.null_name} {shown(metric.null_value)}"
        said = f"alive of {book.n_features:,} features" if name == "alive" else words
        published = PUBLISHED.get(name.removesuffix("_heldout"), "")
        line.append(
            Headline(shown(metric.value), said, null, f"{metric.n:,}", published, metric.command)
        )
    return line


def _of_unit(unit: str) -> Callable[[float], str]:
    return lambda value: metric_value(value, unit)


def browse_views(book: Book) -> list[dict[str, Any]]:
    """Return the pages of the wall of all features, in the order of the map."""
    return [
        {
            **common(book, links.browse_page(n), title, "browse"),
            "number": n,
            "numbers": list(range(1, last + 1)),
            "pages": [links.browse_page(i) for i in range(1, last + 1)],
            "wall": [feature_link(f, percent(book.live[f].density), book) for f in some],
            "withheld": f"{sum(row.sensitive for row in book.live.values()):,}",
            "shown": f"{len(book.order):,}",
        }
        for n, last, some in paged(book.order, FEATURES_A_PAGE)
        for title in [f"Browse, page {n} of {last}" if last > 1 else "Browse"]
    ]


def paged(items: Sequence[Any], a_page: int) -> list[tuple[int, int, Sequence[Any]]]:
    """Cut a list into pages: (number of the page, of the last page, items); one page if empty."""
    last = max(1, math.ceil(len(items) / a_page))
    return [(n, last, items[(n - 1) * a_page : n * a_page]) for n in range(1, last + 1)]


@dataclass(frozen=True, slots=True)
class Opened:
    """An image with a page: its row and its features."""

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


def read_opened(db: DuckDBPyConnection, images: Sequence[int]) -> dict[int, Opened]:
    """Read some of the images that have a page."""
    wanted = [int(image) for image in images]
    strong: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for image, feature, activation in db.execute(
        """SELECT image, feature, activation FROM decompositions
           WHERE image IN (SELECT unnest(?)) AND rank < ? ORDER BY image, rank""",
        [wanted, OPENED_FEATURES_SHOWN],
    ).fetchall():
        strong[image].append((feature, activation))
    names = ("image", "name", "caption", "url", "tags", "terms", "split", "l0", "mass")
    rows = db.execute(
        f"""SELECT {", ".join(names)} FROM images
            WHERE image IN (SELECT unnest(?)) AND NOT sensitive ORDER BY image""",
        [wanted],
    ).fetchall()
    facts = [dict(zip(names, row, strict=True)) for row in rows]
    return {f["image"]: Opened(**f, features=strong[f["image"]]) for f in facts}


class Concept(NamedTuple):
    """One concept of an example."""

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
    """Its own where one is drawn, else that of its strongest feature; empty if withheld."""
    drawn: bool
    recurring: str
    """Page of the recurring concept that it is near; empty where none."""
    elsewhere: list[Picture]
    """Pictures with the concepts that point most like it."""


class Branch(NamedTuple):
    """A coarse concept, and the fine ones that hold most of their mass in common with it."""

    coarse: Concept
    fine: list[tuple[Concept, str]]
    """(concept, share of its mass that lies in the coarse one)."""


class Knob(NamedTuple):
    """The image with one coarse concept turned down and up."""

    concept: int
    thumb: str
    names: list[Link]
    more: int
    share: str
    bar: int
    """That share in fiftieths."""
    icon: str
    steps: list[tuple[str, str]]
    """(gain, the concept's mass on that picture), from off to double."""


class Transfer(NamedTuple):
    """An example with a concept of another one."""

    source: Picture
    names: list[Link]
    icon: str
    thumb: str
    before: str
    after: str


def read_example(db: DuckDBPyConnection, book: Book, image: int) -> dict[str, Any]:
    """Return the concepts of an example, coarse and fine, with their knobs where they are drawn."""
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
        "tau_coarse": figure(float(book.facts["tau_coarse"])),
        "tau_fine": figure(float(book.facts["tau_fine"])),
        "tau_scale": figure(float(book.facts["tau_scale"])),
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
    for concept, mass, share, stability, recurring, mass_on_icon in rows:
        names, more = _concept_names(db, book, image, tau, concept)
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
                elsewhere[concept],
            )
        )
    return found


def _elsewhere(
    db: DuckDBPyConnection, book: Book, image: int, tau: str
) -> dict[int, list[Picture]]:
    """Return the nearest concepts in other images, by concept."""
    found: dict[int, list[Picture]] = defaultdict(list)
    for concept, other, cosine, caption in db.execute(
        """SELECT n.concept, n.other_image, n.cosine, i.caption FROM concept_neighbors n
           JOIN images i ON i.image = n.other_image
           WHERE n.image = ? AND n.tau = ? AND NOT i.sensitive ORDER BY n.concept, n.rank""",
        [image, tau],
    ).fetchall():
        if len(found[concept]) < ELSEWHERE_SHOWN:
            found[concept].append(picture(other, f"{cosine:.2f}", caption, book))
    return found


def _knobs(db: DuckDBPyConnection, image: int, coarse: Sequence[Concept]) -> list[Knob]:
    turned: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for concept, gain, mass in db.execute(
        "SELECT concept, gain, mass FROM knobs WHERE image = ? ORDER BY concept, gain", [image]
    ).fetchall():
        turned[concept].append((f"{gain:g}", figure(mass)))
    return [
        Knob(n, links.knob(image, n), c.names, c.more, c.share, c.bar, c.icon, turned[n])
        for n, c in enumerate(coarse)
        if n in turned
    ]


def _transfers(db: DuckDBPyConnection, book: Book, image: int) -> list[Transfer]:
    return [
        Transfer(
            picture(source, "", caption, book),
            _concept_names(db, book, source, "coarse", concept)[0],
            links.concept_icon(source, concept),
            links.transfer(image, source),
            figure(before),
            figure(after),
        )
        for source, concept, before, after, caption in db.execute(
            """SELECT t.source, t.concept, t.mass_before, t.mass_after, i.caption
               FROM transfers t JOIN images i ON i.image = t.source
               WHERE t.image = ? ORDER BY t.source""",
            [image],
        ).fetchall()
    ]


def _concept_names(
    db: DuckDBPyConnection, book: Book, image: int, tau: str, concept: int
) -> tuple[list[Link], int]:
    rows = db.execute(
        """SELECT feature, activation FROM concept_features
           WHERE image = ? AND tau = ? AND concept = ? ORDER BY activation DESC, feature""",
        [image, tau, concept],
    ).fetchall()
    shown = [feature_link(f, figure(a), book) for f, a in rows[:CONCEPT_FEATURES_SHOWN]]
    return shown, len(rows) - len(shown)


class Recurring(NamedTuple):
    """A recurring concept where another page points to it."""

    recurring: int
    name: str
    value: str
    thumb: str
    page: str


def recurring_link(book: Book, recurring: int, value: str) -> Recurring:
    """Return a recurring concept as other pages point to it."""
    name, thumb = book.recurring.get(recurring, ("", ""))
    return Recurring(recurring, name, value, thumb, links.concept_page(recurring))


def concepts_view(db: DuckDBPyConnection, book: Book) -> dict[str, Any]:
    """Return the list of all recurring concepts, that of most images first."""
    rows = db.execute(
        "SELECT recurring, n_images FROM recurring_concepts ORDER BY recurring"
    ).fetchall()
    return {
        **common(book, links.CONCEPTS, "Recurring concepts", "pictures"),
        "concepts": [recurring_link(book, k, f"{n:,} pictures") for k, n in rows],
        "images": f"{int(book.facts['n_images']):,}",
    }


def concept_views(db: DuckDBPyConnection, book: Book) -> Iterator[dict[str, Any]]:
    """Yield what the page of each recurring concept shows."""
    total = int(book.facts["n_images"])
    for k, n_images, share in db.execute(
        "SELECT recurring, n_images, mass_share FROM recurring_concepts ORDER BY recurring"
    ).fetchall():
        features = db.execute(
            "SELECT feature, mass_share FROM recurring_features WHERE recurring = ? ORDER BY rank",
            [k],
        ).fetchall()
        shown = db.execute(
            """SELECT image, r.mass, caption FROM recurring_images r JOIN images USING (image)
               WHERE recurring = ? AND NOT sensitive ORDER BY rank""",
            [k],
        ).fetchall()
        near = db.execute(
            "SELECT other, cosine FROM recurring_neighbors WHERE recurring = ? ORDER BY rank", [k]
        ).fetchall()
        name = book.recurring[k][0] if k in book.recurring else ""
        yield {
            **common(book, links.concept_page(k), f"{name or 'Concept'} · concept {k}", "pictures"),
            "name": name,
            "number": f"{k}",
            "n_images": f"{n_images:,}",
            "image_share": percent(n_images / total),
            "mass_share": percent(share),
            "features": [feature_link(f, percent(s), book, share_of(s, 1.0)) for f, s in features],
            "pictures": [picture(i, figure(mass), caption, book) for i, mass, caption in shown],
            "near": [recurring_link(book, other, f"{cosine:.2f}") for other, cosine in near],
            "before": links.concept_page(k - 1) if k else "",
            "after": links.concept_page(k + 1) if k + 1 < len(book.recurring) else "",
        }


def image_view(
    book: Book, opened: Opened, example: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the page of an opened image shows.

    Args:
        book: The atlas.
        opened: The image.
        example: What read_example returns, where it is one.
    """
    strongest = opened.features[0][1] if opened.features else 0.0
    at = int(np.searchsorted(book.opened, opened.image))
    page = links.image_page(opened.image)
    caption = clean(opened.caption)
    return {
        **common(book, page, caption or f"Image {opened.image}", "pictures"),
        "picture": picture(opened.image, "", opened.caption, book),
        "image": f"{opened.image:,}",
        "caption": caption,
        "name": clean(opened.name),
        "url": links.outward(opened.url),
        "terms": [clean(term) for term in opened.terms],
        "tags": [clean(tag) for tag in opened.tags],
        "split": opened.split,
        **(example or {"branches": [], "knobs": [], "transfers": []}),
        "l0": f"{opened.l0:,}",
        "mass": figure(opened.mass),
        "features": [
            feature_link(feature, figure(a), book, share_of(a, strongest))
            for feature, a in opened.features
            if feature in book.live
        ],
        "left_out": f"{opened.l0 - len(opened.features):,}"
        if opened.l0 > len(opened.features)
        else "",
        "before": links.image_page(book.opened[at - 1]) if at else "",
        "after": links.image_page(book.opened[at + 1]) if at + 1 < len(book.opened) else "",
    }


def pictures_views(book: Book, captions: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the pages that list the opened pictures."""
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
            "shown": f"{len(book.opened):,}",
        }
        for n, last, some in paged(book.opened, PICTURES_A_PAGE)
        for title in [f"Pictures, page {n} of {last}" if last > 1 else "Pictures"]
    ]


def words_views(book: Book) -> list[dict[str, Any]]:
    """Return the pages that list every first label, by its first letter."""
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
    """Return what the search page shows before anything is typed."""
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


QUERIES = (
    (
        "The names that are surest",
        "SELECT feature, label, auroc, density FROM labels JOIN features USING (feature) WHERE rank = 0 AND NOT sensitive ORDER BY auroc DESC NULLS LAST, feature LIMIT 10",
    ),
    (
        "Icons that fail their round trip, most common features first",
        "SELECT feature, on_icon, median, count FROM icons JOIN features USING (feature) WHERE verdict = 'not shown' ORDER BY count DESC, feature LIMIT 10",
    ),
    (
        "Pairs that point alike and never fire together",
        "SELECT n.feature, n.neighbor, n.cosine FROM feature_neighbors n LEFT JOIN coactivations c ON c.feature = n.feature AND c.other = n.neighbor WHERE c.other IS NULL ORDER BY n.cosine DESC, n.feature LIMIT 10",
    ),
    (
        "Near misses on which the name holds",
        "SELECT feature, label, count(*) AS missed FROM near_misses JOIN labels USING (feature) WHERE labels.rank = 0 AND verdict <> 'negative' GROUP BY ALL ORDER BY missed DESC, feature LIMIT 10",
    ),
    (
        "Images that one feature explains",
        "SELECT image, feature, activation / mass AS share FROM decompositions JOIN images USING (image) WHERE rank = 0 ORDER BY share DESC, image LIMIT 10",
    ),
)
"""(question, SQL) that the data page offers, for the catalog or its Parquet files."""


def data_view(book: Book) -> dict[str, Any]:
    """Return what the page of the tables shows."""
    return {
        **common(book, links.DATA, "Data", "data"),
        "tables": TABLES,
        "queries": [(question, f'atlas sql "{sql}"') for question, sql in QUERIES],
    }


def missing_view(book: Book, base_url: str) -> dict[str, Any]:
    """Return the page of a missing address, which also leads short links on.

    Args:
        book: The atlas.
        base_url: As site.base_url has it; with it the page works at any address of the site.
    """
    return {
        **common(book, links.NOT_FOUND, "Not found"),
        "layout": book.layout,
        "site_root": urlsplit(base_url).path if base_url else None,
    }


def map_view(book: Book) -> dict[str, Any]:
    """Return what the page of the map shows without its script."""
    judged = [m for m in book.metrics if m.name == "map_trustworthiness"]
    return {
        **common(book, links.MAP, "Map", "map"),
        "trust": [(f"{m.value:.2f}", f"{m.null_value:.2f}") for m in judged if m.null_value],
    }


def dead_view(book: Book) -> dict[str, Any]:
    """Return the list of dead features, runs drawn together."""
    return {
        **common(book, links.DEAD, "Dead features", "report"),
        "n_dead": f"{len(book.dead):,}",
        "share": percent(len(book.dead) / book.n_features) if book.n_features else "0",
        "images": f"{int(book.facts['n_images']):,}",
        "runs": runs(book.dead),
    }


def runs(numbers: Sequence[int]) -> list[str]:
    """Return ascending numbers with consecutive ones drawn together, for instance 3–5."""
    found = []
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        ends = f"{members[0]}–{members[-1]}" if len(members) > 2 else None
        found += [ends] if ends else [str(number) for number in members]
    return found


class Chart(NamedTuple):
    """A bar chart with its numbers."""

    title: str
    caption: str
    bars: list[Bar]
    rows: list[tuple[str, str]]
    """(bin, count), the table behind it."""
    first: str
    last: str


def charts(db: DuckDBPyConnection) -> list[Chart]:
    """Return the report's charts, each with the numbers behind it."""
    return [
        Chart(
            "How often features fire",
            "Live features by density, four bars to each doubling. A healthy dictionary has one broad hill.",
            *_bars(
                db,
                "SELECT floor(4 * log2(density))::INTEGER AS bin, count(*) FROM features WHERE alive GROUP BY bin ORDER BY bin",
                lambda bin: percent(2.0 ** (bin / 4)),
            ),
        ),
        Chart(
            "How many features fire on an image",
            "Images by L0, in bins of four features.",
            *_bars(
                db,
                "SELECT (l0 // 4)::INTEGER AS bin, count(*) FROM images GROUP BY bin ORDER BY bin",
                lambda bin: f"{4 * bin}",
            ),
        ),
        Chart(
            "How much fires on an image",
            "Images by mass, the sum of their activations, four bars to each doubling.",
            *_bars(
                db,
                "SELECT floor(4 * log2(mass))::INTEGER AS bin, count(*) FROM images WHERE mass > 0 GROUP BY bin ORDER BY bin",
                lambda bin: figure(2.0 ** (bin / 4)),
            ),
        ),
        Chart(
            "Whether icons activate what they show",
            "Rendered icons by the share of the feature's own images on which it fires more weakly. Without effect all would stand at the left.",
            *_bars(
                db,
                """SELECT least(floor(percentile * 20), 19)::INTEGER AS bin, count(*) FROM icons
                   WHERE source = 'rendered' GROUP BY bin ORDER BY bin""",
                lambda bin: percent(bin / 20),
            ),
        ),
        Chart(
            "How well names hold",
            "First labels by AUROC on images that did not choose them; 0.5 is chance.",
            *_bars(
                db,
                """SELECT floor(auroc * 40)::INTEGER AS bin, count(*) FROM labels
                   WHERE rank = 0 AND auroc IS NOT NULL GROUP BY bin ORDER BY bin""",
                lambda bin: f"{bin / 40:.3f}",
            ),
        ),
        Chart(
            "How alike the nearest features are",
            "Live features by the cosine to their nearest neighbor; at the right lie near-duplicates.",
            *_bars(
                db,
                """SELECT floor(cosine * 20)::INTEGER AS bin, count(*) FROM feature_neighbors
                   WHERE rank = 0 GROUP BY bin ORDER BY bin""",
                lambda bin: f"{bin / 20:.2f}",
            ),
        ),
    ]


REPORT_WIDTH, REPORT_HEIGHT = 560, 160


def _bars(
    db: DuckDBPyConnection, query: str, label: Any
) -> tuple[list[Bar], list[tuple[str, str]], str, str]:
    rows = db.execute(query).fetchall()
    if not rows:
        return [], [], "", ""
    first, last = rows[0][0], rows[-1][0]
    step = REPORT_WIDTH / (last - first + 1)
    tallest = max(count for _, count in rows)
    bars = [
        Bar(
            round((bin - first) * step, 1),
            round(REPORT_HEIGHT - max(1.0, REPORT_HEIGHT * count / tallest), 1),
            round(max(1.0, step - 1), 1),
            round(max(1.0, REPORT_HEIGHT * count / tallest), 1),
            f"{label(bin)} to {label(bin + 1)}: {count:,}",
        )
        for bin, count in rows
    ]
    table = [(f"{label(bin)} to {label(bin + 1)}", f"{count:,}") for bin, count in rows]
    return bars, table, label(first), label(last + 1)


def read_reliability(db: DuckDBPyConnection) -> list[list[str]]:
    """Return how well names hold for each tenth of firings, strongest first, as a page shows it."""
    rows = db.execute(
        """SELECT quantile, auroc, auroc_low, auroc_high, first_word, shuffled, features
           FROM name_reliability ORDER BY quantile DESC"""
    ).fetchall()
    return [
        [f"{10 - q}", f"{a:.3f}", f"{low:.3f} to {high:.3f}", f"{one:.3f}", f"{null:.3f}", f"{n:,}"]
        for q, a, low, high, one, null, n in rows
    ]


def report_view(
    book: Book, drawn: Sequence[Chart], tenths: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """Return the report: every figure beside its baseline, its n and its command.

    Args:
        book: The atlas.
        drawn: Its charts.
        tenths: What read_reliability returns.
    """
    return {
        **common(book, links.REPORT, "Report", "report"),
        "metrics": [
            {
                "name": metric.name.replace("_", " ").replace("l0", "L0"),
                "value": metric_value(metric.value, metric.unit),
                "unit": "" if metric.unit == "share" else metric.unit,
                "n": f"{metric.n:,}",
                "null": ""
                if metric.null_value is None
                else metric_value(metric.null_value, metric.unit),
                "null_name": metric.null_name,
                "published": PUBLISHED.get(metric.name, ""),
                "command": metric.command,
                "note": metric.note,
            }
            for metric in book.metrics
        ],
        "charts": drawn,
        "tenths": tenths,
        "compared": any(metric.name == "features_shared" for metric in book.metrics),
        "provenance": sorted(book.facts.items()),
        "n_dead": f"{len(book.dead):,}",
    }


def metric_value(value: float, unit: str) -> str:
    """Return a figure of the report: shares and cosines with three decimals, counts whole."""
    if unit in ("share", "cosine", "AUROC"):
        return f"{value:.3f}"
    return f"{value:,.0f}" if value == round(value) else figure(value)
