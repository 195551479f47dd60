"""What captions and tags of features' strongest images say of a query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.base.text import STOP_WORDS, plain_words
from atlas.lookup.catalog import Catalog
from atlas.study.phrases import phrases_of

STRONGEST = 9
"""Images of each feature whose texts are searched: those that its page shows."""
PART = 0.6
"""What a word of several counts beside all of them together."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the texts of a feature's strongest images say of a query."""

    held: int
    """Images whose text has all words."""
    shown: int
    """Strongest images that were searched."""
    share: float
    """Of these images' activation, the share on images that have all words."""
    part: float
    """The same for one word, mean over the words."""
    near: float
    """The same for words near in meaning, each image counted by the nearest it has."""

    @property
    def strength(self) -> float:
        """By how much the texts answer the query, 0 to 1.1."""
        return max(self.share, PART * self.part, self.near) + 0.1 * self.share


def find_evidence(catalog: Catalog, text: str, related: Mapping[str, float]) -> dict[int, Evidence]:
    """Return the evidence of every feature that has any and may be shown.

    Args:
        catalog: Where to look.
        text: The query.
        related: Words near in meaning, with their cosine to it.
    """
    words = [word for word in plain_words(text) if word not in STOP_WORDS]
    if not words:
        return {}
    found: dict[int, list[tuple[float, float, int, str]]] = {}
    for feature, *row in _texts(catalog, [*map(_stem, words), *related]):
        found.setdefault(feature, []).append((*row,))
    weighed = {feature: _weigh(rows, words, related) for feature, rows in found.items()}
    return {feature: one for feature, one in weighed.items() if one.strength > 0}


def _texts(catalog: Catalog, words: Iterable[str]) -> list[tuple[Any, ...]]:
    """Return (feature, activation, sum over its images, images, text) of texts with any of the words."""
    pattern = "|".join(re.escape(word).replace("'", ".") for word in words)
    return catalog.rows(
        f"""WITH shown AS (
                SELECT feature, activation, concat_ws(chr(10), caption, array_to_string(tags, chr(10))) AS text
                FROM top_images JOIN images USING (image) JOIN features f USING (feature)
                WHERE rank < {STRONGEST} AND NOT images.sensitive AND NOT f.sensitive),
            whole AS (SELECT feature, sum(activation) AS total, count(*) AS n FROM shown GROUP BY feature)
            SELECT feature, activation, total, n, text FROM shown JOIN whole USING (feature)
            WHERE regexp_matches(lower(text), ?) ORDER BY feature, activation DESC, text""",
        [pattern],
    )


def _weigh(
    rows: Sequence[tuple[float, float, int, str]],
    words: Sequence[str],
    related: Mapping[str, float],
) -> Evidence:
    _, total, shown, _ = rows[0]
    held, share, part, near = 0, 0.0, 0.0, 0.0
    for activation, _, _, text in rows:
        said = phrases_of(text)
        has = [not said.isdisjoint((word, f"{word}s", _stem(word))) for word in words]
        held += all(has)
        share += activation * all(has)
        part += activation * sum(has) / len(has)
        near += activation * max((related[word] for word in related if word in said), default=0.0)
    return Evidence(held, shown, share / total, part / total, near / total)


def _stem(word: str) -> str:
    """Return what a word may be the plural of."""
    return word.removesuffix("s") if len(word) > 3 else word
