"""The features nearest to each word, precomputed so that the static site can search by meaning.

A page has no text encoder: it holds for every word of the vocabulary, pairs of words among
them, the features whose prototypes are nearest. A query of several words adds up their lists,
each counted from its own end. How much that finds is measured on the pairs that the vocabulary
knows: the list of a pair, made by the text encoder, beside those of its two words added up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import draft
from atlas.inputs.vocabulary import Vocabulary

LISTED = 64
"""Features kept for a word."""
JUDGED = 10
"""Of how many features the recall is."""
MOST_PAIRS = 2000
WORDS_PER_BLOCK = 256
FEATURES, SCORES = "word_features.npy", "word_scores.npy"


@dataclass(frozen=True, slots=True, eq=False)
class WordLists:
    """The nearest features of every word, nearest first."""

    features: NDArray[np.int32]
    """(word, place)."""
    scores: NDArray[np.int16]
    """(word, place) cosine of word and prototype in thousandths."""

    def above_end(self, word: int) -> list[tuple[int, int]]:
        """Return (feature, thousandths above the last of the list) of a word."""
        scores = self.scores[word].astype(int)
        return list(zip(self.features[word].tolist(), (scores - scores[-1:]).tolist(), strict=True))

    def add_up(self, words: Iterable[int]) -> list[int]:
        """Return the features of several words' lists, best first; search.js does the same."""
        total: dict[int, int] = defaultdict(int)
        for word in words:
            for feature, score in self.above_end(word):
                total[feature] += score
        return sorted(total, key=lambda feature: (-total[feature], feature))


def list_words(
    vocabulary: Vocabulary, numbers: NDArray[np.int32], prototypes: NDArray[np.float32]
) -> WordLists:
    """Return every word's nearest features; equal scores go by feature.

    Args:
        vocabulary: The words.
        numbers: (feature,) which features may be shown, ascending.
        prototypes: (feature, d) of unit length, in that order.
    """
    kept = min(LISTED, len(numbers))
    features = np.zeros((len(vocabulary.words), kept), np.int32)
    scores = np.zeros((len(vocabulary.words), kept), np.int16)
    for start in range(0, len(features), WORDS_PER_BLOCK):
        block = slice(start, start + WORDS_PER_BLOCK)
        cosine = vocabulary.vectors[block].astype(np.float32) @ prototypes.T
        rounded = np.round(1000 * cosine).astype(np.int64)
        # One number a pair that sorts as wanted: score down, then feature up.
        keys = rounded * len(numbers) - np.arange(len(numbers))
        best = np.argpartition(-keys, kept - 1, axis=1)[:, :kept] if kept else keys[:, :0]
        order = np.argsort(-np.take_along_axis(keys, best, 1), axis=1)
        best = np.take_along_axis(best, order, 1)
        features[block] = numbers[best]
        scores[block] = np.take_along_axis(rounded, best, 1)
    return WordLists(features, scores)


@dataclass(frozen=True, slots=True)
class PairRecall:
    """How much of a pair's own list its two words' lists find."""

    share: float
    """Of the ten nearest features of a pair, 0 to 1, mean over pairs."""
    null: float
    """The same with the words of another pair."""
    n: int
    """Pairs."""


def recall_of_pairs(vocabulary: Vocabulary, lists: WordLists, seed: int = 0) -> PairRecall | None:
    """Return what is lost where the vocabulary lacks a pair; None where it knows too few.

    Args:
        vocabulary: Pairs are its entries of two words that it also knows each by itself.
        lists: Of its words.
        seed: Decides which pairs, and whose words stand in for the null.
    """
    place = vocabulary.place
    found = [
        (row, [place[word] for word in words])
        for row, words in enumerate(entry.split() for entry in vocabulary.words)
        if len(words) == 2 and all(word in place for word in words)
    ]
    if len(found) < 2:
        return None
    drawn = np.random.default_rng(seed).permutation(len(found))[:MOST_PAIRS]
    pairs = [found[i] for i in drawn.tolist()]
    others = [*pairs[1:], pairs[0]]

    def share(row: int, words: list[int]) -> float:
        wanted = set(lists.features[row, :JUDGED].tolist())
        return len(wanted & set(lists.add_up(words)[:JUDGED])) / len(wanted)

    own = [share(row, words) for row, words in pairs]
    null = [share(row, words) for (row, _), (_, words) in zip(pairs, others, strict=True)]
    return PairRecall(float(np.mean(own)), float(np.mean(null)), len(pairs))


def write_lists(folder: Path, lists: WordLists) -> None:
    """Write word_features.npy and word_scores.npy."""
    for name, array in ((FEATURES, lists.features), (SCORES, lists.scores)):
        with draft(folder / name) as path, path.open("wb") as file:
            np.save(file, array)


def read_lists(folder: Path) -> WordLists | None:
    """Return the lists of a catalog's search folder; None where it has no vocabulary."""
    if not (folder / FEATURES).exists():
        return None
    return WordLists(np.load(folder / FEATURES), np.load(folder / SCORES))
