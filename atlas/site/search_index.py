"""The search index, as scripts: words of labels and captions, vocabulary words, feature rows.

A page opened from disk cannot fetch files, but it may load scripts, so each piece of the index is
a script that passes plain data to the page. Pieces are small and loaded on demand, so that a
keystroke never waits for more than it needs. table.js and search.js follow the same rules.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from atlas.base.text import plain_words
from atlas.site import links

NAMED = 1000
"""Weight of a word in a label; search.js divides by it."""
HELD = 100
"""Weight of each of a feature's strongest images whose caption or tags have a word, below NAMED together."""
FEATURES_A_WORD = 400
"""Features kept for one word, the best ones."""
PIECE_CHARS = 65_536
"""About as much as a slow machine parses between two keystrokes without a noticeable delay."""
LONGEST_PREFIX = 12
"""Words that share this many first letters share a piece, however long it gets."""
FIRST_SHOWN = 8
"""Features that a piece lists for each next letter, so that a keystroke is answered before that
letter's own piece has loaded."""
UNFINISHED = 0.05
"""Factor for words that only begin with what was typed; the word and its plural count in full, and
always more."""
FEATURES_A_FILE = 1024
"""Consecutive feature numbers, live or not, whose rows share a file."""
MAP_SIDE = 10_000
"""Positions on the map are integers from 0 to this; map.js divides by it."""


