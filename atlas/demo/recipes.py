"""Step recipes: every picture alone, then seeded compositions of two to four of one split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from atlas.base.files import read_parquet, write_parquet
from atlas.demo.places import IMAGES, PICTURES, RECIPES
from atlas.inputs.compositions import WHITE, Color, Placed, Recipe, recipe_table, single

N_COMPOSITIONS = 18_609
"""With the 3,391 pictures alone, 22,000 images."""
SEED = 20_26
COUNTS, COUNT_SHARES = (2, 3, 4), (0.5, 0.3, 0.2)
SIDES = {1: (600, 1000), 2: (420, 640), 3: (340, 520), 4: (300, 440)}
"""Least and greatest side of a picture, in thousandths, by how many share the image."""
MOST_OVERLAP = 0.25
"""Share of the smaller picture's square that another may cover."""
TRIES = 40


def run() -> None:
    """Write compositions.parquet and images.parquet."""
    pictures = read_parquet(PICTURES).drop_columns(["webp"]).to_pylist()
    random = np.random.default_rng(SEED)
    recipes = [single(picture["picture"]) for picture in pictures]
    by_split = {
        split: by_base([p for p in pictures if p["split"] == split])
        for split in ("train", "heldout")
    }
    shares = [sum(p["split"] == split for p in pictures) for split in by_split]
    splits = random.choice(list(by_split), size=N_COMPOSITIONS, p=np.array(shares) / len(pictures))
    for split in splits:
        count = int(random.choice(COUNTS, p=COUNT_SHARES))
        recipes.append(draw_recipe(random, by_split[split], count))
    write_parquet(RECIPES, recipe_table(recipes))
    write_parquet(IMAGES, _image_table(recipes, pictures))


def by_base(pictures: list[dict[str, Any]]) -> list[list[int]]:
    """Return the numbers of pictures, grouped by base."""
    groups: dict[str, list[int]] = {}
    for picture in pictures:
        groups.setdefault(picture["base"], []).append(picture["picture"])
    return list(groups.values())


def draw_recipe(random: np.random.Generator, bases: list[list[int]], count: int) -> Recipe:
    """Return a composition of so many pictures, no two of one base."""
    chosen = random.choice(len(bases), size=count, replace=False)
    placed: list[Placed] = []
    for base in chosen.tolist():
        picture = int(random.choice(bases[base]))
        placed.append(_place(random, picture, SIDES[count], placed))
    top, bottom = _ground(random)
    return Recipe(top, bottom, tuple(placed))


def _place(
    random: np.random.Generator, picture: int, sides: tuple[int, int], others: list[Placed]
) -> Placed:
    """Return a place with little overlap, or the last one tried."""
    for _ in range(TRIES):
        size = int(random.integers(*sides))
        x, y = (int(v) for v in random.integers(size // 2, 1000 - size // 2, size=2))
        found = Placed(picture, x, y, size, flip=bool(random.random() < 0.5))
        if all(_overlap(found, other) <= MOST_OVERLAP for other in others):
            break
    return found


def _overlap(one: Placed, other: Placed) -> float:
    def common(a: int, b: int) -> float:
        return max(0.0, (one.size + other.size) / 2 - abs(a - b))

    return common(one.x, other.x) * common(one.y, other.y) / min(one.size, other.size) ** 2


def _ground(random: np.random.Generator) -> tuple[Color, Color]:
    kind = random.random()
    if kind < 0.5:
        return WHITE, WHITE
    top = _pale(random)
    return (top, top) if kind < 0.75 else (top, _pale(random))


def _pale(random: np.random.Generator) -> Color:
    r, g, b = (int(v) for v in random.integers(170, 256, size=3))
    return r, g, b


def _image_table(recipes: list[Recipe], pictures: list[dict[str, Any]]) -> pa.Table:
    rows = []
    for image, recipe in enumerate(recipes):
        parts = [pictures[placed.picture] for placed in recipe.placed]
        alone = len(parts) == 1
        tags = list(dict.fromkeys(tag for part in parts for tag in part["tags"]))
        rows.append(
            {
                "name": parts[0]["name"] if alone else f"composition-{image}",
                "caption": parts[0]["caption"] if alone else _list([p["term"] for p in parts]),
                "tags": tags,
                "terms": list(dict.fromkeys(part["term"] for part in parts)),
                "split": parts[0]["split"],
                "sensitive": False,
            }
        )
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
