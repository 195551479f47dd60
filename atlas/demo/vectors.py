"""Step vectors: the embeddings of every image in shards, and the vectors of the vocabulary."""

from __future__ import annotations

import numpy as np

from atlas.base.files import draft, write_json, write_text
from atlas.demo import head, trunk
from atlas.demo.places import VECTORS, VOCABULARY
from atlas.demo.words import vocabulary
from atlas.inputs.vocabulary import VECTORS as WORD_VECTORS
from atlas.inputs.vocabulary import WORDS

IMAGES_PER_SHARD = 5500


def run() -> None:
    """Write embeddings/*.npy (float16, raw) and the folder vocabulary."""
    heads = head.read_heads()
    embeddings = head.embed_features(heads, trunk.read_features()).astype(np.float16)
    for number, start in enumerate(range(0, len(embeddings), IMAGES_PER_SHARD)):
        with draft(VECTORS / f"{number:04d}.npy") as path, path.open("wb") as file:
            np.save(file, embeddings[start : start + IMAGES_PER_SHARD])
    write_vocabulary(heads)


def write_vocabulary(heads: head.Heads) -> None:
    """Write the words and their vectors, centered on their own mean.

    Text and image vectors of such models lie in two separate cones; both sides are centered.
    Measured on the fifty queries: the mean of the captions, which name several things, is no
    center of words (precision at 10 of 0.06 against 0.31).
    """
    words = vocabulary()
    vectors = head.embed_texts(heads, words)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_text(VOCABULARY / WORDS, "\n".join(words) + "\n")
    with draft(VOCABULARY / WORD_VECTORS) as path, path.open("wb") as file:
        np.save(file, vectors.astype(np.float16))
    note = {
        "words": len(words),
        "width": head.WIDTH,
        "source": "words of the pictures' names and tags, then WordNet's by frequency",
        "center": "mean vector of the words",
        "license": "WordNet license; names and tags MIT",
    }
    write_json(VOCABULARY / "vocabulary.json", note)
