"""A feature as a record of the JSON files."""

from __future__ import annotations

from typing import Any

from atlas.site import links
from atlas.site.book import ROW_FIELDS, Book
from atlas.site.chapter import Chapter, Rows
from atlas.site.pages.evidence import label_records, name_record
from atlas.site.pages.icon import round_trip_record


def short(value: Any) -> Any:
    """Return a fraction with five significant digits, any other value unchanged."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def feature_record(book: Book, chapter: Chapter, feature: int) -> dict[str, Any]:
    """Return the JSON record of a feature.

    Numbers have five significant digits; the Parquet tables have them in full, and the captions.
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
        "round_trip": None if hidden else round_trip_record(chapter, feature),
        "side_effects": [
            {"feature": other, "on_icon": after, "on_template": before}
            for _, other, after, before in ([] if hidden else chapter.effects.get(feature, []))
        ],
        "strip": [
            {"strength": strength, "on_icon": on_icon}
            for _, strength, on_icon in ([] if hidden else chapter.strip.get(feature, []))
        ],
        "name": None if hidden else name_record(chapter, feature),
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