def word_weights(
    labels: Iterable[tuple[int, str]], texts: Iterable[tuple[int, str, float]]
) -> dict[str, dict[int, int]]:
    """Return for each word the features that it finds, with weights; larger is better.

    A weight says why: NAMED for a label, HELD for each of the strongest images, and up to 99 for
    the share of their activation, which settles ties.

    Args:
        labels: (feature, label).
        texts: (feature, caption and tags of one of its strongest images, activation on it).
    """
    held: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    total: dict[int, float] = defaultdict(float)
    for feature, text, activation in texts:
        total[feature] += activation
        for word in set(plain_words(text)):
            held[word][feature].append(activation)
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for word, features in held.items():
        for feature, on in features.items():
            found[word][feature] = HELD * len(on) + int((HELD - 1) * sum(on) / total[feature])
    for feature, label in labels:
        for word in set(plain_words(label)):
            weight = found[word].get(feature, 0)
            found[word][feature] = weight % NAMED + NAMED
    return dict(found)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A word of labels and captions, or an entry of the vocabulary, with its features."""

    key: str
    """The word under which it is filed: the first word of text."""
    text: str
    from_vocabulary: bool
    pairs: Sequence[tuple[int, float]]
    """(feature, weight), best first."""

    @property
    def size(self) -> int:
        """Estimated characters in the script."""
        return len(self.text) + 8 * len(self.pairs)


_Rows: TypeAlias = Mapping[int, tuple[int, Mapping[str, Any]]]
"""Feature -> (its place in the order of the map, its row)."""


@dataclass(frozen=True, slots=True)
class _Summary:
    """What the pieces below a prefix pass up to the piece above them."""

    best: Mapping[int, float]
    """The best features of all their words, each with its largest weight."""
    first: Sequence[int]
    """The first features that the prefix itself finds, best first."""
    shortest: _Entry | None
    """The shortest word of the vocabulary; of equally short ones the first in the alphabet."""


def index_scripts(
    weights: Mapping[str, Mapping[int, int]],
    meanings: Iterable[tuple[str, Sequence[tuple[int, int]]]] = (),
    piece_chars: int = PIECE_CHARS,
    rows: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """Return the scripts of the index: prefix -> text.

    Words with the same first letters share a piece. If they would fill more than piece_chars,
    the piece is split by the next letter, and the piece above holds what the prefix itself finds.
    So any query is answered by the piece of its longest prefix that has one. A piece that was split
    also holds the first features of each next letter and their rows, which are shown while that
    letter's own piece is loading; the piece of the empty prefix holds only these.

    The features of a word are a flat list (feature, weight, feature, weight, ...), best first; so
    are those of each entry of meanings, which is filed under its first word.

    Args:
        weights: Word of labels and captions -> feature -> weight.
        meanings: (word or pair of words, its nearest features with their scores).
        piece_chars: Approximate limit of a piece; one that cannot be split may exceed it.
        rows: One record per feature, in the order of the map, as in table_scripts.
    """
    entries = [
        _Entry(word, word, from_vocabulary=False, pairs=_best(weights[word]))
        for word in sorted(weights)
    ]
    entries += [
        _Entry(entry.split(" ")[0], entry, from_vocabulary=True, pairs=scored)
        for entry, scored in meanings
    ]
    held = {row["feature"]: (place, row) for place, row in enumerate(rows)}
    pieces: dict[str, str] = {}
    letters = [
        (letter, _write_piece(pieces, letter, under, piece_chars, held))
        for letter, under in _by_next("", entries)
    ]
    pieces[""] = _piece("", [], _next_letters(letters, held))
    return dict(sorted(pieces.items()))


def _best(weights: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:FEATURES_A_WORD]


def _by_next(prefix: str, entries: Sequence[_Entry]) -> list[tuple[str, list[_Entry]]]:
    """Return the prefixes one letter longer, each with its entries."""
    held: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        if len(entry.key) > len(prefix):
            held[entry.key[: len(prefix) + 1]].append(entry)
    return sorted(held.items())


def _write_piece(
    pieces: dict[str, str], prefix: str, entries: Sequence[_Entry], chars: int, rows: _Rows
) -> _Summary:
    """Add the piece of a prefix and the pieces below it; return their summary."""
    one = len(prefix) == LONGEST_PREFIX or all(entry.key == prefix for entry in entries)
    if one or sum(entry.size for entry in entries) <= chars:
        pieces[prefix] = _piece(
            prefix, entries, {"words": _flat_words(entries, from_vocabulary=False)}
        )
        summary = _summarize(entries, [])
        return replace(summary, first=_first(_found_by(prefix, entries, summary)))
    below = [
        (longer, _write_piece(pieces, longer, under, chars, rows))
        for longer, under in _by_next(prefix, entries)
    ]
    summary = _summarize(
        [entry for entry in entries if entry.key == prefix], [each for _, each in below]
    )
    own = [entry for entry in entries if entry.from_vocabulary and entry.key == prefix]
    if summary.shortest and summary.shortest not in own:
        own.append(summary.shortest)
    # Rounded before sorting: the page sees these digits and must arrive at the same order.
    begins = {
        feature: float(f"{weight:.4g}")
        for feature, weight in _best(_found_by(prefix, entries, summary))
    }
    payload = {"begins": _flat(begins.items()), **_next_letters(below, rows)}
    pieces[prefix] = _piece(prefix, own, payload)
    return replace(summary, first=_first(begins))


def _found_by(prefix: str, entries: Sequence[_Entry], summary: _Summary) -> dict[int, float]:
    """Return the features that a prefix finds when it is typed alone, with weights."""
    begins = {feature: UNFINISHED * weight for feature, weight in summary.best.items()}
    for entry in entries:
        if not entry.from_vocabulary and entry.text in (prefix, f"{prefix}s"):
            for feature, weight in entry.pairs:
                begins[feature] = max(begins.get(feature, 0), weight)
    return begins


def _first(weights: Mapping[int, float]) -> list[int]:
    return [feature for feature, _ in _best(weights)[:FIRST_SHOWN]]


def _next_letters(below: Sequence[tuple[str, _Summary]], rows: _Rows) -> dict[str, Any]:
    """Return the first features of each next letter, and the rows of these features."""
    letters = {longer[-1]: summary.first for longer, summary in below if summary.first}
    shown = sorted({feature for first in letters.values() for feature in first} & rows.keys())
    return {"next": letters, "rows": _columns([rows[feature] for feature in shown])}


def _piece(prefix: str, entries: Sequence[_Entry], payload: Mapping[str, Any]) -> str:
    meanings = _flat_words(entries, from_vocabulary=True)
    return script("atlasWords", {"prefix": prefix, "meanings": meanings, **payload})


def _summarize(entries: Sequence[_Entry], below: Sequence[_Summary]) -> _Summary:
    best: dict[int, float] = {}
    words = [entry.pairs for entry in entries if not entry.from_vocabulary]
    for pairs in [*words, *(summary.best.items() for summary in below)]:
        for feature, weight in pairs:
            if weight > best.get(feature, 0):
                best[feature] = weight
    single = [entry for entry in entries if entry.from_vocabulary and entry.text == entry.key]
    single += [summary.shortest for summary in below if summary.shortest]
    shortest = min(single, key=lambda entry: (len(entry.text), entry.text), default=None)
    return _Summary(dict(_best(best)), [], shortest)


def _flat_words(entries: Iterable[_Entry], *, from_vocabulary: bool) -> dict[str, list[float]]:
    return {
        entry.text: _flat(entry.pairs)
        for entry in entries
        if entry.from_vocabulary == from_vocabulary
    }


def _flat(pairs: Iterable[tuple[int, float]]) -> list[float]:
    return [number for pair in pairs for number in pair]


def file_name(prefix: str) -> str:
    """Return the file name of a prefix, without its suffix; table.js does the same.

    Latin letters and digits are kept and all else is written as its code point, so that names are
    safe on any file system and host. The empty prefix is "_".
    """
    return (
        "_"
        if not prefix
        else "".join(c if re.match("[a-z0-9]", c) else f"_{ord(c):x}" for c in prefix)
    )


MEASURES = ("max", "selectivity", "trip", "verdict", "alike", "sure", "family")


def table_scripts(
    rows: Sequence[Mapping[str, Any]],
    prefixes: Iterable[str],
    regions: Iterable[Sequence[Any]] = (),
    layout: str = "pages",
    families: Sequence[str] = (),
    levels: Sequence[Mapping[str, Any]] = (),
    *,
    icons_2x: bool = False,
) -> dict[str, str]:
    """Return the scripts with the features' rows: address -> text.

    The first one lists the others. Rows come in files by feature number, with what lists show. The
    positions on the map and the columns that browsing sorts and filters by have files of their own, in the
    order given, so that no page waits for what it does not show.

    Args:
        rows: One record per feature, in the order of the map.
        prefixes: The prefixes of index_scripts, without the empty one.
        regions: (level, name, x, y, family, features) of the named regions of the map.
        layout: The setting site.layout.
        families: The names of the families, by the number that rows have.
        levels: Who stands for each cell of the map, as map_sheets.as_data returns them.
        icons_2x: Whether each sheet of icons has a second one, of twice the resolution.
    """
    held: dict[int, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for place, row in enumerate(rows):
        held[row["feature"] // FEATURES_A_FILE].append((place, row))
    strongest = sorted(
        range(len(rows)),
        key=lambda i: (-rows[i]["density"] * rows[i]["max"], rows[i]["feature"]),
    )
    head = {
        "n": len(rows),
        "files": sorted(held),
        "prefixes": sorted(prefixes),
        "regions": [list(region) for region in regions],
        "layout": layout,
        "trips": any(row["trip"] >= 0 for row in rows),
        "twice": icons_2x,
    }
    spots = {
        "x": [round(MAP_SIDE * row["x"]) for row in rows],
        "y": [round(MAP_SIDE * row["y"]) for row in rows],
        "strongest": strongest,
        "levels": list(levels),
    }
    measures = {
        "families": list(families),
        **{key: [row[key] for row in rows] for key in MEASURES},
    }
    return {
        links.FEATURES_SCRIPT: script("atlasFeatures", head),
        links.SPOTS_SCRIPT: script("atlasSpots", spots),
        links.MEASURES_SCRIPT: script("atlasMeasures", measures),
        **{
            links.rows_script(number): script("atlasRows", _with_tops(group))
            for number, group in sorted(held.items())
        },
    }


def _columns(group: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, list[Any]]:
    columns = {
        key: [row[key] for _, row in group] for key in ("feature", "name", "icon", "density")
    }
    return {"place": [place for place, _ in group], **columns}


def _with_tops(group: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, list[Any]]:
    """Return the columns, and the strongest images of each feature where any has some."""
    tops = [row["tops"] for _, row in group]
    return {**_columns(group), **({"tops": tops} if any(tops) else {})}


def script(receiver: str, value: Any) -> str:
    """Return a script that passes a value to a function of the page's own script.

    Non-ASCII characters and "<" are escaped: the text cannot close a script element, nor hold a
    line separator (U+2028) that older browsers do not accept in a string.
    """
    data = json.dumps(value, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
    return f"{receiver}({data});\n"
