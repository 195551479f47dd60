"""Choosing words for features: the words nearest to their images, beside what random images would choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.sae.activations import FeatureActivations
from atlas.study.units import Units

FEWEST_FIRINGS = 10
"""Features that fire more rarely get no name."""
WORDS_KEPT = 3
CONSIDERED = 20
"""Best words of a feature among which those are looked for that say most together."""
SPARE = 8
"""More words than that are taken from float32 products."""
PRIOR_IMAGES = 2048
"""Images from which a word's prior and spread are taken."""
RANDOM_SETS = 64
NULL_QUANTILE = 0.95
FEATURES_PER_BLOCK = 512
DECIMALS = 6
"""Scores on images are rounded to this, so that no product's last bit decides an order."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One half of the images: names are chosen on one side and graded on the other."""

    images: NDArray[np.int64]
    """(image,) ascending."""
    member: NDArray[np.bool_]
    """(all images,) whether an image is one of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """The words that may be names, and how they spread over images."""

    vectors: NDArray[np.float32]
    """(word, d) unit vectors."""
    log_prior: NDArray[np.float64]
    """(word,) log of its mean probability over images."""
    spread: NDArray[np.float64]
    """(d, d) covariance of centered image vectors."""
    temperature: float
    """What cosines are multiplied by before they become probabilities."""
    log_total: float
    """Mean over images of the log of the sum that turns scores into probabilities."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The words of every feature that has images to choose from."""

    features: NDArray[np.int64]
    words: NDArray[np.int64]
    """(feature, 3) rows of the lexicon, best first; -1 where there are fewer."""
    scores: NDArray[np.float64]
    """(feature, 3) Soft-WPMI in nats: how much likelier the word is on the feature's images."""
    cosines: NDArray[np.float64]
    """(feature, 3) centered cosine of word and the images' mean, the second opinion."""
    cosine_ranks: NDArray[np.int64]
    """(feature,) place of the first word by centered cosine alone, from 1."""


def split_sides(split: Sequence[str], seed: int) -> tuple[Side, Side]:
    """Return the images that names are chosen on, and those that grade them.

    Held-out images grade and all others choose, so that no picture or caption that trained a
    model has a say in the grade; without any, they are halved at random.

    Args:
        split: Of each image; heldout or held_out marks those that trained nothing.
        seed: Seed of the drawing.
    """
    held = np.array([word.replace("_", "") == "heldout" for word in split], bool)
    if not held.any() or held.all():
        held = np.random.default_rng(seed).random(len(held)) < 0.5
    return side_of(~held), side_of(held)


def side_of(member: NDArray[np.bool_]) -> Side:
    """Return the side that holds these images."""
    return Side(np.flatnonzero(member), member)


def make_lexicon(
    vectors: NDArray[np.float32], units: Units, side: Side, temperature: float, seed: int
) -> Lexicon:
    """Measure words on a sample of images.

    Args:
        vectors: (word, d) unit vectors.
        units: (image, d) centered unit embeddings.
        side: The choosing side, from which the sample is drawn.
        temperature: What cosines are multiplied by before they become probabilities.
        seed: Seed of the sample.
    """
    drawn = np.random.default_rng(seed).permutation(len(side.images))[:PRIOR_IMAGES]
    sample = units[side.images[np.sort(drawn)]].astype(np.float64)
    wide = vectors.astype(np.float64)
    prior = np.zeros(len(wide))
    totals = []
    for start in range(0, len(sample), FEATURES_PER_BLOCK):
        logits = temperature * (sample[start : start + FEATURES_PER_BLOCK] @ wide.T)
        total = np.logaddexp.reduce(logits, axis=1)
        prior += np.exp(logits - total[:, None]).sum(axis=0)
        totals.append(total)
    log_prior = np.round(np.log(prior / len(sample)), DECIMALS).astype(np.float64)
    log_total = round(float(np.concatenate(totals).mean()), DECIMALS)
    off = sample - sample.mean(axis=0)
    spread: NDArray[np.float64] = off.T @ off / len(off)
    return Lexicon(vectors, log_prior, spread, temperature, log_total)


