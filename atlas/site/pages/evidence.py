"""What a feature's page shows about its name: labels, reliability, near misses."""

from __future__ import annotations

from typing import Any

from atlas.site.book import Book, FeatureRow
from atlas.site.chapter import LABEL_COLUMNS, NAME_COLUMNS, Chapter
from atlas.site.pages.parts import Picture, picture
from atlas.site.text import clean, figure, percent
from atlas.study.naming import FEWEST_FIRINGS


def label_records(chapter: Chapter, feature: int) -> list[dict[str, Any]]:
    """Return the labels of a feature, as dictionaries by column."""
    columns = LABEL_COLUMNS.split(", ")
    rows = chapter.labels.get(feature, [])
    return [dict(zip(columns, row[1:], strict=True)) for row in rows]


def name_record(chapter: Chapter, feature: int) -> dict[str, Any] | None:
    """Return the best name of a feature with what bears it out; None where it has none."""
    for row in chapter.named.get(feature, []):
        return dict(zip(NAME_COLUMNS.split(", "), row[1:], strict=True))
    return None


def name_details(chapter: Chapter, feature: int) -> list[tuple[str, str]]:
    """Return how the name does on both halves of the images, and beyond the strongest."""
    record = name_record(chapter, feature)
    if not record or record["strong"] is None:
        return []
    shares = (
        ("name in the captions of the strongest pictures that chose it", "chosen"),
        ("of the strongest pictures that had no say in it", "judged"),
        ("of the strongest tenth of these", "tenth"),
        ("of all of these on which it fires", "precision"),
        ("fires on so many of these with the name", "recall"),
        ("name in the captions of its near misses", "near"),
        ("of all pictures", "usual"),
    )
    return [(words, percent(record[key])) for words, key in shares if record[key] is not None]


def reliability(book: Book, chapter: Chapter, feature: int) -> str:
    """Return one or two sentences on how reliable the name of a feature is."""
    labels, record = label_records(chapter, feature), name_record(chapter, feature)
    if not record:
        return _why_nameless(book, book.live[feature], guessed=bool(labels))
    first, author = labels[0], ""
    if record["strong"] is not None:
        author = (
            f"Named by {clean(record['author']) or 'an unknown author'}. "
            if record["source"] == "imported"
            else ""
        )
        return f"{author}In the captions or tags of {record['held']} of its {record['strong']} strongest pictures."
    if first["source"] == "captions":
        return f"In the captions of its strongest pictures, with {percent(first['score'])} of their activation."
    if first["source"] == "imported":
        own = [label for label in labels if label["source"] == "imported"]
        graded, author = own[0], f"Named by {clean(first['author']) or 'an unknown author'}. "
    else:
        graded = labels[-1]
    if graded["auroc"] is None:
        return f"{author}How well the name holds could not be measured."
    what = "the words together pick" if graded is not first else "the name picks"
    low, high = (round(100 * graded[end]) for end in ("auroc_low", "auroc_high"))
    return (
        f"{author}Shown a picture on which it fires and one on which it does not, {what} the right one "
        f"{round(100 * graded['auroc'])} times in 100 (95 %: {low} to {high}; chance 50), on pictures that did not choose the name."
    )


def names_were_looked_for(book: Book) -> bool:
    """Return whether the build named features; else a missing name has no meaning."""
    return any(metric.name == "names_share" for metric in book.metrics)


def _why_nameless(book: Book, row: FeatureRow, *, guessed: bool) -> str:
    """Return why a feature has no name; empty if the build named none."""
    if guessed:
        return "No word stands in the captions of half of its strongest pictures and of few others."
    if not names_were_looked_for(book):
        return ""
    if row.count < FEWEST_FIRINGS:
        return f"It fires on {row.count:,} pictures: too few to name it by."
    return "No word tells its pictures from others well enough."


def near_pictures(book: Book, chapter: Chapter, feature: int) -> list[Picture]:
    """Return the near misses shown, with similarity, pre-activation and verdict."""
    known = {row[1]: row[2:] for row in chapter.misses.get(feature, [])}
    shown = []
    for row in chapter.near.get(feature, []):
        pre, verdict, sibling = known[row[1]]
        value = f"{figure(row[2])} alike, {figure(abs(pre))} short of firing"
        if verdict in ("missed", "absorption suspect"):
            value += "; the name fits it"
        if sibling is not None:
            value += f", and feature {sibling:,} fires on it"
        if not row[4]:
            shown.append(picture(row[1], value, row[3], book))
    return shown


def near_line(chapter: Chapter, feature: int) -> str:
    """Return a sentence on what the near misses mean for a feature's name."""
    verdicts = [row[3] for row in chapter.misses.get(feature, []) if row[3] is not None]
    if not verdicts:
        return ""
    suspects = verdicts.count("absorption suspect")
    missed = verdicts.count("missed") + suspects
    line = f"The name fits {missed} of all {len(verdicts)} near misses: pictures that the feature misses, rather than evidence against its name."
    if suspects:
        line += f" On {suspects} of these a feature with a similar direction fires instead, which may have absorbed them."
    return line
