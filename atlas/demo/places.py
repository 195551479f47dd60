"""Where the steps read and write."""

from __future__ import annotations

from pathlib import Path

DEMO = Path(__file__).parents[2] / "data" / "demo"
CACHE = Path(__file__).parents[2] / "data" / "raw"
"""Packages as fetched, and features that take minutes to compute; never committed."""

PICTURES = DEMO / "pictures.parquet"
RECIPES = DEMO / "compositions.parquet"
IMAGES = DEMO / "images.parquet"
ENCODER = DEMO / "encoder"
PHOTOGRAPHS = DEMO / "photographs"
DECODER = DEMO / "decoder"
NEUTRAL = DEMO.parent / "neutral"
VECTORS = DEMO / "embeddings"
VOCABULARY = DEMO / "vocabulary"
CLASSES = DEMO / "classes"
"""Words for the embeddings of PHOTOGRAPHS, as VOCABULARY for the encoder's."""
WORD_LIST = DEMO.parent / "words" / "wordnet.txt"
SAE = DEMO / "sae"
SECOND = DEMO / "second"
REPLICATES = DEMO / "replicates"
QUERIES = DEMO / "queries.toml"
FIGURES = DEMO / "figures.json"
MANIFEST = DEMO / "manifest.json"
