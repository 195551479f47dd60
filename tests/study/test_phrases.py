"""Phrases of captions, tags and file names, and which of them may be names."""

from __future__ import annotations

import pyarrow as pa
import pytest

from atlas.study.phrases import may_name, phrases_of, read_texts
from atlas.study.unfit_names import is_unfit, shows_people


def test_phrases_end_at_punctuation_and_never_with_a_stop_word():
    assert phrases_of("Flag: T\u00fcrkiye, man in suit") == {
        *("flag", "t\u00fcrkiye", "flag t\u00fcrkiye"),
        *("man", "suit", "man in suit"),
    }
    assert phrases_of("a dog. St. Vincent") == phrases_of("dog st vincent")
    assert "large dog" not in phrases_of("It is large. Dog")


def test_a_word_that_lost_a_character_is_no_phrase():
    assert phrases_of("flag T\ufffdrkiye here") == {"flag", "here"}


@pytest.mark.parametrize("phrase", ["143", "ga", "not", "2x", "12 34"])
def test_numbers_codes_and_empty_words_are_no_names(phrase):
    assert not may_name(phrase)


@pytest.mark.parametrize("phrase", ["owl", "\u72ac", "route 66", "vitamin c"])
def test_words_are(phrase):
    assert may_name(phrase)


def test_a_label_is_held_as_it_stands_or_if_it_is_long_by_all_its_words():
    captions = ["a red apple on a plate", "an apple, red", "plate with one red ripe apple"]
    table = pa.table({"name": ["", "", ""], "caption": captions, "tags": [["fruit"], [], []]})
    texts = read_texts(table)
    found = texts.holders(["Red Apple", "fruit", "apple that is red on the plate", "pear"])
    assert {label: images.tolist() for label, images in found.items()} == {
        "Red Apple": [0],
        "fruit": [0],
        "apple that is red on the plate": [],
        "pear": [],
    }
    (images,) = texts.holders(["the red apple of one plate"]).values()
    assert images.tolist() == [2]


def test_file_names_count_where_nothing_else_is_written():
    names = ["trips/red_apple-2.jpg", "trips\\red_apple-3.jpg", "img.jpg"]
    table = pa.table({"name": names, "caption": ["", "", "a pear"], "tags": [[], [], []]})
    texts = read_texts(table)
    assert "red apple" in texts.phrases(0) & texts.phrases(1)
    assert texts.phrases(2) == {"pear"}
    assert texts.captioned.tolist() == [False, False, True]


def test_no_animal_and_no_insult_names_people():
    people = [frozenset({"man", "donkey"}), frozenset({"woman"}), frozenset({"tree"})]
    assert shows_people(people)
    assert not shows_people(people[1:] + [frozenset({"sea"})] * 2)
    assert is_unfit("donkey", on_people=True)
    assert is_unfit("grey donkey", on_people=True)
    assert not is_unfit("donkey", on_people=False)
    assert is_unfit("moron", on_people=True)
    assert is_unfit("bastard", on_people=False)
