"""Names out of the images' own captions: the word that most strong images hold and few others do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.inputs.vocabulary import STOP_WORDS, plain_words
from atlas.sae.activations import FeatureActivations
from atlas.study.intervals import auroc_interval, wilson
from atlas.study.labels import Row, empty_row
from atlas.study.name_figures import NameFigure
from atlas.study.naming import Side, strongest

if TYPE_CHECKING:
    import pyarrow as pa

STRONG = 10
"""Strongest images of one side from which a name is chosen, or on which it is judged."""
FEWEST_STRONG = 4
"""With fewer there is no name, and no judgment."""
LEAST_SHARE = 0.6
"""Of the strong images must hold a word that is to be the name."""
LEAST_LIFT = 2.0
"""By how many times a name must be more common among them than among all images."""
HOLDS = 0.5
"""Of the strong images of the other side must hold it for the name to hold."""
WORDS_KEPT = 3


@dataclass(frozen=True, slots=True)
class CaptionName:
    """A word for a feature, with how it does on images that did not choose it."""

    feature: int
    words: tuple[str, ...]
    """Best first."""
    share: float
    """Of the strong images that chose it."""
    usual: float
    """Of all images of the choosing side."""
    held: float | None
    """Share of the strong images of the other side that hold the first word; None of too few."""
    firing: tuple[int, int]
    """On the other side: images that fire, and those of them that hold the word."""
    silent: tuple[int, int]


def texts_words(table: pa.Table) -> list[frozenset[str]]:
    """Return each image's words and pairs of words, from caption and tags, without stop words."""
    found = []
    for caption, tags in zip(table["caption"].to_pylist(), table["tags"].to_pylist(), strict=True):
        held: set[str] = set()
        for text in (caption or "", *(tags or ())):
            words = plain_words(text)
            held.update(word for word in words if word not in STOP_WORDS)
            held.update(f"{a} {b}" for a, b in pairwise(words) if not {a, b} & STOP_WORDS)
        found.append(frozenset(held))
    return found


def name_by_captions(
    by_feature: FeatureActivations,
    held: list[frozenset[str]],
    own: NDArray[np.bool_],
    choose: Side,
    judge: Side,
) -> list[CaptionName]:
    """Return a name for each feature whose strong images share a word.

    Args:
        by_feature: Images of each feature.
        held: Words of each image.
        own: (image,) False of repetitions, which would bear a word out by being the same picture.
        choose: Images that choose names.
        judge: Images that judge them.
    """
    usual = _counts(held, choose.images[own[choose.images]])
    n_usual = max(int(own[choose.images].sum()), 1)
    judged = judge.images[own[judge.images]]
    names = []
    for feature in range(len(by_feature)):
        strong = _strong(by_feature, feature, choose, own)[:STRONG]
        if len(strong) < FEWEST_STRONG:
            continue
        words = _best_words(_counts(held, strong), len(strong), usual, n_usual)
        if not words:
            continue
        fires = _strong(by_feature, feature, judge, own)
        silent = np.setdiff1d(judged, fires)
        has = [sum(words[0] in held[i] for i in some.tolist()) for some in (fires, silent)]
        graded = [words[0] in held[i] for i in fires[:STRONG].tolist()]
        names.append(
            CaptionName(
                feature,
                words,
                sum(words[0] in held[i] for i in strong.tolist()) / len(strong),
                usual[words[0]] / n_usual,
                float(np.mean(graded)) if len(graded) >= FEWEST_STRONG else None,
                (len(fires), has[0]),
                (len(silent), has[1]),
            )
        )
    return names


def _strong(
    by_feature: FeatureActivations, feature: int, side: Side, own: NDArray[np.bool_]
) -> NDArray[np.int64]:
    images = strongest(by_feature, feature, side)
    return images[own[images]]


def _counts(held: list[frozenset[str]], images: NDArray[np.int64]) -> Counter[str]:
    return Counter(word for image in images.tolist() for word in held[image])


def _best_words(
    strong: Counter[str], n_strong: int, usual: Counter[str], n_usual: int
) -> tuple[str, ...]:
    """Return the words of enough of the strong images, by share times log lift."""
    scored = []
    for word, count in strong.items():
        share, lift = count / n_strong, (count / n_strong) / (usual[word] / n_usual)
        if share >= LEAST_SHARE and lift >= LEAST_LIFT:
            # Of words that say as much, "saudi arabia" before "arabia".
            scored.append((round(-share * float(np.log(lift)), 6), -len(word.split()), word))
    found: list[str] = []
    for _, _, word in sorted(scored):
        # "dal" says nothing beside "moong dal".
        if not any(set(word.split()) <= set(other.split()) for other in found):
            found.append(word)
    return tuple(found[:WORDS_KEPT])


def caption_rows(names: Iterable[CaptionName], before: dict[int, int]) -> list[Row]:
    """Return names as rows of the table labels.

    Args:
        names: The names.
        before: Labels that a feature has already.
    """
    rows = []
    for name in names:
        auroc = low = high = None
        if name.firing[0] and name.silent[0]:
            shares = name.firing[1] / name.firing[0], name.silent[1] / name.silent[0]
            auroc = 0.5 + (shares[0] - shares[1]) / 2
            low, high = auroc_interval(auroc, name.firing[0], name.silent[0])
        for place, word in enumerate(name.words):
            row = empty_row(name.feature, before.get(name.feature, 0) + place, word, "captions")
            grades = {"auroc": auroc, "auroc_low": low, "auroc_high": high} if not place else {}
            rows.append(row | {"score": name.share, "null_score": name.usual} | grades)
    return rows


def hold_figures(
    names: list[CaptionName],
    by_feature: FeatureActivations,
    held: list[frozenset[str]],
    own: NDArray[np.bool_],
    judge: Side,
    seed: int,
) -> list[NameFigure]:
    """Return on how many features' held-out strong images the name holds, beside names dealt out at random."""
    graded = [name for name in names if name.held is not None]
    if not graded:
        return []
    dealt = np.random.default_rng(seed).permutation(len(graded))
    by_lot = []
    for name, other in zip(graded, dealt.tolist(), strict=True):
        strong = _strong(by_feature, name.feature, judge, own)[:STRONG].tolist()
        by_lot.append(np.mean([graded[other].words[0] in held[i] for i in strong]) >= HOLDS)
    good = sum((name.held or 0.0) >= HOLDS for name in graded)
    low, high = wilson(good, len(graded))
    return [
        NameFigure(
            "caption_names_hold", good / len(graded), "share", len(graded), float(np.mean(by_lot)),
            "the same names dealt out to other features at random",
            note=f"95 %: {low:.3f} to {high:.3f}; named features whose word is in the captions of half of their {STRONG} strongest images or more, among images that did not choose it",
        )
    ]  # fmt: skip
