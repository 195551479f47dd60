"""The page of a feature, or of a group of features."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from atlas.site import links
from atlas.site.book import Book, name_of
from atlas.site.chapter import NEAR_SHOWN, TOP_SHOWN, Chapter
from atlas.site.pages.evidence import (
    name_details,
    name_record,
    near_line,
    near_pictures,
    reliability,
)
from atlas.site.pages.histogram import CHART_HEIGHT, histogram_bars
from atlas.site.pages.icon import rendered_view, stand_in_of, unpictured, where_maps
from atlas.site.pages.parts import Link, common, feature_link, pictures_of
from atlas.site.text import clean, figure, percent

EXAMPLES_SHOWN = 6
ICON_PX = 192
"""The largest side at which an icon is shown on its page."""
WORD = re.compile(r"[^\W\d_]{3,}")
SAY_NOTHING = frozenset(
    ("and", "the", "with", "for", "from", "this", "that", "are", "its", "his", "her")
)
FILM_SHOWN = 10
"""One image of each tenth of firings."""
PICTURES_A_ROW = TOP_SHOWN + FILM_SHOWN + NEAR_SHOWN
"""Columns of a sheet of thumbnails, a feature a row; site.css repeats where each list begins."""


def row_of_images(book: Book, chapter: Chapter, feature: int) -> list[int | None]:
    """Return the row of a feature in its sheet of thumbnails.

    Returns:
        PICTURES_A_ROW images; None for an empty cell.
    """
    if book.live[feature].sensitive:
        return [None] * PICTURES_A_ROW
    row: list[int | None] = []
    for held, most in ((chapter.top, TOP_SHOWN), (chapter.film, FILM_SHOWN), (chapter.near, NEAR_SHOWN)):  # fmt: skip
        images = [image for _, image, _, _, sensitive in held.get(feature, []) if not sensitive]
        row += [image if image in book.shown else None for image in images]
        row += [None] * (most - len(images))
    return row


def feature_view(
    book: Book,
    chapter: Chapter,
    feature: int,
    adjacent: tuple[int | None, int | None],
    sheet: str = "",
) -> dict[str, Any]:
    """Return what a feature's page shows.

    Args:
        book: The atlas.
        chapter: Rows of this feature, among others.
        feature: A live feature.
        adjacent: The live features before and after it; None at the ends.
        sheet: Address of its sheet of thumbnails; empty if each is a file.
    """
    row = book.live[feature]
    number = f"{feature:,}"
    name = "" if row.sensitive else name_of(book, feature)
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
        "says": summary(book, chapter, feature),
        "icon_px": min(book.icon_px or ICON_PX, ICON_PX),
        **numbers_view(book, chapter, feature),
        **images_view(book, chapter, feature),
        "neighbors": [
            feature_link(other, f"{cosine:.2f}", book)
            for _, other, cosine in chapter.neighbors.get(feature, [])
        ],
        "coactive": [
            feature_link(other, percent(share), book)
            for _, other, share in chapter.coactive.get(feature, [])
        ],
        **family_view(book, chapter, feature),
        "bibtex": bibtex(book, feature, name),
        "feedback": links.feedback(book.facts["owner_url"], f"{book.facts['id']}/f{feature}"),
        **{
            way: "" if other is None else links.feature_page(other, book.layout)
            for way, other in zip(("before", "after"), adjacent, strict=True)
        },
        "card": own_card(book, feature),
        "oembed": links.oembed_json(feature) if book.base_url and book.layout == "pages" else "",
        **shared_ways(book, feature),
        "json": links.feature_json(feature),
        "map_link": f"{links.MAP}#f{feature}",
    }


def own_card(book: Book, feature: int) -> str:
    """Return the picture that is shown where a feature's page is shared: its icon, if that is a file."""
    icon = book.icons.get(feature, "")
    return links.CARD if book.icons and (not icon or links.as_cell(icon)) else icon


EMBED_WIDTH, EMBED_HEIGHT = 360, 440
"""Of a frame that shows a feature, in CSS pixels."""


def shared_ways(book: Book, feature: int) -> dict[str, str]:
    """Return the full address of a feature's page and the markup of a frame of it; empty without base_url."""
    if not book.base_url:
        return {"link": "", "frame": ""}
    return {
        "link": f"{book.base_url}/{links.feature_page(feature, book.layout)}",
        "frame": frame_markup(book, feature),
    }


def frame_markup(book: Book, feature: int) -> str:
    """Return the markup that shows a feature in other people's pages."""
    return (
        f'<iframe src="{book.base_url}/{links.EMBED}#{feature}" width="{EMBED_WIDTH}" '
        f'height="{EMBED_HEIGHT}" title="Feature {feature}" loading="lazy"></iframe>'
    )


def oembed_record(book: Book, feature: int) -> dict[str, Any]:
    """Return a feature's record of oEmbed, version 1.0."""
    name = "" if book.live[feature].sensitive else name_of(book, feature)
    return {
        "version": "1.0",
        "type": "rich",
        "title": f"{name or 'Feature'} · {feature:,}",
        "provider_name": book.facts["title"],
        "provider_url": f"{book.base_url}/",
        "html": frame_markup(book, feature),
        "width": EMBED_WIDTH,
        "height": EMBED_HEIGHT,
    }


def summary(book: Book, chapter: Chapter, feature: int) -> str:
    """Return one sentence on what a feature fires on, made from its strongest pictures."""
    row = book.live[feature]
    told = f"Fires on {percent(row.density)} of pictures"
    captions = [
        clean(caption)
        for *_, caption, sensitive in chapter.top.get(feature, [])
        if caption and not sensitive
    ]
    if row.sensitive or not captions:
        return f"{told}."
    best = name_record(chapter, feature)
    if best and best["strong"]:
        return f"{told}, most of all on “{clean(best['label'] or best['name'])}”: in the captions or tags of {best['held']} of its {best['strong']} strongest."
    word, count = shared_word(captions)
    if 2 * count > len(captions) > 1:
        return f"{told}, most of all on “{word}”, a word in the captions of {count} of its {len(captions)} strongest."
    return f"{told}, most of all on “{captions[0]}”."


def shared_word(captions: Sequence[str]) -> tuple[str, int]:
    """Return the word that most captions have, and how many; the earliest of equals."""
    words = [dict.fromkeys(WORD.findall(caption.lower())) for caption in captions]
    counts = Counter(word for each in words for word in each if word not in SAY_NOTHING)
    return counts.most_common(1)[0] if counts else ("", 0)


def numbers_view(book: Book, chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return a feature's figures: of its firings, their histogram and its direction."""
    row = book.live[feature]
    bars = histogram_bars(chapter.histogram.get(feature, []))
    scored = row.monosemanticity is not None
    return {
        "figures": [
            ("density", percent(row.density), f"fires on {row.count:,} pictures"),
            ("strongest", figure(row.max), "largest activation, unitless"),
            ("median", figure(row.median), "over the pictures on which it fires"),
            ("share of mass", percent(row.mass_share), "of the activation of all features"),
        ],
        "bars": bars,
        "chart_height": CHART_HEIGHT,
        "weakest": figure(chapter.histogram[feature][0][1]) if bars.path else "",
        "strongest": figure(row.max),
        "spread": f"Half of its {row.count:,} pictures excite it to {figure(row.median)} or more, the strongest to {figure(row.max)}.",
        "details": [
            ("mean where it fires", figure(row.mean)),
            ("length of decoder direction", figure(row.decoder_norm)),
            ("selectivity", figure(row.selectivity)),
            *([] if row.sensitive else name_details(chapter, feature)),
            *(
                [("monosemanticity in a second encoder", f"{row.monosemanticity:.3f}")]
                if scored
                else []
            ),
            *(
                [("found again with other seeds", f"in {row.seeds_seen} of {row.seeds} SAEs")]
                if row.seeds
                else []
            ),
        ],
    }


def words_view(chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return the labels of a feature beside its name; without one, the best guesses."""
    words = [clean(row[1]) for row in chapter.labels.get(feature, [])]
    named = feature in chapter.named
    return {"also": words[1:] if named else [], "perhaps": [] if named else words}


def images_view(book: Book, chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return a feature's pictures and the words that come from them; none of a sensitive one."""
    shown = {"icon": stand_in_of(book, chapter, feature)}
    withheld = sum(bool(row[4]) for row in chapter.top.get(feature, []))
    if book.live[feature].sensitive:
        lists: dict[str, list[Any]] = {
            name: [] for name in ("also", "perhaps", "top", "where", "film", "near", "occurs")
        }
        texts = {"evidence": "", "near_line": "", "unpictured": None, "rendered": None}
        return {**shown, **lists, **texts, "withheld": True, "withheld_images": withheld}
    return {
        **shown,
        **words_view(chapter, feature),
        "evidence": reliability(book, chapter, feature),
        "withheld": False,
        "withheld_images": withheld,
        "unpictured": unpictured(book, chapter, feature),
        "rendered": rendered_view(book, chapter, feature),
        "top": pictures_of(chapter.top.get(feature, []), book),
        "where": where_maps(book, chapter, feature),
        "film": pictures_of(chapter.film.get(feature, []), book),
        "near": near_pictures(book, chapter, feature),
        "near_line": near_line(chapter, feature),
        "occurs": pictures_of(chapter.concepts.get(feature, [])[:EXAMPLES_SHOWN], book),
    }


def frame_view(book: Book) -> dict[str, Any]:
    """Return what the frame around every feature's page shows."""
    return common(book, links.any_feature_page(book.layout), "")


CHILDREN_SHOWN = 12
TEX = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"\\": " ", "~": " ", "^": " "})
"""Characters that LaTeX interprets; some cannot be escaped in text and become spaces."""


