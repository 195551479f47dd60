"""Which words of the vocabulary the captions and tags of each image contain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.text import plain_words
from atlas.inputs.vocabulary import Vocabulary
from atlas.study.naming import Side

if TYPE_CHECKING:
    import pyarrow as pa

TEXTS_REMEMBERED = 100_000
"""Captions and tags whose words are kept: most come again and again."""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionWords:
    """Which words of the vocabulary the captions and tags of each image hold."""

    starts: NDArray[np.int64]
    """(image + 1,)."""
    words: NDArray[np.int64]
    """(entry,) rows of the vocabulary, ascending within an image."""

    def has(self, images: NDArray[np.int64], words: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return of each pair whether the image's text holds the word."""
        pairs = zip(images.tolist(), words.tolist(), strict=True)
        found = [
            bool((self.words[self.starts[i] : self.starts[i + 1]] == word).any())
            for i, word in pairs
        ]
        return np.array(found, bool)

    def counts(self, side: Side, n_words: int) -> NDArray[np.int64]:
        """Return (word,) how many of a side's images hold each word."""
        image = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return np.bincount(self.words[side.member[image]], minlength=n_words)


def caption_words(table: pa.Table, vocabulary: Vocabulary) -> CaptionWords:
    """Find the vocabulary's words, and pairs of words, in captions and tags."""
    place = vocabulary.place

    @lru_cache(TEXTS_REMEMBERED)
    def rows_of(text: str) -> frozenset[int]:
        words = plain_words(text)
        pairs = (f"{a} {b}" for a, b in pairwise(words))
        return frozenset(place[word] for word in (*words, *pairs) if word in place)

    held = [
        sorted(frozenset().union(*map(rows_of, (caption or "", *(tags or ())))))
        for caption, tags in zip(
            table["caption"].to_pylist(), table["tags"].to_pylist(), strict=True
        )
    ]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in held])]).astype(np.int64)
    return CaptionWords(starts, np.array([row for rows in held for row in rows], np.int64))
