"""Near misses judged by name: whether the name holds there, and which feature fires instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations
from atlas.study import naming
from atlas.study.feature_names import Named, NamingInputs
from atlas.study.grading import TENTHS, Exam
from atlas.study.naming import DECIMALS
from atlas.study.units import unit_products

if TYPE_CHECKING:
    import pyarrow as pa


def judge_near_misses(inputs: NamingInputs, named: Named, misses: pa.Table, job: Job) -> pa.Table:
    """Add to each near miss whether the name holds there, and who fires instead.

    The name holds where the image's caption or tags have its first word, or where the word
    scores as high as on half of the strongest tenth of the images on which it fires. Such an image is no
    counterexample: the feature missed it. Where a feature with a like decoder direction fires
    there, that one may have absorbed it.
    """
    feature, image = (np.asarray(misses[name]).astype(np.int64) for name in ("feature", "image"))
    place = place_of(named, feature)
    score, holds = name_holds(inputs, named, place, image)
    siblings = sibling_firing(job, inputs.settings.sibling_cosine, feature, image)
    known = place >= 0
    missed = known & holds
    verdict = np.where(missed, np.where(siblings >= 0, "absorption suspect", "missed"), "negative")
    return (
        misses.append_column("name_score", _nullable(score, known, "float32"))
        .append_column("verdict", _nullable(verdict, known, "string"))
        .append_column("sibling", _nullable(siblings, missed & (siblings >= 0), "int32"))
    )


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
