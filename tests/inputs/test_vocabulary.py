"""Text as a vector, through the words that are known."""

import numpy as np
import pytest

from atlas.base.errors import InputError, MissingError
from atlas.base.text import plain_words
from atlas.inputs.vocabulary import VECTORS, WORDS, read_vocabulary


@pytest.fixture
def folder(tmp_path):
    words = ["red", "fruit", "golden", "golden retriever", "dog"]
    (tmp_path / WORDS).write_text("\n".join(words) + "\n")
    np.save(tmp_path / VECTORS, np.eye(5, dtype=np.float16))
    return tmp_path


def test_a_query_is_the_mean_of_its_words_at_unit_length(folder):
    found = read_vocabulary(folder).encode_text("Red, FRUIT!")
    np.testing.assert_allclose(found, np.array([1, 1, 0, 0, 0]) / np.sqrt(2), atol=1e-6)


def test_a_known_pair_of_words_comes_before_its_words(folder):
    found = read_vocabulary(folder).encode_text("golden retriever dog")
    np.testing.assert_allclose(found, np.array([0, 0, 0, 1, 1]) / np.sqrt(2), atol=1e-6)


def test_plurals_are_known_by_their_singular(folder):
    vocabulary = read_vocabulary(folder)
    np.testing.assert_allclose(vocabulary.encode_text("dogs"), vocabulary.encode_text("dog"))


def test_unknown_words_are_left_out_unless_there_is_no_other(folder):
    vocabulary = read_vocabulary(folder)
    np.testing.assert_allclose(vocabulary.encode_text("red zzqqx"), vocabulary.encode_text("red"))
    with pytest.raises(InputError, match="zzqqx"):
        vocabulary.encode_text("zzqqx")


def test_words_are_plain():
    found = plain_words("A Golden-Retriever's day, 2 dogs")
    assert found == ["a", "golden", "retriever's", "day", "2", "dogs"]


def test_a_missing_or_damaged_vocabulary_is_named(folder, tmp_path_factory):
    with pytest.raises(MissingError, match="no vocabulary at"):
        read_vocabulary(tmp_path_factory.mktemp("empty"))
    np.save(folder / VECTORS, np.eye(4, dtype=np.float16))
    with pytest.raises(InputError):
        read_vocabulary(folder)
