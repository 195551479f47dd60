"""Search: features for a number, a label, a meaning or words of captions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from atlas.base.errors import InputError
from atlas.base.tables import SURE
from atlas.lookup.catalog import Catalog
from atlas.lookup.records import Hit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atlas.inputs.vocabulary import Vocabulary

CAPTIONS_SEARCHED = 9
"""Top images of each feature whose captions are searched."""
SHORTEST_PREFIX = 2
"""Characters from which on a text is looked for at the beginning of labels."""


class Search:
    """Search in one catalog; what meaning needs is read when it is first asked for."""

    def __init__(self, catalog: Catalog) -> None:
        """Search in this catalog."""
        self._catalog = catalog

    def find(self, text: str, limit: int) -> tuple[Hit, ...]:
        """Return live features for a number, a label, or a meaning, best kind of match first.

        Features with exactly the label come first, then those with a label that begins so, then
        meaning (through the images that activate each feature, where the atlas has a
        vocabulary), then words of captions.

        Raises:
            InputError: The text is empty, or nothing of it is known.
        """
        text = " ".join(text.split())
        if not text:
            raise InputError("nothing to search for; give a word, a few words, or a number")
        if re.fullmatch(r"f?\d+", text) and int(text.lstrip("f")) < self._catalog.n_features:
            found = self._hits([(int(text.lstrip("f")), 1.0)], "id")
        else:
            found = self._by_label(text, limit)
            try:
                found += self.by_meaning(text, limit)
            except InputError:
                found += self._by_caption(text, limit)
                if not found:
                    raise
        unique = {hit.feature: hit for hit in reversed(found)}
        return tuple(hit for hit in found if unique[hit.feature] is hit)[:limit]

    def _hits(self, scored: Sequence[tuple[int, float]], why: str) -> list[Hit]:
        """Add label and density to (feature, score) pairs, keeping their order."""
        if not scored:
            return []
        numbers = [feature for feature, _ in scored]
        rows = self._catalog.rows(
            """SELECT f.feature, coalesce(n.name, ''), f.density FROM features f
               LEFT JOIN names n USING (feature)
               WHERE f.feature IN (SELECT unnest(?)) AND NOT f.sensitive""",
            [numbers],
        )
        known = {row[0]: row for row in rows}
        return [
            Hit(feature, known[feature][1], why, round(score, 6), known[feature][2])
            for feature, score in scored
            if feature in known
        ]

    def _by_label(self, text: str, limit: int) -> list[Hit]:
        """Find labels that are the text, then those that begin with it, first at a word's end."""
        rows = self._catalog.rows(
            f"""SELECT feature, {SURE} AS sure, lower(label) = lower($text) AS whole FROM labels
                WHERE starts_with(lower(label), lower($text))
                ORDER BY whole DESC, NOT starts_with(lower(label), lower($text) || ' '), rank, sure DESC, feature""",
            {"text": text},
        )
        exact = [(feature, sure) for feature, sure, whole in rows if whole]
        longer = [(feature, sure) for feature, sure, whole in rows if not whole]
        kept = longer[:limit] if len(text) >= SHORTEST_PREFIX else []
        return [*self._hits(exact, "label"), *self._hits(kept, "prefix")]

    def by_meaning(self, text: str, limit: int) -> list[Hit]:
        """Rank features by the cosine of their prototype and the text's vector."""
        folder = self._catalog.path / "catalog" / "search"
        if not (folder / "vocabulary").is_dir():
            raise InputError(f"no label, number or caption matches {text!r}; try another word")
        import numpy as np

        query = self._encode(text)
        prototypes, numbers = self._prototypes
        scores = prototypes @ query
        wanted = min(2 * limit, len(scores))
        rough = np.argpartition(-scores, wanted - 1)[:wanted] if wanted else np.arange(0)
        best = rough[np.lexsort((numbers[rough], -scores[rough]))]
        return self._hits([(int(numbers[i]), float(scores[i])) for i in best], "meaning")

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

    def _by_caption(self, text: str, limit: int) -> list[Hit]:
        rows = self._catalog.rows(
            """SELECT feature, sum(activation) AS score FROM top_images JOIN images USING (image)
               WHERE rank < ? AND contains(lower(caption), lower(?)) AND NOT sensitive
               GROUP BY feature ORDER BY score DESC, feature LIMIT ?""",
            [CAPTIONS_SEARCHED, text, limit],
        )
        return self._hits(rows, "caption")
