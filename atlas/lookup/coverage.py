"""Which concepts of a list an SAE has, confuses or lacks.

A feature with just that label settles it. Else the search by meaning does: a concept's best
feature counts where it stands out of all features further than the best of as many random
directions would, in 95 of 100 cases. Where that feature answers another concept of the list
better, the two are confused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.lookup.free_text import open_tower

if TYPE_CHECKING:
    from atlas.inputs.vocabulary import Vocabulary
    from atlas.lookup.atlas import Atlas

CONFIDENCE = 0.95
LONGEST_CONCEPT = 200


@dataclass(frozen=True, slots=True)
class Covered:
    """What the dictionary makes of one concept."""

    concept: str
    verdict: str
    """has, confuses, lacks, or unknown: no label holds it and the vocabulary lacks its words."""
    feature: int | None
    """The best one; none where the concept is unknown."""
    label: str
    """Of that feature."""
    why: str
    """label or meaning: what decided."""
    score: float | None
    """By meaning: how far the best feature stands out, in standard deviations of all features;
    by label: the label's score."""
    null_score: float | None
    """The same of the best of as many random directions, 95th percentile; or of all images."""
    confused_with: str
    """The concept that the feature answers better; empty unless confused."""


def read_concepts(path: Path) -> tuple[str, ...]:
    """Read a list of concepts, one a line; blank lines and lines that begin with # don't count.

    Raises:
        InputError: There is no such text file, or nothing in it.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"no list at {path}; name a text file with one concept a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}); save it as such") from error
    concepts = [" ".join(line.split()) for line in lines]
    found = tuple(dict.fromkeys(c for c in concepts if c and not c.startswith("#")))
    if not found:
        raise InputError(f"{path} holds no concept; write one a line")
    long = next((c for c in found if len(c) > LONGEST_CONCEPT), "")
    if long:
        raise InputError(f"{path}: {long[:40]!r}… is no concept; write one of a few words a line")
    return found


def coverage(opened: Atlas, concepts: Sequence[str]) -> tuple[Covered, ...]:
    """Return what the dictionary makes of each concept, in the order of the list."""
    labeled = {concept: _by_label(opened, concept) for concept in concepts}
    asked = [concept for concept in concepts if labeled[concept] is None]
    meant = _by_meaning(opened, asked)
    found = []
    for concept in concepts:
        covered = labeled[concept] or meant.get(concept)
        found.append(covered or Covered(concept, "unknown", None, "", "", None, None, ""))
    return tuple(found)


def _by_label(opened: Atlas, concept: str) -> Covered | None:
    _, rows = opened.sql_with(
        """SELECT n.feature, n.name, l.score, l.null_score FROM names n
           JOIN labels l ON l.feature = n.feature AND l.rank = 0
           JOIN features f ON f.feature = n.feature
           WHERE lower(n.label) = lower(?) AND NOT f.sensitive
           ORDER BY l.score DESC, l.feature LIMIT 1""",
        [concept],
    )
    if not rows:
        return None
    feature, label, score, null = rows[0]
    return Covered(concept, "has", feature, label, "label", score, null, "")


def _by_meaning(opened: Atlas, concepts: Sequence[str]) -> dict[str, Covered]:
    search = opened.meanings()
    if search is None or not concepts:
        return {}
    numbers, prototypes, vocabulary = search
    known, vectors = _encode(opened, vocabulary, concepts)
    if not known:
        return {}
    scores = vectors @ prototypes.T
    heights = scores / np.sqrt((scores**2).mean(axis=1, keepdims=True))
    names = opened.names([int(n) for n in numbers])
    bar = best_of_random(len(numbers))
    best = heights.argmax(axis=1)
    found = {}
    for row, concept in enumerate(known):
        place = int(best[row])
        rival = _rival(heights, best, row)
        verdict = "lacks" if heights[row, place] < bar else "confuses" if rival >= 0 else "has"
        number = int(numbers[place])
        found[concept] = Covered(
            concept,
            verdict,
            number,
            names.get(number, ""),
            "meaning",
            round(float(heights[row, place]), 4),
            round(bar, 4),
            known[rival] if verdict == "confuses" else "",
        )
    return found


def _encode(
    opened: Atlas, vocabulary: Vocabulary, concepts: Sequence[str]
) -> tuple[list[str], NDArray[np.float32]]:
    """Return the concepts that can be encoded, and their (concept, d) vectors."""
    known, vectors = [], []
    free = any(not vocabulary.knows(concept) for concept in concepts)
    tower = open_tower(opened.path) if free else None
    for concept in concepts:
        try:
            if tower is None or vocabulary.knows(concept):
                vectors.append(vocabulary.encode_text(concept))
            else:
                vectors.append(tower(concept))
        except InputError:
            continue  # reported as unknown
        known.append(concept)
    return known, np.stack(vectors) if vectors else np.empty((0, 0), np.float32)


def _rival(heights: NDArray[np.float32], best: NDArray[np.int64], row: int) -> int:
    """Return the concept that a concept's best feature answers better; -1 if none does."""
    column = heights[:, best[row]]
    same = np.flatnonzero((best == best[row]) & (column > column[row]))
    return int(same[column[same].argmax()]) if len(same) else -1


def best_of_random(n: int) -> float:
    """Return how far the best of n random directions stands out, in 95 of 100 cases, in deviations."""
    return NormalDist().inv_cdf(CONFIDENCE ** (1 / n))
