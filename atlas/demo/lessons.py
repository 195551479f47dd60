"""What the encoder learns from: compositions drawn as they are needed, and the texts of what they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.demo.colors import colors_of
from atlas.demo.places import PICTURES, RECIPES
from atlas.demo.recipes import by_base, draw_recipe
from atlas.inputs.compositions import Pictures, compose, open_pictures

COUNTS, COUNT_SHARES = (1, 2, 3, 4), (0.35, 0.3, 0.2, 0.15)
MOST_OTHER_TEXTS = 4
"""Of each picture's texts beside its term, drawn at random, that a batch is asked about."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """Pictures, and the texts that hold of each."""

    pictures: Pictures
    bases: list[list[int]]
    """Numbers of the pictures to learn from, grouped by base."""
    texts: list[str]
    """Every text, in alphabetical order."""
    of_picture: list[list[int]]
    """For each picture the rows of its texts, its term first."""
    share: NDArray[np.float32]
    """(text,) share of the pictures that it holds of."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Images drawn, and which of the texts asked about hold of each."""

    pixels: NDArray[np.uint8]
    """(image, px, px, 3)."""
    asked: NDArray[np.int64]
    """(text asked,) rows of texts."""
    holds: torch.Tensor
    """(image, text asked) 1 where the text holds of something shown, else 0."""


def read_lessons(pool: str) -> Lessons:
    """Return the lessons of every picture (pool all) or of the training split (pool train)."""
    rows = read_parquet(PICTURES).drop_columns(["webp"]).to_pylist()
    held = open_pictures(PICTURES, RECIPES).pictures
    named = [texts_of(row, colors_of(held.decode(n))) for n, row in enumerate(rows)]
    texts = sorted({text for some in named for text in some})
    number = {text: n for n, text in enumerate(texts)}
    of_picture = [[number[text] for text in some] for some in named]
    counts = np.bincount([n for some in of_picture for n in some], minlength=len(texts))
    pooled = [row for row in rows if pool == "all" or row["split"] == "train"]
    return Lessons(held, by_base(pooled), texts, of_picture, (counts / len(rows)).astype("f4"))


def texts_of(picture: dict[str, Any], colors: list[str]) -> list[str]:
    """Return what holds of a picture in lower case: term, tags, groups, skin tone, colors."""
    tone = f"{picture['skin_tone']} skin tone" if picture["skin_tone"] else ""
    groups = [picture[name].replace("-", " ") for name in ("subgroup", "group")]
    found = [picture["term"], *picture["tags"], *groups, tone, *colors]
    return list(dict.fromkeys(text.lower() for text in found if text))


def draw_batch(lessons: Lessons, random: np.random.Generator, n_images: int, px: int) -> Batch:
    """Return compositions drawn at random, and all texts that some of them are asked about."""
    images, shown, asked = [], [], set()
    for _ in range(n_images):
        count = int(random.choice(COUNTS, p=COUNT_SHARES))
        recipe = draw_recipe(random, lessons.bases, count)
        images.append(np.asarray(compose(recipe, lessons.pictures, px)))
        shown.append([lessons.of_picture[placed.picture] for placed in recipe.placed])
        for term, *others in shown[-1]:
            asked.add(term)
            asked.update(random.permutation(others)[:MOST_OTHER_TEXTS].tolist())
    rows = np.array(sorted(asked))
    holds = np.zeros((n_images, len(lessons.texts)), np.float32)
    for image, parts in enumerate(shown):
        for part in parts:
            holds[image, part] = 1
    return Batch(np.stack(images), rows, torch.from_numpy(holds[:, rows]))
