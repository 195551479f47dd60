"""Names on planted images, where the right word is known; clever grading beside obvious grading."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.base.float64 import inner_products
from atlas.inputs.embeddings import EmbeddingSet, Shard
from atlas.study import naming, units
from atlas.study.grading import TENTHS, Exam, grade, make_exam, matched_shuffle, matched_words
from atlas.study.intervals import auroc_interval, median_interval
from atlas.study.units import center_units, unit_products

D = 12
WORDS = np.vstack([np.eye(D), -np.eye(D)]).astype(np.float32)


class Firings:
    """Images and activations by feature, as FeatureActivations gives them."""

    def __init__(self, acts):
        self.acts = acts

    def __len__(self):
        return self.acts.shape[1]

    def __getitem__(self, feature):
        images = np.flatnonzero(self.acts[:, feature])
        return images, self.acts[images, feature].astype(np.float32)

    def counts(self):
        return (self.acts > 0).sum(axis=0)


def stored(x, folder):
    """Embeddings in two shards on disk."""
    shards, first = [], 0
    for number, rows in enumerate(np.array_split(x, 2)):
        path = folder / f"{number}.npy"
        np.save(path, rows)
        shards.append(Shard(path.stem, path, len(rows), first, ""))
        first += len(rows)
    return EmbeddingSet(x.shape[1], len(x), {}, normalized=False, shards=tuple(shards))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Feature f fires on the images that point along dimension f; the rest is noise."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1200, D)) * 0.4
    shown = rng.integers(0, D, len(x))
    x[np.arange(len(x)), shown] += 2
    acts = np.where(np.eye(D)[shown] > 0, rng.uniform(0.5, 2, (len(x), D)), 0.0)
    choose = naming.side_of(np.arange(len(x)) % 3 > 0)
    judge = naming.side_of(np.arange(len(x)) % 3 == 0)
    embeddings = stored(x.astype(np.float32), tmp_path_factory.mktemp("naming"))
    vectors = center_units(embeddings, choose.images)
    lexicon = naming.make_lexicon(WORDS, vectors, choose, 10.0, 0)
    return Firings(acts), vectors, choose, judge, lexicon


def chosen(world):
    firings, vectors, choose, _, lexicon = world
    means, _ = naming.mean_images(firings, vectors, choose, 64)
    return naming.choose_words(lexicon, means, np.arange(D), 1.0)


def test_the_planted_word_is_the_name(world):
    found = chosen(world)
    assert found.words[:, 0].tolist() == list(range(D))
    assert found.cosine_ranks.tolist() == [1] * D
    assert all(len(set(row)) == 3 for row in found.words.tolist())


def test_a_planted_name_grades_high_on_other_images_and_a_shuffled_one_does_not(world):
    firings, vectors, _, judge, lexicon = world
    exam = make_exam(firings, np.arange(D), judge, 100, 400, 0)
    words = chosen(world).words[:, :1]
    right = grade(exam, vectors, naming.directions_of(lexicon, words))
    swapped = words[matched_shuffle(firings.counts(), 0)]
    wrong = grade(exam, vectors, naming.directions_of(lexicon, swapped))
    assert right.auroc.min() > 0.95
    assert wrong.auroc.max() < 0.7


def test_a_planted_score_is_far_above_what_random_images_reach(world):
    _, vectors, choose, _, lexicon = world
    counts = np.full(D, 60)
    limit = naming.null_scores(lexicon, vectors, choose, counts, 1.0, 0)
    assert (chosen(world).scores[:, 0] > limit + 1).all()
    drawn = naming.random_means(vectors, choose, counts, 7)
    lots = naming.choose_words(lexicon, drawn, np.arange(D), 1.0)
    assert (lots.scores[:, 0] < chosen(world).scores[:, 0]).all()


def test_fewer_random_images_set_a_higher_bar(world):
    _, vectors, choose, _, lexicon = world
    limits = naming.null_scores(lexicon, vectors, choose, np.array([10, 100, 250]), 1.0, 0)
    assert list(limits) == sorted(limits, reverse=True)


@given(seed=st.integers(0, 10_000), levels=st.integers(1, 5))
def test_the_grade_equals_counting_every_pair_ties_as_half(seed, levels):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, levels, (40, 1)).astype(np.float32)
    acts = np.where(rng.random((40, 2)) < 0.4, rng.integers(1, 4, (40, 2)), 0).astype(float)
    side = naming.side_of(rng.random(40) < 0.8)
    exam = make_exam(Firings(acts), np.arange(2), side, 1000, 1000, 0)
    found = grade(exam, vectors, np.ones((2, 1), np.float32))
    for feature in range(2):
        fires = [i for i in side.images if acts[i, feature] > 0]
        silent = [i for i in side.images if acts[i, feature] == 0]
        pairs = [
            (vectors[i, 0] > vectors[j, 0]) + (vectors[i, 0] == vectors[j, 0]) / 2
            for i in fires
            for j in silent
        ]
        wanted = np.mean(pairs) if pairs else np.nan
        np.testing.assert_allclose(found.auroc[feature], wanted)


@given(counts=st.lists(st.integers(0, 50), min_size=2, max_size=60), seed=st.integers(0, 99))
def test_shuffled_names_are_a_permutation_among_features_of_like_density(counts, seed):
    counts = np.array(counts)
    found = matched_shuffle(counts, seed, group=5)
    assert sorted(found.tolist()) == list(range(len(counts)))
    moved = found != np.arange(len(counts))
    assert moved.sum() >= len(counts) - 1


@given(word=st.integers(0, 99), seed=st.integers(0, 99))
def test_a_word_of_like_frequency_is_another_one_nearby(word, seed):
    (other,) = matched_words(np.array([word]), 100, seed, reach=10)
    assert 0 <= other < 100
    assert abs(other - word) <= 10


def test_held_out_images_grade_and_the_others_choose():
    choose, judge = naming.split_sides(["train", "heldout", "", "held_out"], 0)
    assert (choose.images.tolist(), judge.images.tolist()) == ([0, 2], [1, 3])
    choose, judge = naming.split_sides([""] * 100, 0)
    assert sorted([*choose.images, *judge.images]) == list(range(100))
    assert 30 < len(choose.images) < 70


def test_intervals_hold_what_they_are_of_and_narrow_with_more_images():
    low, high = auroc_interval(0.8, 50, 500)
    assert low < 0.8 < high
    assert auroc_interval(0.8, 500, 5000)[0] > low
    assert median_interval(np.array([1.0, np.nan, 3.0, 2.0]))[0] == 2.0


def test_an_exam_without_features_has_no_grades():
    exam = Exam(np.empty(0, np.int64), (), (), np.arange(3), ())
    found = grade(exam, np.eye(3, dtype=np.float32), np.empty((0, 3), np.float32))
    assert found.auroc.shape == (0,)
    assert found.tenths.shape == (0, TENTHS)


def test_units_on_disk_are_those_in_memory(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, D)) + 1).astype(np.float32)
    embeddings, images = stored(x, tmp_path), np.arange(0, 300, 3)
    held = center_units(embeddings, images)
    monkeypatch.setattr(units, "HELD_ROWS", 100)
    read = center_units(embeddings, images)
    assert isinstance(held, np.ndarray)
    assert not isinstance(read, np.ndarray)
    some = rng.integers(0, 300, 500)
    assert np.array_equal(read[some], held[some])
    assert (len(read), read.shape) == (300, (300, D))
    plain = x / np.linalg.norm(x, axis=1, keepdims=True)
    plain -= plain[images].mean(axis=0)
    assert np.allclose(held, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)
    monkeypatch.setattr(units, "ROWS_PER_BLOCK", 64)
    words = rng.integers(0, len(WORDS), 500)
    found = unit_products(read, some, WORDS, words)
    assert np.array_equal(found, inner_products(held, some, WORDS, words))