def bibtex(book: Book, feature: int, name: str) -> str:
    """Return the BibTeX entry of a feature; without a year, as builds do not depend on the date."""
    key = f"{book.facts['id']}/f{feature}"
    title = f"Feature {feature}{f': {name}' if name else ''}".translate(TEX)
    return (
        f"@misc{{{key.replace(':', '-').replace('/', '-')},\n"
        f"  title = {{{title}}},\n"
        f"  howpublished = {{{book.facts['title'].translate(TEX)}, {key}}},\n"
        f"}}"
    )


def group_view(book: Book, features: Sequence[int]) -> dict[str, Any]:
    """Return what the frame of a group's page shows.

    Args:
        book: The atlas.
        features: The live features of one group.
    """
    group = features[0] // links.FEATURES_A_GROUP
    ends = [f"{number:,}" for number in (features[0], features[-1])]
    title = f"Features {ends[0]} to {ends[1]}" if len(features) > 1 else f"Feature {ends[0]}"
    return {**common(book, links.group_page(group), title), "heading": title}


def family_view(book: Book, chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return the relatives of a feature by kind, and its clusters, coarsest first."""
    of_kind: dict[str, list[Link]] = defaultdict(list)
    for _, kind, other, cosine, share, back in chapter.relatives.get(feature, []):
        value = f"{percent(share)}, back {percent(back)}" if kind == "parent" else f"{cosine:.2f}"
        of_kind[kind].append(feature_link(other, value, book))
    children = [
        feature_link(child, f"{percent(share)}, back {percent(back)}", book)
        for _, child, share, back in chapter.children.get(feature, [])[:CHILDREN_SHOWN]
    ]
    kinds = [
        ("Parents", "fire where this one is strong; back: how often this one fires where they are strong", of_kind["parent"]),
        ("Children", "this one fires where they are strong; back: how often they fire where it is strong", children),
        ("Duplicates", "have nearly the same direction and fire on the same pictures; cosine of the decoder directions", of_kind["duplicate"]),
        ("Antipode", "has the opposite direction; cosine of the decoder directions", of_kind["antipode"]),
    ]  # fmt: skip
    clusters = chapter.clusters.get(feature, [])
    middle = next((cluster for _, level, cluster, *_ in clusters if level == 1), None)
    return {
        "kin": [(title, note, held) for title, note, held in kinds if held],
        "clusters": [
            (clean(label) or f"family {cluster + 1}", f"{size:,}", cluster_link(level, cluster, middle))
            for _, level, cluster, label, size in clusters
        ],
    }  # fmt: skip


def cluster_link(level: int, cluster: int, middle: int | None) -> str:
    """Return where a cluster is shown.

    Level 0 is a section of the overview, level 1 a page, level 2 a section of that page.

    Args:
        level: Of the cluster.
        cluster: Its number in that level.
        middle: Cluster of level 1 that contains it, if known.
    """
    if level == 0:
        return f"{links.FAMILIES}#c{cluster}"
    page = links.family_page(middle if middle is not None else cluster)
    return page if level == 1 else f"{page}#c{cluster}"
