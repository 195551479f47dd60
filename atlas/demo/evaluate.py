"""Step evaluate: how good the encoder and the search are, each figure beside its baseline."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_json, read_parquet
from atlas.base.text import plain_words
from atlas.demo import towers
from atlas.demo.encoder import embed_texts, embedded_path
from atlas.demo.figures import replace_figures
from atlas.demo.places import DEMO, PICTURES, QUERIES
from atlas.lookup.atlas import Atlas

ATLAS_DIR = DEMO.parents[1] / "build" / "demo"
COMMAND = "python -m atlas.demo evaluate"
HITS = 10
RELEVANT_SHARE = 0.5
"""A feature answers when images with this share of its top images' activation do."""


def run() -> None:
    """Write figures.json: what the report page shows of the encoder and of search."""
    figures = [*encoder_figures(), *sae_figures()]
    if (ATLAS_DIR / "catalog" / "atlas.duckdb").exists():
        figures += search_figures()
    replace_figures(COMMAND, figures)


def _figure(
    name: str,
    value: float,
    n: int,
    null: float | None,
    null_name: str,
    note: str = "",
    unit: str = "share",
) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "n": n,
        "null_value": None if null is None else round(null, 4),
        "null_name": null_name,
        "command": COMMAND,
        "note": note,
    }


POOLS = {
    "all": ("encoder", "the encoder that ships, which saw these pictures in training"),
    "train": (
        "encoder_split",
        "the same recipe on the training split, which saw no variant of them",
    ),
}


def encoder_figures() -> list[dict[str, Any]]:
    """Return retrieval figures on held-out pictures without skin tone, by the towers of each pool."""
    pictures = read_parquet(PICTURES).drop_columns(["webp"]).to_pylist()
    judged = [p for p in pictures if p["split"] == "heldout" and not p["skin_tone"]]
    rows, captions = [p["picture"] for p in judged], [p["caption"] for p in judged]
    n, figures = len(judged), []
    for pool, (stem, what) in POOLS.items():
        seen = np.load(embedded_path(pool))[rows]
        seen /= np.linalg.norm(seen, axis=1, keepdims=True)
        scores = seen @ embed_texts(towers.read(pool), captions).T
        note = f"held-out pictures alone, by caption; {what}"
        for k in (1, 10):
            for name, table in (("image_to_text", scores), ("text_to_image", scores.T)):
                value = _recall(table, k)
                figures.append(
                    _figure(f"{stem}_{name}_recall_at_{k}", value, n, k / n, "chance", note)
                )
    return figures


def _recall(scores: NDArray[np.float32], k: int) -> float:
    """Return how often the right column is among the k best; ties count against us."""
    right = np.diagonal(scores)[:, None]
    return float(((scores >= right).sum(axis=1) <= k).mean())


SAE_FIGURES = ("explained_variance", "pictures_a_feature", "single_pictures_a_feature")
"""Of the train stage's held-out figures, those that the scan doesn't give for the same images."""


def sae_figures() -> list[dict[str, Any]]:
    """Return the trained SAE's held-out figures, as the train stage wrote them beside it."""
    path = DEMO / "sae" / "figures.json"
    rows = read_json(path)["figures"] if path.exists() else []
    wanted = {f"sae_heldout_{name}" for name in SAE_FIGURES}
    return [{**row, "value": round(row["value"], 4)} for row in rows if row["name"] in wanted]


@dataclass(frozen=True, slots=True)
class Query:
    """A search, and what makes a picture an answer to it."""

    text: str
    all: tuple[frozenset[str], ...]
    """Of each set of words the picture must have one."""


def read_queries(kind: str = "query", path: Path = QUERIES) -> list[Query]:
    """Read one of the committed lists of queries: query, those that search was made with, or later."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))[kind]
    return [Query(row["text"], tuple(frozenset(words) for words in row["all"])) for row in raw]


def search_figures() -> list[dict[str, Any]]:
    """Return precision at 10 of the demo's search over both lists of queries."""
    with Atlas(ATLAS_DIR) as opened:
        return [
            search_figure(opened, "search_precision_at_10", read_queries()),
            search_figure(opened, "search_precision_at_10_later", read_queries("later")),
        ]


def search_figure(opened: Atlas, name: str, queries: list[Query]) -> dict[str, Any]:
    """Return precision at 10 over queries, beside random live features; the note has the ceiling."""
    words, shown = term_words(), top_images(opened)
    values, nulls, best = [], [], []
    for query in queries:
        relevant = relevant_features(query, words, shown)
        hits = [hit.feature for hit in opened.search(query.text, HITS)]
        values.append(sum(relevant[hit] for hit in hits) / HITS)
        nulls.append(float(np.mean(list(relevant.values()))))
        best.append(min(sum(relevant.values()), HITS) / HITS)
    note = (
        "a feature answers if half or more of the activation of its top nine images lies on images "
        "that show something whose name or tags answer the query; for many queries fewer than "
        f"{HITS} do, so that a perfect search reaches {np.mean(best):.3f}"
    )
    value, null = float(np.mean(values)), float(np.mean(nulls))
    return _figure(name, value, len(queries), null, "random live features", note)


def term_words() -> dict[str, frozenset[str]]:
    """Return the words of the name, tags, group and subgroup of everything that is shown."""
    rows = read_parquet(PICTURES, ["term", "tags", "group", "subgroup"]).to_pylist()
    found: dict[str, frozenset[str]] = {}
    for row in rows:
        text = " ".join([row["term"], *row["tags"], row["group"], row["subgroup"]])
        words = frozenset(plain_words(text.replace("-", " ")))
        found[row["term"]] = found.get(row["term"], frozenset()) | words
    return found


TopImage = tuple[float, list[str]]
"""The activation on an image, and the terms of what it shows."""


def top_images(opened: Atlas) -> dict[int, list[TopImage]]:
    """Return the top nine images of each live feature, as its page shows them."""
    _, rows = opened.sql(
        """SELECT feature, activation, terms FROM top_images JOIN images USING (image)
           WHERE rank < 9 ORDER BY feature, rank"""
    )
    found: dict[int, list[TopImage]] = {}
    for feature, activation, terms in rows:
        found.setdefault(feature, []).append((activation, terms))
    return found


def relevant_features(
    query: Query, words: dict[str, frozenset[str]], shown: dict[int, list[TopImage]]
) -> dict[int, bool]:
    """Return for each live feature whether it answers the query."""
    answers = {term: all(held & wanted for wanted in query.all) for term, held in words.items()}
    relevant = {}
    for feature, images in shown.items():
        held = sum(a for a, terms in images if any(answers[term] for term in terms))
        relevant[feature] = held >= RELEVANT_SHARE * sum(a for a, _ in images)
    return relevant
