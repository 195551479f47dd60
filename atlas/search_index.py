"""What the site's scripts search: words of labels and captions, and word lists, in small files by prefix.

A file from a disk can't fetch another, but it may load a script: so each piece of the index
is a script that hands over plain data.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LABEL_WEIGHT = 100
"""What a word of a label adds, times the label's score; a word of captions adds as much where
all of a feature's strongest images have it."""
FEATURES_A_WORD = 400
"""The best features kept for one word."""
OTHER = "_"
"""Prefix of words that begin with anything but two Latin letters or digits."""


def words_of(text: str) -> list[str]:
    """Return the words of a text as search compares them: lower case, letters and digits."""
    return re.findall(r"\w+", text.lower())


def prefix_of(word: str) -> str:
    """Return the prefix under whose file a word is kept; search.js does the same."""
    return word[:2] if re.match(r"[a-z0-9]{2}", word) else OTHER


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


def index_scripts(
    weights: Mapping[str, Mapping[int, int]],
    meanings: Iterable[tuple[str, Sequence[tuple[int, int]]]] = (),
) -> dict[str, str]:
    """Return the scripts of the index: prefix -> text.

    Each word holds feature, weight, feature, weight and so on, best first; so does each entry of
    meanings, which lies under the prefix of its first word.

    Args:
        weights: Word of labels and captions -> feature -> weight.
        meanings: (word or pair of words, its nearest features with their scores).
    """
    by_prefix: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for word in sorted(weights):
        best = sorted(weights[word].items(), key=lambda item: (-item[1], item[0]))
        by_prefix[prefix_of(word)][word] = _flat(best[:FEATURES_A_WORD])
    meant: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for entry, scored in meanings:
        meant[prefix_of(entry.split(" ")[0])][entry] = _flat(scored)
    return {
        prefix: script(
            "atlasWords", {"prefix": prefix, "words": by_prefix[prefix], "meanings": meant[prefix]}
        )
        for prefix in sorted(by_prefix.keys() | meant.keys())
    }


def _flat(pairs: Iterable[tuple[int, int]]) -> list[int]:
    return [number for pair in pairs for number in pair]


def features_script(
    rows: Iterable[Mapping[str, Any]],
    prefixes: Iterable[str],
    regions: Iterable[Sequence[Any]] = (),
    layout: str = "pages",
) -> str:
    """Return the script that tells name, icon, density and place of every feature shown.

    Args:
        rows: A record a feature.
        prefixes: Those of the scripts of words.
        regions: (level, name, x, y) of the map's named regions.
        layout: As site.layout has it.
    """
    listed = list(rows)
    keys = ("feature", "name", "icon", "density", "max", "selectivity", "trip", "x", "y")
    columns = {key: [row[key] for row in listed] for key in keys}
    return script(
        "atlasFeatures",
        {
            **columns,
            "prefixes": sorted(prefixes),
            "regions": [list(region) for region in regions],
            "layout": layout,
        },
    )


def script(receiver: str, value: Any) -> str:
    """Return a script that hands a value to a function of the page's own script.

    All but ASCII is escaped, and so is "<": the text can't end a script or hold a line
    separator that only some browsers know.
    """
    data = json.dumps(value, separators=(",", ":"), sort_keys=True).replace("<", "\\u003c")
    return f"{receiver}({data});\n"