def mean_images(
    by_feature: FeatureActivations,
    vectors: Units,
    side: Side,
    most: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each feature's mean image vector on one side, and how many images it is of.

    Args:
        by_feature: Images of each feature.
        vectors: (image, d) centered unit embeddings.
        side: Only these images count.
        most: The strongest so many; of equal activations the lower image first.

    Returns:
        (feature, d) means, 0 where no image fires; (feature,) images.
    """
    means = np.zeros((len(by_feature), vectors.shape[1]))
    counts = np.zeros(len(by_feature), np.int64)
    for feature in range(len(by_feature)):
        images = strongest(by_feature, feature, side)[:most]
        counts[feature] = len(images)
        if len(images):
            means[feature] = vectors[images].mean(axis=0, dtype=np.float64)
    return means, counts


def strongest(by_feature: FeatureActivations, feature: int, side: Side) -> NDArray[np.int64]:
    """Return the images of one side on which a feature fires, strongest first, ties by image."""
    images, activations = by_feature[feature]
    mine = side.member[images]
    images, activations = images[mine], activations[mine]
    return images[np.lexsort((images, -activations))]


def choose_words(
    lexicon: Lexicon, means: NDArray[np.float64], features: NDArray[np.int64], weight: float
) -> Chosen:
    """Return the three words that say most of each feature.

    The first is the best by Soft-WPMI: temperature times the cosine of word and mean image,
    minus the logs that make it a probability, minus weight times the word's log prior. A soft
    membership that floors each probability, as published, has no effect here: at the
    calibrated temperature every probability lies far below that floor. The others are those of
    the twenty best that, added, separate the feature's images best from the rest.

    Args:
        lexicon: The words.
        means: (feature, d), a row for each of the features.
        features: Their numbers.
        weight: Of the prior; 1 is plain pointwise mutual information.
    """
    parts = [
        _choose_block(lexicon, means[block], weight)
        for block in blocks_of_features(np.arange(len(features)))
    ]
    words, scores, cosines, ranks = (
        np.concatenate(columns) for columns in zip(*parts, strict=True)
    )
    return Chosen(features, words, scores, cosines, ranks)


def blocks_of_features(items: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield at most FEATURES_PER_BLOCK entries at a time; an empty block where there is none."""
    for start in range(0, max(len(items), 1), FEATURES_PER_BLOCK):
        yield items[start : start + FEATURES_PER_BLOCK]


def _choose_block(
    lexicon: Lexicon, means: NDArray[np.float64], weight: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    closeness = means.astype(np.float32) @ lexicon.vectors.T
    rough = lexicon.temperature * closeness - (weight * lexicon.log_prior).astype(np.float32)
    n_words = len(lexicon.vectors)
    wanted = min(CONSIDERED + SPARE, n_words)
    words = np.argpartition(-rough, wanted - 1, axis=1)[:, :wanted]
    cosine = _products(means, lexicon.vectors, words)
    score = lexicon.temperature * cosine - lexicon.log_total - weight * lexicon.log_prior[words]
    order = np.lexsort((words, -score))[:, :CONSIDERED]
    words, score = np.take_along_axis(words, order, 1), np.take_along_axis(score, order, 1)
    cosine = np.take_along_axis(cosine, order, 1)
    picked = _say_most_together(lexicon, words, cosine)
    kept = [np.take_along_axis(a, np.maximum(picked, 0), 1) for a in (words, score, cosine)]
    ranks = 1 + (closeness > closeness[np.arange(len(means)), kept[0][:, 0]][:, None]).sum(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    unit = kept[2] / np.where(lengths > 0, lengths, 1)
    missing = picked < 0
    return (
        np.where(missing, -1, kept[0]),
        np.where(missing, np.nan, kept[1]),
        np.where(missing, np.nan, unit),
        ranks.astype(np.int64),
    )


def _products(
    means: NDArray[np.float64], vectors: NDArray[np.float32], words: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (feature, candidate) products of means and words, pair by pair in float64."""
    rows = np.repeat(np.arange(len(means)), words.shape[1])
    found = np.einsum("pd,pd->p", means[rows], vectors[words.ravel()].astype(np.float64))
    rounded: NDArray[np.float64] = np.round(found, DECIMALS + 3).reshape(words.shape)
    return rounded


def _say_most_together(
    lexicon: Lexicon,
    words: NDArray[np.int64],
    cosine: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return (feature, 3) columns of words: the first, then what separates best with it.

    Separation is the mean of the summed words' score on the feature's images over its standard
    deviation on all images.
    """
    vectors = lexicon.vectors[words].astype(np.float64)
    total, top = vectors[:, 0].copy(), cosine[:, 0].copy()
    spreads = np.einsum("fkd,de,fke->fk", vectors, lexicon.spread, vectors, optimize=True)
    picked = np.full((len(words), WORDS_KEPT), -1, np.int64)
    picked[:, 0] = 0
    taken = np.zeros(words.shape, bool)
    taken[:, 0] = True
    for place in range(1, min(WORDS_KEPT, words.shape[1])):
        turned = total @ lexicon.spread
        own = np.einsum("fd,fd->f", turned, total)
        both = own[:, None] + spreads + 2 * np.einsum("fd,fkd->fk", turned, vectors)
        worth = (top[:, None] + cosine) / np.sqrt(np.maximum(both, 1e-30))
        best = np.where(taken, -np.inf, np.round(worth, DECIMALS)).argmax(axis=1)
        rows = np.arange(len(words))
        picked[:, place] = best
        taken[rows, best] = True
        total += vectors[rows, best]
        top += cosine[rows, best]
    return picked


def directions_of(lexicon: Lexicon, words: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (feature, d) the sum of each row's words, at unit length; -1 counts as no word."""
    held = np.where((words >= 0)[..., None], lexicon.vectors[np.maximum(words, 0)], 0)
    total = held.astype(np.float64).sum(axis=1)
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    found: NDArray[np.float32] = (total / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return found


def null_scores(
    lexicon: Lexicon,
    vectors: Units,
    side: Side,
    counts: NDArray[np.int64],
    weight: float,
    seed: int,
) -> NDArray[np.float64]:
    """Return what score the best word of random images reaches, for each number of images.

    For each size, a power of two, the same argmax is taken on random sets of images of the
    side; a feature is held against the next smaller size, so that the null is never too easy.

    Returns:
        (feature,) the 95th percentile of 64 sets.
    """
    rng = np.random.default_rng(seed)
    sizes = 2 ** np.arange(0, max(int(counts.max(initial=1)), 1).bit_length())
    limits = []
    for size in sizes.tolist():
        drawn = side.images[rng.integers(0, len(side.images), (RANDOM_SETS, size))]
        means = np.stack([vectors[row].mean(axis=0, dtype=np.float64) for row in drawn])
        best = choose_words(lexicon, means, np.arange(RANDOM_SETS), weight).scores[:, 0]
        limits.append(float(np.quantile(best, NULL_QUANTILE)))
    place = np.log2(np.maximum(counts, 1)).astype(np.int64)
    found: NDArray[np.float64] = np.array(limits)[place]
    return found


def random_means(
    vectors: Units, side: Side, counts: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return for each feature the mean of as many random images of the side as it has."""
    rng = np.random.default_rng(seed)
    means = np.zeros((len(counts), vectors.shape[1]))
    for feature, count in enumerate(counts.tolist()):
        if count:
            drawn = side.images[rng.integers(0, len(side.images), count)]
            means[feature] = vectors[drawn].mean(axis=0, dtype=np.float64)
    return means
