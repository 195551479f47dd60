"""Near misses judged by name: whether the name holds there, and which feature fires instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations
from atlas.study import naming
from atlas.study.best_names import BestName
from atlas.study.caption_names import Pool
from atlas.study.feature_names import Named, NamingInputs
from atlas.study.grading import TENTHS, Exam
from atlas.study.naming import DECIMALS
from atlas.study.units import unit_products

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, eq=False)
class Holds:
    """Whether a name holds, for pairs of a feature and an image."""

    known: NDArray[np.bool_]
    """(pair,) whether it could be judged."""
    holds: NDArray[np.bool_]
    score: NDArray[np.float64] | None = None
    """(pair,) the name's score on the image, by the vocabulary."""


def judge_near_misses(misses: pa.Table, judged: Holds, job: Job) -> pa.Table:
    """Add to each near miss whether the name holds there, and who fires instead.

    Where it does, the image is no counterexample: the feature missed it. Where a feature with a
    like decoder direction fires there, that one may have absorbed it.
    """
    feature, image = (np.asarray(misses[name]).astype(np.int64) for name in ("feature", "image"))
    siblings = sibling_firing(job, job.settings.sibling_cosine, feature, image)
    missed = judged.known & judged.holds
    verdict = np.where(missed, np.where(siblings >= 0, "absorption suspect", "missed"), "negative")
    scored = judged.known & (judged.score is not None)
    score = np.zeros(len(feature)) if judged.score is None else judged.score
    return (
        misses.append_column("name_score", _nullable(score, scored, "float32"))
        .append_column("verdict", _nullable(verdict, judged.known, "string"))
        .append_column("sibling", _nullable(siblings, missed & (siblings >= 0), "int32"))
    )


def hold_by_vocabulary(inputs: NamingInputs, named: Named, misses: pa.Table) -> Holds:
    """Return where names from the vocabulary hold.

    That is where the image's caption or tags have the first word, or where the word scores as
    high as on half of the strongest tenth of the images on which it fires.
    """
    feature, image = (np.asarray(misses[name]).astype(np.int64) for name in ("feature", "image"))
    place = place_of(named, feature)
    score, holds = name_holds(inputs, named, place, image)
    return Holds(place >= 0, holds, score)


def hold_by_texts(
    names: Sequence[BestName], pool: Pool, misses: pa.Table, otherwise: Holds | None
) -> Holds:
    """Return where best names hold: where the text has them; without text as the vocabulary has it.

    Args:
        names: The names that were judged.
        pool: The images.
        misses: Pairs of feature and image.
        otherwise: For names whose images have no text.
    """
    feature, image = (np.asarray(misses[name]).astype(np.int64) for name in ("feature", "image"))
    known, holds = np.zeros(len(feature), bool), np.zeros(len(feature), bool)
    holders = pool.texts.holders({name.label for name in names})
    for name in names:
        at = slice(*np.searchsorted(feature, (name.feature, name.feature + 1)))
        if name.strong is not None:
            known[at], holds[at] = True, np.isin(image[at], holders[name.label])
        elif otherwise is not None:
            known[at], holds[at] = otherwise.known[at], otherwise.holds[at]
    return Holds(known, holds)


def place_of(named: Named, features: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each feature's place among the named ones; -1 where it has no name."""
    kept = np.flatnonzero(named.kept)
    held = named.chosen.features[kept]
    at = np.minimum(np.searchsorted(held, features), max(len(held) - 1, 0))
    if not len(held):
        return np.full(len(features), -1)
    return np.where(held[at] == features, kept[at], -1)


def name_holds(
    inputs: NamingInputs, named: Named, place: NDArray[np.int64], images: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return of each pair the first word's score on the image, and whether the name holds there.

    Args:
        inputs: Images, words and captions.
        named: The names.
        place: (pair,) places in named; -1 holds nowhere.
        images: (pair,).
    """
    words = named.chosen.words[np.maximum(place, 0), 0]
    directions = naming.directions_of(inputs.lexicon, named.chosen.words[:, :1])
    at = np.maximum(place, 0)
    score = np.round(unit_products(inputs.vectors, images, directions, at), DECIMALS)
    usual = np.array(
        [
            np.median(unit_products(inputs.vectors, fires, directions, np.full(len(fires), row)))
            if len(fires)
            else np.inf
            for row, fires in enumerate(_strongest_tenths(named.exam))
        ]
    )
    in_caption = inputs.captions.has(images, inputs.rows[words])
    return score, (place >= 0) & (in_caption | (score >= np.round(usual[at], DECIMALS)))


def _strongest_tenths(exam: Exam) -> list[NDArray[np.int64]]:
    """Return the strongest tenth of each feature's firing images, one at least where any fires."""
    pairs = zip(exam.firing, exam.places, strict=True)
    return [images[places < 1 / TENTHS] for images, places in pairs]


def sibling_firing(
    job: Job, least_cosine: float, feature: NDArray[np.int64], image: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return of each pair the feature of like direction that fires strongest there; else -1."""
    table = read_parquet(job.inputs["neighbors"] / "feature_neighbors.parquet")
    near: dict[int, set[int]] = {}
    for one, other, cosine in zip(
        *(table[name].to_pylist() for name in ("feature", "neighbor", "cosine")), strict=True
    ):
        if cosine >= least_cosine:
            near.setdefault(one, set()).add(other)
    fires = ImageActivations(job.inputs["scan"])
    found = np.full(len(feature), -1, np.int64)
    for at in np.lexsort((feature, image)).tolist():
        like = near.get(int(feature[at]))
        if not like:
            continue
        others, strength = fires[int(image[at])]
        mine = np.isin(others, list(like))
        if mine.any():
            found[at] = int(others[mine][np.argmax(strength[mine])])
    return found


def _nullable(values: NDArray[Any], known: NDArray[np.bool_], kind: str) -> pa.Array:
    import pyarrow as pa

    return pa.array(values.tolist(), mask=~known, type=getattr(pa, kind)())
