"""What the site's scripts search and list: words of labels and captions, word lists, rows of features.

A file from a disk can't fetch another, but it may load a script: so each piece is a script that
hands over plain data. Pieces are small, and loaded when they are needed, so that no key waits
for more than it asks for.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from atlas.site import links

LABEL_WEIGHT = 100
"""What a word of a label adds, times the label's score; a word of captions adds as much where
all of a feature's strongest images have it."""
FEATURES_A_WORD = 400
"""The best features kept for one word."""
PIECE_CHARS = 65_536
"""About as much as a slow machine reads between two keys without a hitch."""
LONGEST_PREFIX = 12
"""Words that agree in so many letters share a piece, whatever its length."""
FIRST_SHOWN = 8
"""Features that a piece tells of each next letter, so that a key is answered before that letter's
own piece is here."""
UNFINISHED = 0.2
"""What a word that only begins as typed counts, beside the word itself and its plural."""
FEATURES_A_FILE = 1024
"""Numbers, live or not, of which a file holds the rows."""
MAP_SIDE = 10_000
"""The map's places are told in so many steps a side."""


def words_of(text: str) -> list[str]:
    """Return the words of a text as search compares them: lower case, letters and digits."""
    return re.findall(r"\w+", text.lower())


def word_weights(
    labels: Iterable[tuple[int, str, float]], texts: Iterable[tuple[int, str, float]]
) -> dict[str, dict[int, int]]:
    """Return for each word the features it leads to, with a weight: more is better.

    Args:
        labels: (feature, label, score) with scores from 0 to 1.
        texts: (feature, words that came with one of its strongest images, activation on it).
    """
    found: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    total: dict[int, float] = defaultdict(float)
    for feature, text, activation in texts:
        total[feature] += activation
        for word in set(words_of(text)):
            found[word][feature] += activation
    for held in found.values():
        for feature in held:
            held[feature] *= LABEL_WEIGHT / total[feature]
    for feature, label, score in labels:
        for word in set(words_of(label)):
            found[word][feature] += LABEL_WEIGHT * score
    return {
        word: {feature: max(1, round(weight)) for feature, weight in held.items()}
        for word, held in found.items()
    }


@dataclass(frozen=True, slots=True)
class _Entry:
    """A word with its features, or a word or pair of the vocabulary with its nearest ones."""

    key: str
    """The word under which it is kept: of a pair the first."""
    text: str
    meant: bool
    """Whether it is of the vocabulary."""
    pairs: Sequence[tuple[int, float]]
    """(feature, weight), best first."""

    @property
    def size(self) -> int:
        """About how many characters it takes."""
        return len(self.text) + 8 * len(self.pairs)


_Rows: TypeAlias = Mapping[int, tuple[int, Mapping[str, Any]]]
"""Feature -> (its place on the map, its row of the table of features)."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What the pieces under a prefix tell the piece above them."""

    best: Mapping[int, float]
    """The best features of any of their words, each with its largest weight."""
    first: Sequence[int]
    """What the prefix itself leads to first, best first."""
    shortest: _Entry | None
    """The shortest word of the vocabulary; of two the first in the alphabet."""


def index_scripts(
    weights: Mapping[str, Mapping[int, int]],
    meanings: Iterable[tuple[str, Sequence[tuple[int, int]]]] = (),
    piece_chars: int = PIECE_CHARS,
    rows: Sequence[Mapping[str, Any]] = (),
) -> dict[str, str]:
    """Return the scripts of the index: prefix -> text.

    Words that begin alike share a piece. Where they would fill more than piece_chars, each
    next letter has a piece of its own, and the piece above holds what the prefix itself leads to.
    So whatever is typed is answered by the piece of the longest prefix that there is. A piece that
    was divided also holds the first features of each next letter and their rows, which are shown
    while that letter's own piece is loading; the piece of the empty prefix holds these alone.

    Each word holds feature, weight, feature, weight and so on, best first; so does each entry of
    meanings, which lies under its first word.

    Args:
        weights: Word of labels and captions -> feature -> weight.
        meanings: (word or pair of words, its nearest features with their scores).
        piece_chars: About how long a piece may be; it is longer where a prefix can't be split.
        rows: A record a feature, in the order of the map, as table_scripts takes them.
    """
    entries = [
        _Entry(word, word, meant=False, pairs=_best(weights[word])) for word in sorted(weights)
    ]
    entries += [
        _Entry(entry.split(" ")[0], entry, meant=True, pairs=scored) for entry, scored in meanings
    ]
    held = {row["feature"]: (place, row) for place, row in enumerate(rows)}
    pieces: dict[str, str] = {}
    letters = [
        (letter, _write(pieces, letter, under, piece_chars, held))
        for letter, under in _by_next("", entries)
    ]
    pieces[""] = _piece("", [], _ahead(letters, held))
    return dict(sorted(pieces.items()))


def _best(weights: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))[:FEATURES_A_WORD]


def _by_next(prefix: str, entries: Sequence[_Entry]) -> list[tuple[str, list[_Entry]]]:
    """Return prefixes one letter longer, each with the entries that begin so."""
    held: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        if len(entry.key) > len(prefix):
            held[entry.key[: len(prefix) + 1]].append(entry)
    return sorted(held.items())


