"""The vocabulary: words with their vectors in the space of the images, for search without a text model.

A query is the mean of its words' vectors, pairs of words taken as one where the vocabulary
has them. numpy only, so that a look-up starts at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError, MissingError
from atlas.base.files import draft, write_text
from atlas.base.npy import map_npy
from atlas.base.text import STOP_WORDS, clean_text, holds_any, plain_words

WORDS, VECTORS = "words.txt", "vectors.npy"
CENTER = "center.npy"
"""(d,) mean of the words' unit vectors, which was taken from them; only of a text tower's words."""
FACTS = "vocabulary.json"


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Words, and pairs of words, with their vectors."""

    words: tuple[str, ...]
    place: dict[str, int]
    """Word -> row of its vector."""
    vectors: NDArray[np.float16]
    """(word, d) unit vectors, centered on the vocabulary's mean before they were scaled."""

    def encode_text(self, query: str) -> NDArray[np.float32]:
        """Return a unit vector (d,) for a query.

        Raises:
            InputError: No word of the query is known, or a vector is none.
        """
        rows, unknown = self.split(query)
        if not rows:
            raise InputError(self._explain(query, unknown))
        total = self.vectors[rows].astype(np.float32).sum(axis=0)
        length = np.linalg.norm(total)
        if not length or not np.isfinite(length):
            raise InputError(
                f"the vector of {query!r} has no direction: {VECTORS} of the vocabulary is damaged; "
                "restore it"
            )
        found: NDArray[np.float32] = total / length
        return found

    def knows(self, query: str) -> bool:
        """Return whether a query is one of the words, as it stands."""
        return " ".join(plain_words(query)) in self.place

    def split(self, query: str) -> tuple[list[int], list[str]]:
        """Return the rows of a query's words, pairs first, and the words that are unknown."""
        words = [word for word in plain_words(query) if word not in STOP_WORDS]
        rows: list[int] = []
        unknown: list[str] = []
        at = 0
        while at < len(words):
            pair = " ".join(words[at : at + 2])
            if at + 1 < len(words) and pair in self.place:
                rows.append(self.place[pair])
                at += 2
                continue
            row = self._row(words[at])
            if row is None:
                unknown.append(words[at])
            else:
                rows.append(row)
            at += 1
        return rows, unknown

    def _row(self, word: str) -> int | None:
        """Return a word's row, or that of its singular."""
        forms = (
            word,
            word.removesuffix("s"),
            word.removesuffix("es"),
            f"{word.removesuffix('ies')}y",
        )
        return next((self.place[form] for form in forms if form in self.place), None)

    def _explain(self, query: str, unknown: list[str]) -> str:
        near = [
            word for text in unknown for word in difflib.get_close_matches(text, self.words, n=2)
        ]
        hint = f"; did you mean {' or '.join(near)}?" if near else "; try another word"
        return f"no word of {query!r} is in the vocabulary of {len(self.words):,} words{hint}"


def read_vocabulary(folder: Path) -> Vocabulary:
    """Open a vocabulary: words.txt, a word a line, and vectors.npy, a row a word.

    Raises:
        MissingError: A file is not there.
        InputError: The two files disagree.
    """
    try:
        text = clean_text((folder / WORDS).read_text(encoding="utf-8")).replace("\u2019", "'")
        words = tuple(text.splitlines())
        vectors = map_npy(folder / VECTORS)
    except FileNotFoundError as error:
        raise MissingError(f"no vocabulary at {folder}; it needs {WORDS} and {VECTORS}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / WORDS} is not UTF-8 ({error.reason}); restore it") from error
    except ValueError as error:
        raise InputError(f"{folder / VECTORS} is damaged: {error}; restore it") from error
    if vectors.ndim != 2 or vectors.dtype not in (np.dtype("<f2"), np.dtype("<f4")):
        raise InputError(
            f"{folder / VECTORS} holds {vectors.dtype} of shape {vectors.shape}, expected a row of "
            "float16 or float32 numbers a word; restore it"
        )
    if len(words) != len(vectors):
        raise InputError(
            f"{folder} has {len(words)} words and {len(vectors)} vectors; restore the two files"
        )
    return Vocabulary(words, {word: row for row, word in enumerate(words)}, vectors)


def drop_words(folder: Path, gone: Sequence[str]) -> None:
    """Write a vocabulary again without the words that hold one of some case-folded texts."""
    vocabulary = read_vocabulary(folder)
    keep = [i for i, word in enumerate(vocabulary.words) if not holds_any(word, gone)]
    if len(keep) == len(vocabulary.words):
        return
    vectors = vocabulary.vectors[keep]
    with draft(folder / VECTORS) as path, path.open("wb") as file:
        np.save(file, vectors)
    write_text(folder / WORDS, "".join(f"{vocabulary.words[i]}\n" for i in keep))
