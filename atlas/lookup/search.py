"""Search: features for a number, a label, a meaning or words of captions."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from atlas.base.errors import InputError
from atlas.lookup.catalog import Catalog
from atlas.lookup.evidence import Evidence, find_evidence
from atlas.lookup.records import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atlas.inputs.vocabulary import Vocabulary

RELATED, LEAST_RELATED = 10, 0.4
"""Words near in meaning that count too, and their least cosine to the text."""
NEARNESS = 0.3
"""What nearness in meaning counts beside what captions say."""
FOR_LABEL = {"label": 1.0, "prefix": 0.2}
"""What a label counts that is the text, or begins with it."""
LEAST_STRENGTH = 0.3
"""Of the evidence of texts, if it is to count: one or two images of nine are mostly chance."""
SHORTEST_PREFIX = 2
"""Characters from which on a text is looked for at the beginning of labels."""


@dataclass(frozen=True, slots=True)
class Match:
    """Why and how well a feature answers a query."""

    why: str
    """As in Hit."""
    score: float
    held: int = 0
    shown: int = 0


def judge(label: str, evidence: Evidence | None, nearness: float) -> Match:
    """Return how well a feature answers a query.

    Args:
        label: label or prefix, where one of its labels is the query or begins with it.
        evidence: What its strongest images' texts say.
        nearness: Cosine of its prototype and the query.
    """
    strength, held, shown = 0.0, 0, 0
    if evidence and evidence.strength >= LEAST_STRENGTH:
        strength, held, shown = evidence.strength, evidence.held, evidence.shown
    score = FOR_LABEL.get(label, 0.0) + strength + NEARNESS * nearness
    why = "caption" if held and label != "label" else label or "meaning"
    return Match(why, score, held, shown)


def _nearest(near: Mapping[int, float], limit: int) -> set[int]:
    """Return the nearest features; twice as many as asked for, as some may be withheld."""
    return set(heapq.nsmallest(2 * limit, near, key=lambda feature: (-near[feature], feature)))


class Search:
    """Search in one catalog; what meaning needs is read when it is first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        """Search in this catalog."""
        self._catalog = catalog

    def find(self, text: str, limit: int) -> tuple[Hit, ...]:
        """Return live features for a number, a label, words or a meaning, the best first.

        A feature with exactly the label comes first. Else the score is how much of its strongest
        images' activation lies on images whose captions or tags have the words, or words near in
        meaning, and a little nearness in meaning (through the images that activate it), where the
        atlas has a vocabulary.

        Raises:
            InputError: The text is empty, or nothing of it is known.
        """
        text = " ".join(text.split())
        if not text:
            raise InputError("nothing to search for; give a word, a few words, or a number")
        if re.fullmatch(r"f?\d+", text) and int(text.lstrip("f")) < self._catalog.n_features:
            return tuple(self._hits({int(text.lstrip("f")): Match("id", 1.0)}, 1))
        labels = self._by_label(text)
        near: dict[int, float] = {}
        related: dict[str, float] = {}
        unknown = None
        try:
            near, related = self._nearness(text), self._related(text)
        except InputError as error:
            unknown = error
        evidence = find_evidence(self._catalog, text, related)
        if unknown and not labels and not evidence:
            raise unknown
        features = labels.keys() | evidence.keys() | _nearest(near, limit)
        matches = {f: judge(labels.get(f, ""), evidence.get(f), near.get(f, 0.0)) for f in features}
        return tuple(self._hits(matches, limit))

    def _hits(self, matches: Mapping[int, Match], limit: int) -> list[Hit]:
        """Return the best matches among the features that may be shown, with name and density."""
        rows = self._catalog.rows(
            """SELECT f.feature, coalesce(n.name, ''), f.density FROM features f
               LEFT JOIN names n USING (feature)
               WHERE f.feature IN (SELECT unnest(?)) AND NOT f.sensitive""",
            [list(matches)],
        )
        best = sorted(rows, key=lambda row: (-matches[row[0]].score, row[0]))[:limit]
        return [
            Hit(f, name, matches[f].why, round(matches[f].score, 6), density, matches[f].held, matches[f].shown)
            for f, name, density in best
        ]  # fmt: skip

    def _by_label(self, text: str) -> dict[int, str]:
        """Return features with a label that is the text (label), or begins with it (prefix)."""
        rows = self._catalog.rows(
            """SELECT feature, max(lower(label) = lower($text)) FROM labels
               WHERE starts_with(lower(label), lower($text)) AND NOT perhaps GROUP BY feature""",
            {"text": text},
        )
        long = len(text) >= SHORTEST_PREFIX
        return {f: "label" if whole else "prefix" for f, whole in rows if whole or long}

    def _nearness(self, text: str) -> dict[int, float]:
        """Return the cosine of every feature's prototype and a text."""
        query = self._query(text)
        prototypes, numbers = self._prototypes
        return dict(zip(numbers.tolist(), (prototypes @ query).tolist(), strict=True))

    def _related(self, text: str) -> dict[str, float]:
        """Return the words of the vocabulary that are nearest to a text, with their cosine."""
        import numpy as np

        scores = self.vocabulary.vectors.astype(np.float32) @ self._query(text)
        best = np.argsort(-scores, kind="stable")[:RELATED]
        return {
            self.vocabulary.words[i]: float(scores[i]) for i in best if scores[i] >= LEAST_RELATED
        }

    def _query(self, text: str) -> NDArray[np.float32]:
        if not (self._catalog.path / "catalog" / "search" / "vocabulary").is_dir():
            raise InputError(f"no label, number or caption matches {text!r}; try another word")
        return self._encode(text)

    def by_meaning(self, text: str, limit: int) -> list[Hit]:
        """Rank features by the cosine of their prototype and the text's vector."""
        near = self._nearness(text)
        return self._hits({f: Match("meaning", near[f]) for f in _nearest(near, limit)}, limit)

    def _encode(self, text: str) -> NDArray[np.float32]:
        """Return a unit vector (d,): of a word of the vocabulary, else by the encoder's text tower."""
        if self.vocabulary.knows(text) or self._tower is None:
            return self.vocabulary.encode_text(text)
        return self._tower(text)

    @cached_property
    def _tower(self) -> Callable[[str], NDArray[np.float32]] | None:
        """What encodes free text; None where the encoder has no text tower, or is not here."""
        from atlas.lookup.free_text import open_tower

        return open_tower(self._catalog.path)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words that search by meaning knows."""
        from atlas.inputs.vocabulary import read_vocabulary

        return read_vocabulary(self._catalog.path / "catalog" / "search" / "vocabulary")

    @cached_property
    def _prototypes(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return (live feature, d) prototypes, widened once, and the features' numbers."""
        import numpy as np

        folder = self._catalog.path / "catalog" / "search"
        prototypes = np.load(folder / "prototypes.npy", mmap_mode="r", allow_pickle=False)
        numbers: NDArray[np.int32] = np.load(folder / "features.npy", allow_pickle=False)
        return prototypes.astype(np.float32), numbers
