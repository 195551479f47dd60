"""Names out of texts: chosen on one half of the images, judged on the other, told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from atlas.study.best_name_figures import best_name_figures, held_by_tenth
from atlas.study.best_names import BestName, first_labels, judge_names, names_table, tell_apart
from atlas.study.caption_names import Pool, choose_words, strong_images, word_rows
from atlas.study.labels import empty_row
from atlas.study.names import merge_rows
from atlas.study.naming import side_of
from atlas.study.phrases import read_texts


class Firings:
    """Images and activations of each feature: the first image fires it most."""

    def __init__(self, *features):
        self.features = [np.array(images, np.int64) for images in features]

    def __len__(self):
        return len(self.features)

    def __getitem__(self, feature):
        images = self.features[feature]
        order = np.argsort(images)
        return images[order], np.arange(len(images), 0, -1, dtype=np.float32)[order]


N = 80
APPLES = list(range(0, N, 4))
OTHERS = [i for i in range(N) if i % 4]
CAPTIONS = ["a red apple" if i in APPLES else f"some thing {'abcdefghij'[i % 10] * 3}" for i in range(N)]  # fmt: skip
TAGS = [["fruit"] if i in APPLES else [] for i in range(N)]
CHOOSE = np.arange(N) < 40


def pool_of(*features, captions=CAPTIONS, tags=TAGS, repeated=(), sensitive=()):
    table = pa.table({"name": [""] * len(captions), "caption": captions, "tags": tags})
    first = np.arange(len(captions))
    for image, original in repeated:
        first[image] = original
    hidden = np.isin(np.arange(len(captions)), sensitive)
    sides = side_of(CHOOSE), side_of(~CHOOSE)
    return Pool(Firings(*features), read_texts(table), first, hidden, *sides)


def words_of(pool):
    return choose_words(pool, strong_images(pool))


def test_what_strong_images_share_names_a_feature_and_the_caption_comes_before_the_tag():
    (words,) = words_of(pool_of(APPLES)).values()
    assert [word.text for word in words] == ["red apple", "fruit"]
    assert (words[0].share, words[0].usual, words[0].good) == (1.0, 0.25, True)


def test_without_a_word_that_half_of_them_hold_there_are_only_guesses():
    mixed = [*APPLES[:3], *[i for i in OTHERS if i < 40][:7]]
    (words,) = words_of(pool_of(mixed)).values()
    assert words
    assert not any(word.good for word in words)


def test_a_word_that_most_images_hold_anyway_is_no_name():
    captions = [f"photo of thing {i % 7}" for i in range(N)]
    (words,) = words_of(pool_of(APPLES, captions=captions, tags=[[]] * N)).values()
    assert not any(word.good for word in words)


def test_repetitions_and_withheld_images_bear_nothing_out():
    assert not words_of(pool_of(APPLES, repeated=[(i, 0) for i in APPLES[1:]]))
    assert not words_of(pool_of(APPLES, sensitive=APPLES[1:]))


def test_phrases_that_are_ignored_neither_name_nor_join_what_stands_around_them():
    captions = [f"{'singer, Pale skin-tone red hair' if i in APPLES else i}" for i in range(N)]
    table = pa.table({"name": [""] * N, "caption": captions, "tags": [["skin tone"]] * N})
    ignored = ("skin tone", "pale skin tone")
    pool = replace(pool_of(APPLES), texts=read_texts(table, ignored))
    (words,) = words_of(pool).values()
    assert {word.text for word in words} == {"singer", "red hair"}


def test_an_animal_is_no_name_for_people():
    captions = ["a man, donkey" if i in APPLES else f"{i}" for i in range(N)]
    (words,) = words_of(pool_of(APPLES, captions=captions, tags=[[]] * N)).values()
    assert [word.text for word in words] == ["man"]


def named(pool, near=None):
    rows = merge_rows([], words_of(pool), pool)
    return judge_names(first_labels(rows), pool, near or {})


def test_a_name_is_judged_on_images_that_did_not_choose_it():
    near = {0: np.array([1, 4, 8, 2])}
    (name,) = named(pool_of(APPLES[:15] + OTHERS[40:45]), near)
    assert (name.label, name.held, name.strong) == ("red apple", 15, 20)
    assert (name.chosen, name.judged, name.tenth, name.near) == (1.0, 0.5, 1.0, 0.5)
    assert (name.precision, name.recall, name.f1, name.usual) == (0.5, 0.5, 0.5, 0.25)


def test_pages_count_an_image_and_its_repetitions_once():
    (name,) = named(pool_of(APPLES, repeated=[(76, 72)], sensitive=[60]))
    assert (name.held, name.strong) == (18, 18)


def test_a_vocabulary_name_that_texts_do_not_bear_out_is_only_a_guess():
    row = {**empty_row(0, 0, "banana", "images"), "auroc": 0.9}
    mixed = [*APPLES[:2], *[i for i in OTHERS if i < 40][:8]]
    pool = pool_of(mixed)
    rows = merge_rows([row], words_of(pool), pool)
    assert "banana" in [row["label"] for row in rows]
    assert all(row["perhaps"] for row in rows)
    assert not first_labels(rows)


def test_where_images_have_no_text_the_vocabulary_names():
    row = {**empty_row(0, 0, "apple", "images"), "auroc": 0.9}
    pool = pool_of(APPLES, captions=[""] * N, tags=[[]] * N)
    rows = merge_rows([row], words_of(pool), pool)
    assert rows == [row]
    assert judge_names(first_labels(rows), pool, {}) == [
        BestName(0, "apple", "apple", "images", "")
    ]


def test_names_from_outside_come_first_and_are_judged_alike():
    row = {**empty_row(0, 0, "a fruit", "imported"), "author": "me"}
    pool = pool_of(APPLES)
    rows = merge_rows([row], words_of(pool), pool)
    assert [row["label"] for row in rows] == ["a fruit", "red apple", "fruit"]
    (name,) = judge_names(first_labels(rows), pool, {})
    assert (name.label, name.author, name.held) == ("a fruit", "me", 20)


def test_a_second_word_tells_namesakes_apart():
    captions = [
        f"flag of {('ghana, green star, flags', 'japan, white disk')[i % 2]}" if i < 60 else f"{i}"
        for i in range(N)
    ]
    even, odd = list(range(0, 40, 2)), list(range(1, 40, 2))
    pool = pool_of(even, odd, captions=captions, tags=[[]] * N)
    names = tell_apart([BestName(f, "flag", "flag", "captions", "") for f in (0, 1)], pool)
    assert [name.name for name in names] == ["flag · green star", "flag · white disk"]
    assert [name.label for name in names] == ["flag", "flag"]


def test_namesakes_on_like_images_keep_their_name():
    pool = pool_of(APPLES, APPLES)
    names = tell_apart([BestName(f, "apple", "apple", "captions", "") for f in (0, 1)], pool)
    assert [name.name for name in names] == ["apple", "apple"]


def test_rows_say_which_are_guesses():
    pool = pool_of(APPLES)
    (words,) = words_of(pool).values()
    rows = word_rows(0, words, 2)
    assert [(row["rank"], row["label"], row["perhaps"]) for row in rows] == [
        (2, "red apple", False),
        (3, "fruit", False),
    ]


def test_figures_count_features_without_a_name_and_stand_beside_nulls():
    pool = pool_of(APPLES, [i for i in OTHERS if i % 10 == 3], [1, 2, 3])
    names = named(pool)
    counts = np.array([len(some) for some in pool.by_feature.features])
    near = {0: np.array([1, 2])}
    found = {f.name: f for f in best_name_figures(names, pool, near, counts, 0)}
    assert [name.label for name in names] == ["red apple", "some thing ddd"]
    assert found["names_share"].value == found["names_right"].value == 2 / 3
    assert found["names_right_unseen"].value == 2 / 3
    assert found["names_right_unseen"].null_value == 0.0
    assert found["names_share"].null_value < 0.5
    assert found["names_tell_near_misses"].value == 1.0
    (first, *_, last) = held_by_tenth(names, pool, counts, 0)
    assert (first["held"], last["held"], last["held_shuffled"]) == (1.0, 1.0, 0.0)


def test_the_table_has_a_row_for_each_name():
    table = names_table(named(pool_of(APPLES)))
    assert table["name"].to_pylist() == ["red apple"]
    assert table["strong"].to_pylist() == [20]
