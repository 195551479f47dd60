"""A blind check of names: pictures of a feature, its name among two others, and a person's answers.

The page does not say which name is right; key.json beside it does, and is read with the answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.base.errors import InputError, MissingError
from atlas.base.files import write_bytes, write_json, write_text
from atlas.lookup.atlas import Atlas
from atlas.lookup.contact_sheets import read_thumbnails
from atlas.settings.paths import template_root
from atlas.site.render import open_templates, render
from atlas.study.intervals import wilson

JUDGED = 200
"""Features on the sheet, drawn at random."""
PICTURES = 9
NONE = "none of these"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one feature."""

    feature: int
    images: tuple[int, ...]
    """Its strongest, none sensitive."""
    names: tuple[str, ...]
    """In random order."""
    kinds: tuple[str, ...]
    """Of each of these: own, neighbor or random."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person made of the names."""

    answered: int
    own: int
    """Answers that are the feature's own name."""
    neighbor: int
    random: int
    none: int
    low: float
    """Lower end of the 95 % interval of the share of own names; 1/3 is chance."""
    high: float


def write_judging(atlas_dir: Path, folder: Path, seed: int = 0) -> int:
    """Write judge.html with its pictures, and key.json; return how many features it asks about.

    Args:
        atlas_dir: A built atlas.
        folder: Written to.
        seed: Decides which features are asked about, and the order of their names.

    Raises:
        MissingError: There are no thumbnails, or fewer than three different names.
    """
    with Atlas(atlas_dir) as opened:
        questions, identity = draw_questions(opened, seed), opened.id
    pictures = read_thumbnails(atlas_dir / "embed", {i for q in questions for i in q.images})
    for image, webp in pictures.items():
        write_bytes(folder / "pictures" / f"{image}.webp", webp)
    write_json(folder / "key.json", {"id": identity, "questions": [asdict(q) for q in questions]})
    for name in ("judge.js", "tune.css"):
        write_bytes(folder / name, (template_root() / name).read_bytes())
    view = {"page": "judge.html", "id": identity, "questions": questions, "neither": NONE}
    write_text(folder / "judge.html", render(open_templates(), "judge", view))
    return len(questions)


def draw_questions(opened: Atlas, seed: int) -> list[Question]:
    """Draw features with a name, and for each the name of a neighbor and a random one."""
    rows = opened.rows(
        """SELECT feature, label FROM names JOIN features USING (feature)
           WHERE NOT sensitive ORDER BY feature"""
    )
    names = dict(rows)
    if len(set(names.values())) < 3:
        raise MissingError(f"{opened.path} has fewer than three names; set names.captions, build")
    random = np.random.default_rng(seed)
    drawn = np.sort(random.permutation(list(names))[:JUDGED]).tolist()
    return [_question(opened, feature, names, random) for feature in drawn]


def _question(
    opened: Atlas, feature: int, names: dict[int, str], random: np.random.Generator
) -> Question:
    own = names[feature]
    near = [names[n.feature] for n in opened.neighbors(feature, limit=1000) if n.feature in names]
    said = {own, *(label.label for label in opened.feature(feature).labels)}
    others = sorted(set(names.values()) - said)
    neighbor = next((name for name in near if name not in said), others[0])
    others.remove(neighbor)
    told = {"own": own, "neighbor": neighbor, "random": others[int(random.integers(len(others)))]}
    kinds = random.permutation(list(told)).tolist()
    images = opened.rows(
        """SELECT image FROM top_images JOIN images USING (image)
           WHERE feature = ? AND NOT sensitive AND duplicate_of IS NULL ORDER BY rank LIMIT ?""",
        [feature, PICTURES],
    )
    return Question(
        feature, tuple(i for (i,) in images), tuple(told[kind] for kind in kinds), tuple(kinds)
    )


def read_verdict(folder: Path, answers: Path) -> Verdict:
    """Return what a person's answers say.

    Args:
        folder: Where judge.html and key.json are.
        answers: What the page saved.

    Raises:
        MissingError: A file is not there.
        InputError: The answers are not of this page, or no JSON.
    """
    key, given = _read(folder / "key.json"), _read(answers)
    if given.get("id") != key["id"]:
        raise InputError(f"{answers} answers another atlas than {folder}; write the sheet again")
    kinds = {str(q["feature"]): [*q["kinds"], "none"] for q in key["questions"]}
    return count_answers(kinds, given.get("answers"), answers)


def count_answers(kinds: Mapping[str, Sequence[str]], answers: Any, path: Path) -> Verdict:
    """Return the verdict of answers: feature -> place of the chosen name, after them none."""
    try:
        found = Counter(kinds[feature][int(place)] for feature, place in answers.items())
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} does not fit the sheet; save it with the page's button"
        ) from error
    n = found.total()
    low, high = wilson(found["own"], n)
    return Verdict(n, found["own"], found["neighbor"], found["random"], found["none"], low, high)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingError(f"no {path}; write the sheet with: atlas names --judge DIR") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON; save it with the page's button") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} does not fit the sheet; save it with the page's button")
    return found
