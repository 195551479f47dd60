"""Step vectors: the embeddings of every image in shards, and the vectors of the vocabulary."""

from __future__ import annotations

import numpy as np

from atlas.base.files import draft, write_json, write_text
from atlas.demo import towers
from atlas.demo.encoder import embed_texts, embedded_path
from atlas.demo.places import VECTORS, VOCABULARY
from atlas.demo.words import vocabulary
from atlas.inputs.vocabulary import VECTORS as WORD_VECTORS
from atlas.inputs.vocabulary import WORDS

IMAGES_PER_SHARD = 5500


def run() -> None:
    """Write embeddings/*.npy (float16, raw) and the folder vocabulary."""
    embeddings = np.load(embedded_path("all")).astype(np.float16)
    for number, start in enumerate(range(0, len(embeddings), IMAGES_PER_SHARD)):
        with draft(VECTORS / f"{number:04d}.npy") as path, path.open("wb") as file:
            np.save(file, embeddings[start : start + IMAGES_PER_SHARD])
    write_vocabulary(towers.read("all"))


def write_vocabulary(trained: towers.Towers) -> None:
    """Write the words and their vectors, centered on their own mean.

    Text and image vectors of such models lie in two separate cones; both sides are centered.
    """
    words = vocabulary()
    vectors = embed_texts(trained, words)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    write_text(VOCABULARY / WORDS, "\n".join(words) + "\n")
    with draft(VOCABULARY / WORD_VECTORS) as path, path.open("wb") as file:
        np.save(file, vectors.astype(np.float16))
    note = {
        "words": len(words),
        "width": towers.WIDTH,
        "source": "words of the pictures' names and tags, then WordNet's by frequency",
        "center": "mean vector of the words",
        "license": "WordNet license; names and tags MIT",
    }
    write_json(VOCABULARY / "vocabulary.json", note)