def _write(
    pieces: dict[str, str], prefix: str, entries: Sequence[_Entry], chars: int, rows: _Rows
) -> _Told:
    """Add the piece of a prefix, and those below it; tell what they hold."""
    one = len(prefix) == LONGEST_PREFIX or all(entry.key == prefix for entry in entries)
    if one or sum(entry.size for entry in entries) <= chars:
        pieces[prefix] = _piece(prefix, entries, {"words": _flat_words(entries, meant=False)})
        told = _tell(entries, [])
        return replace(told, first=_first(_begins(prefix, entries, told)))
    below = [
        (longer, _write(pieces, longer, under, chars, rows))
        for longer, under in _by_next(prefix, entries)
    ]
    told = _tell([entry for entry in entries if entry.key == prefix], [each for _, each in below])
    own = [entry for entry in entries if entry.meant and entry.key == prefix]
    if told.shortest and told.shortest not in own:
        own.append(told.shortest)
    # Rounded before they are compared: the page sees no more digits.
    begins = {
        feature: float(f"{weight:.4g}") for feature, weight in _best(_begins(prefix, entries, told))
    }
    said = {"begins": _flat(begins.items()), **_ahead(below, rows)}
    pieces[prefix] = _piece(prefix, own, said)
    return replace(told, first=_first(begins))


def _begins(prefix: str, entries: Sequence[_Entry], told: _Told) -> dict[int, float]:
    """Return what a prefix leads to where it is typed alone, with weights."""
    begins = {feature: UNFINISHED * weight for feature, weight in told.best.items()}
    for entry in entries:
        if not entry.meant and entry.text in (prefix, f"{prefix}s"):
            for feature, weight in entry.pairs:
                begins[feature] = max(begins.get(feature, 0), weight)
    return begins


def _first(weights: Mapping[int, float]) -> list[int]:
    return [feature for feature, _ in _best(weights)[:FIRST_SHOWN]]


def _ahead(below: Sequence[tuple[str, _Told]], rows: _Rows) -> dict[str, Any]:
    """Return the first features of each next letter, and the rows of all of them."""
    letters = {longer[-1]: told.first for longer, told in below if told.first}
    shown = sorted({feature for first in letters.values() for feature in first} & rows.keys())
    return {"next": letters, "rows": _columns([rows[feature] for feature in shown])}


def _piece(prefix: str, entries: Sequence[_Entry], said: Mapping[str, Any]) -> str:
    meant = _flat_words(entries, meant=True)
    return script("atlasWords", {"prefix": prefix, "meanings": meant, **said})


def _tell(entries: Sequence[_Entry], below: Sequence[_Told]) -> _Told:
    best: dict[int, float] = {}
    words = [entry.pairs for entry in entries if not entry.meant]
    for pairs in [*words, *(told.best.items() for told in below)]:
        for feature, weight in pairs:
            if weight > best.get(feature, 0):
                best[feature] = weight
    single = [entry for entry in entries if entry.meant and entry.text == entry.key]
    single += [told.shortest for told in below if told.shortest]
    shortest = min(single, key=lambda entry: (len(entry.text), entry.text), default=None)
    return _Told(dict(_best(best)), [], shortest)


def _flat_words(entries: Iterable[_Entry], *, meant: bool) -> dict[str, list[float]]:
    return {entry.text: _flat(entry.pairs) for entry in entries if entry.meant == meant}


def _flat(pairs: Iterable[tuple[int, float]]) -> list[float]:
    return [number for pair in pairs for number in pair]


def file_name(prefix: str) -> str:
    """Return the name of a prefix's file, without ending; table.js does the same.

    Latin letters and digits stand for themselves, all else for its number: names are safe on any
    disk and host. That of the empty prefix is "_".
    """
    return (
        "_"
        if not prefix
        else "".join(c if re.match("[a-z0-9]", c) else f"_{ord(c):x}" for c in prefix)
    )


def table_scripts(
    rows: Sequence[Mapping[str, Any]],
    prefixes: Iterable[str],
    regions: Iterable[Sequence[Any]] = (),
    layout: str = "pages",
    *,
    icons_2x: bool = False,
) -> dict[str, str]:
    """Return the scripts of the table of features shown: address -> text.

    The first says what there is. A row's place is its place in the order given. Rows come in
    files by number, with what lists show; the map's places and what browsing sorts by have files
    of their own, by place: no page waits for what it does not show.

    Args:
        rows: A record a feature, in the order of the map.
        prefixes: Those of the scripts of words.
        regions: (level, name, x, y) of the map's named regions.
        layout: As site.layout has it.
        icons_2x: Whether sheets of icons have a second one beside them for dense screens.
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
    }
    measures = {key: [row[key] for row in rows] for key in ("max", "selectivity", "trip")}
    return {
        links.FEATURES_SCRIPT: script("atlasFeatures", head),
        links.SPOTS_SCRIPT: script("atlasSpots", spots),
        links.MEASURES_SCRIPT: script("atlasMeasures", measures),
        **{
            links.rows_script(number): script("atlasRows", _columns(some))
            for number, some in sorted(held.items())
        },
    }


def _columns(some: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, list[Any]]:
    columns = {key: [row[key] for _, row in some] for key in ("feature", "name", "icon", "density")}
    return {"place": [place for place, _ in some], **columns}


def script(receiver: str, value: Any) -> str:
    """Return a script that hands a value to a function of the page's own script.

    All but ASCII is escaped, and so is "<": the text can't end a script or hold a line
    separator that only some browsers know.
    """
    data = json.dumps(value, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
    return f"{receiver}({data});\n"
