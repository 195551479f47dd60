"""A name for every feature that fires often enough: chosen, graded, and held against its nulls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.inputs.embeddings import read_embeddings
from atlas.inputs.shard_index import read_texts
from atlas.inputs.vocabulary import Vocabulary, read_vocabulary
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations
from atlas.settings.study import NamesSettings
from atlas.study import naming
from atlas.study.caption_words import CaptionWords, caption_words
from atlas.study.grading import Exam, Grades, grade, make_exam, matched_shuffle, matched_words
from atlas.study.naming import Chosen, Lexicon, Side
from atlas.study.units import Units, center_units


@dataclass(frozen=True, slots=True, eq=False)
class NamingInputs:
    """What names are chosen from and graded on."""

    settings: NamesSettings
    by_feature: FeatureActivations
    vectors: Units
    """(image, d) centered unit embeddings."""
    choose: Side
    judge: Side
    vocabulary: Vocabulary
    lexicon: Lexicon
    rows: NDArray[np.int64]
    """(word of the lexicon,) its row in the vocabulary."""
    captions: CaptionWords
    counts: NDArray[np.int64]
    """(feature,) images on which it fires."""


def read_naming_inputs(job: Job, by_feature: FeatureActivations) -> NamingInputs:
    """Read images and words.

    Raises:
        InputError: The vocabulary is of another space, or none of its words may be a name.
    """
    settings: NamesSettings = job.settings
    embeddings = read_embeddings(job.inputs["embed"])
    vocabulary = read_vocabulary(job.inputs["vocabulary"])
    if vocabulary.vectors.shape[1] != embeddings.width:
        raise InputError(
            f"{job.inputs['vocabulary']} has words of {vocabulary.vectors.shape[1]} dimensions, the images have {embeddings.width}; name the vocabulary of this encoder"
        )
    table = read_texts(job.inputs["embed"])
    choose, judge = naming.split_sides(table["split"].to_pylist(), settings.seed)
    vectors = center_units(embeddings, choose.images)
    captions = caption_words(table, vocabulary)
    met = captions.counts(choose, len(vocabulary.words))
    rows = np.flatnonzero(met >= settings.fewest_captions)
    if not len(rows):
        job.progress.say(
            f"names: no word of the vocabulary is in {settings.fewest_captions} captions, so every word may be a name"
        )
        rows = np.arange(len(vocabulary.words))
    words = np.asarray(vocabulary.vectors[rows], np.float32)
    lexicon = naming.make_lexicon(words, vectors, choose, settings.temperature, settings.seed)
    return NamingInputs(
        settings, by_feature, vectors, choose, judge, vocabulary, lexicon, rows, captions,
        by_feature.counts(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """The features that are frequent enough for a name, with their words, grades and nulls."""

    chosen: Chosen
    limit: NDArray[np.float64]
    """(feature,) the score that random images reach."""
    on_chosen: Grades
    """Of the first word, on the side that chose it; decides who gets a name."""
    grades: tuple[Grades, ...]
    """On the other side: of the first word, of the first two together, of all three."""
    shuffled: tuple[Grades, ...]
    """The first word, and all three, of another feature of like density."""
    random: tuple[Grades, ...]
    """The first word, and all three, that as many random images choose."""
    matched: Grades
    """A word of like frequency."""
    exam: Exam
    """The judging side's images."""
    kept: NDArray[np.bool_]
    """(feature,) gets its name."""


def name_features(inputs: NamingInputs) -> Named:
    """Choose and grade a name for every feature that fires often enough."""
    s, lexicon = inputs.settings, inputs.lexicon
    means, used = naming.mean_images(inputs.by_feature, inputs.vectors, inputs.choose, s.images)
    features = np.flatnonzero((inputs.counts >= naming.FEWEST_FIRINGS) & (used > 0))
    chosen = naming.choose_words(lexicon, means[features], features, s.prior_weight)
    used = used[features]
    limit = naming.null_scores(lexicon, inputs.vectors, inputs.choose, used, s.prior_weight, s.seed)
    drawn = naming.random_means(inputs.vectors, inputs.choose, used, s.seed)
    random = naming.choose_words(lexicon, drawn, features, s.prior_weight)

    def exam(side: Side) -> Exam:
        return make_exam(
            inputs.by_feature, features, side, s.graded_images, s.silent_images, s.seed
        )

    def graded(on: Exam, words: NDArray[np.int64]) -> Grades:
        return grade(on, inputs.vectors, naming.directions_of(lexicon, words))

    own, other = exam(inputs.choose), exam(inputs.judge)
    words, first = chosen.words, chosen.words[:, :1]
    swapped = words[matched_shuffle(inputs.counts[features], s.seed)]
    on_chosen = graded(own, first)
    like = matched_words(first, len(lexicon.vectors), s.seed)
    return Named(
        chosen=chosen,
        limit=limit,
        on_chosen=on_chosen,
        grades=tuple(graded(other, words[:, : n + 1]) for n in range(naming.WORDS_KEPT)),
        shuffled=(graded(other, swapped[:, :1]), graded(other, swapped)),
        random=(graded(other, random.words[:, :1]), graded(other, random.words)),
        matched=graded(other, like),
        exam=other,
        kept=(chosen.scores[:, 0] > limit) & (on_chosen.auroc >= s.least_auroc),
    )
