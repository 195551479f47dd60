"""Words and short phrases of captions, tags and file names: what names are chosen from and judged by."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.text import STOP_WORDS, plain_words

if TYPE_CHECKING:
    import pyarrow as pa

BREAKS = re.compile(
    '[,;!?|()\\[\\]{}"\u201c\u201d\n\t]|(?<=\\w{4})\\.(?=\\s)|\\w*\ufffd[\\w\ufffd]*'
)
"""Where no phrase goes on: punctuation, ends of sentences, words that have lost a character."""
BREAK = ";"
"""Stands where something is left out of a text."""
LONGEST = 4
"""Words of a phrase."""
SHORTEST = 3
"""Letters of a word that may be a name by itself: two Latin letters are mostly a code."""
EMPTY_WORDS = frozenset(
    [
        "all",
        "any",
        "be",
        "been",
        "being",
        "but",
        "can",
        "do",
        "does",
        "has",
        "have",
        "her",
        "his",
        "how",
        "i",
        "into",
        "its",
        "just",
        "me",
        "more",
        "most",
        "my",
        "no",
        "not",
        "off",
        "other",
        "our",
        "out",
        "over",
        "she",
        "some",
        "such",
        "than",
        "that",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "you",
        "your",
        "image",
        "images",
        "img",
        "photo",
        "photos",
        "picture",
        "pictures",
    ]
)
"""Words that say nothing by themselves."""
TEXTS_REMEMBERED = 100_000
"""Captions and tags whose phrases are kept: most come again and again."""


@lru_cache(TEXTS_REMEMBERED)
def phrases_of(text: str) -> frozenset[str]:
    """Return a text's words and phrases of up to four words that neither begin nor end with a stop word."""
    return frozenset(
        " ".join(words[at : at + n])
        for words in map(plain_words, BREAKS.split(text))
        for n in range(1, LONGEST + 1)
        for at in range(len(words) - n + 1)
        if words[at] not in STOP_WORDS and words[at + n - 1] not in STOP_WORDS
    )


def may_name(phrase: str) -> bool:
    """Return whether a phrase is more than a number or a code."""
    if phrase in EMPTY_WORDS:
        return False
    if " " not in phrase and phrase.isascii():
        return len(phrase) >= SHORTEST and not any(map(str.isdigit, phrase))
    return any(map(str.isalpha, phrase))


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """What is written about each image."""

    captions: tuple[str, ...]
    """Of each image; where it has neither caption nor tags, the name of its file."""
    tags: tuple[tuple[str, ...], ...]
    captioned: NDArray[np.bool_]
    """(image,) has a caption or tags."""

    def phrases(self, image: int) -> frozenset[str]:
        """Return the words and phrases of an image."""
        return phrases_of(self.captions[image]).union(*map(phrases_of, self.tags[image]))

    def holders(self, labels: Collection[str]) -> dict[str, NDArray[np.int64]]:
        """Return the images, ascending, whose text holds each label: as it stands, or all its words."""
        plain = {label: " ".join(_trimmed(plain_words(label))) for label in labels}
        wanted = {part for text in plain.values() for part in (text, *text.split())}
        found: dict[str, list[int]] = {part: [] for part in wanted}
        for image in range(len(self.captions)):
            for part in self.phrases(image) & wanted:
                found[part].append(image)
        lists = {part: np.array(images, np.int64) for part, images in found.items()}
        return {label: _with_all(text, lists) for label, text in plain.items()}


def _trimmed(words: list[str]) -> list[str]:
    """Return words without stop words at either end, unless there are no others."""
    said = [at for at, word in enumerate(words) if word not in STOP_WORDS]
    return words[said[0] : said[-1] + 1] if said else words


def _with_all(text: str, lists: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    words = [word for word in text.split() if word not in STOP_WORDS]
    if len(text.split()) <= LONGEST or not words:
        return lists.get(text, np.empty(0, np.int64))
    held = lists[words[0]]
    for word in words[1:]:
        held = np.intersect1d(held, lists[word], assume_unique=True)
    return held


def read_texts(table: pa.Table, ignored: Sequence[str] = ()) -> Texts:
    """Return the texts of the table of images, without some phrases.

    Args:
        table: Columns name, caption, tags.
        ignored: Phrases that are left out; the words before and after one are no phrase together.
    """
    names, captions, tags = (table[c].to_pylist() for c in ("name", "caption", "tags"))
    if ignored:
        pattern = _pattern_of(ignored)
        captions = [caption and pattern.sub(BREAK, caption) for caption in captions]
        tags = [some and [pattern.sub(BREAK, tag) for tag in some] for some in tags]
    written = [bool(caption or some) for caption, some in zip(captions, tags, strict=True)]
    return Texts(
        tuple(
            (caption or "") if known else _file_words(name or "")
            for name, caption, known in zip(names, captions, written, strict=True)
        ),
        tuple(tuple(some or ()) for some in tags),
        np.array(written, bool),
    )


def _pattern_of(phrases: Sequence[str]) -> re.Pattern[str]:
    """Return what matches any of some phrases, the longest first, whatever stands between their words."""
    parts = (
        r"[\W_]+".join(map(re.escape, plain_words(one)))
        for one in sorted(phrases, key=len, reverse=True)
    )
    return re.compile(rf"\b(?:{'|'.join(parts)})\b", re.IGNORECASE)


def _file_words(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem
