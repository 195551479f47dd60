"""Word lists for pages: the nearest features of every word, and how much adding them up finds."""

import json
import re

import numpy as np
import pytest

from atlas.base.text import STOP_WORDS
from atlas.inputs.vocabulary import Vocabulary
from atlas.lookup.atlas import Atlas
from atlas.lookup.search import Search
from atlas.settings.paths import template_root
from atlas.site.search_index import index_scripts
from atlas.study.meanings import (
    LISTED,
    WordLists,
    list_words,
    read_lists,
    recall_of_pairs,
    write_lists,
)


def make_vocabulary(words, vectors):
    return Vocabulary(words, {w: i for i, w in enumerate(words)}, np.asarray(vectors, np.float16))


def test_lists_equal_sorting_everything_with_ties_by_feature():
    rng = np.random.default_rng(0)
    # Few levels, so that ties abound, also across the end of a list.
    prototypes = rng.integers(-2, 3, (200, 3)).astype(np.float32) / 4
    numbers = np.arange(200, dtype=np.int32) * 7
    words = [f"w{i}" for i in range(300)]
    vectors = rng.integers(-2, 3, (300, 3)) / 4
    found = list_words(make_vocabulary(words, vectors), numbers, prototypes)
    scores = np.round(1000 * (vectors @ prototypes.T)).astype(int)
    for word in range(300):
        order = np.lexsort((numbers, -scores[word]))[:LISTED]
        assert found.features[word].tolist() == numbers[order].tolist()
        assert found.scores[word].tolist() == scores[word][order].tolist()


def test_several_words_add_up_each_from_the_end_of_its_list():
    lists = WordLists(
        np.array([[4, 2, 9], [9, 2, 1]], np.int32), np.array([[90, 70, 50], [80, 30, 20]], np.int16)
    )
    assert lists.above_end(0) == [(4, 40), (2, 20), (9, 0)]
    assert lists.add_up([0, 1]) == [9, 4, 2, 1]


def test_recall_is_whole_where_a_pair_means_its_words_and_chance_where_it_does_not():
    axes = np.eye(40)
    words = [f"w{i}" for i in range(40)]
    pairs = [f"w{i} w{i + 1}" for i in range(0, 40, 2)]
    prototypes = np.repeat(axes, 5, axis=0).astype(np.float32)
    sums = (axes[0::2] + axes[1::2]) / np.sqrt(2)
    numbers = np.arange(200, dtype=np.int32)
    for turned, share, null in ((0, 1.0, 0.0), (1, 0.0, None)):
        vectors = np.concatenate([axes, np.roll(sums, turned, axis=0)])
        vocabulary = make_vocabulary([*words, *pairs], vectors)
        found = recall_of_pairs(vocabulary, list_words(vocabulary, numbers, prototypes))
        assert (found.share, found.n) == (share, 20)
        assert null is None or found.null == null


def test_without_pairs_there_is_no_recall():
    vocabulary = make_vocabulary(["a", "b"], np.eye(2))
    lists = list_words(vocabulary, np.arange(2, dtype=np.int32), np.eye(2, dtype=np.float32))
    assert recall_of_pairs(vocabulary, lists) is None


def test_lists_come_back_as_they_were_written(tmp_path):
    lists = WordLists(np.array([[1, 2]], np.int32), np.array([[9, 8]], np.int16))
    assert read_lists(tmp_path) is None
    write_lists(tmp_path, lists)
    found = read_lists(tmp_path)
    assert found.features.tolist() == [[1, 2]]
    assert found.scores.tolist() == [[9, 8]]


def test_a_pair_lies_under_the_prefix_of_its_first_word():
    scripts = index_scripts({"apple": {3: 7}}, [("apple pie", [(5, 2), (4, 0)]), ("8 am", [])])
    held = {prefix: json.loads(text[len("atlasWords(") : -3]) for prefix, text in scripts.items()}
    assert held.pop("")["next"] == {"a": [3]}
    assert held == {
        "a": {"prefix": "a", "words": {"apple": [3, 7]}, "meanings": {"apple pie": [5, 2, 4, 0]}},
        "8": {"prefix": "8", "words": {}, "meanings": {"8 am": []}},
    }


def test_the_page_skips_the_same_words():
    text = (template_root() / "search.js").read_text()
    (listed,) = re.findall(r"STOP_WORDS = (\[.*?\]);", text)
    assert set(json.loads(listed)) == STOP_WORDS


def test_the_atlas_says_how_much_its_lists_find_and_lists_no_sensitive_feature(drawn_atlas):
    with Atlas(drawn_atlas / "build") as atlas:
        (figure,) = [m for m in atlas.report() if m.name == "search_recall_at_10"]
        hidden = [r[0] for r in atlas.sql("SELECT feature FROM features WHERE sensitive")[1]]
    assert figure.value > 2 * figure.null_value
    assert figure.n == 29
    lists = read_lists(drawn_atlas / "build/catalog/search")
    assert hidden
    assert not np.isin(hidden, lists.features).any()
    text = (drawn_atlas / "build/site/search.html").read_text()
    assert f"{figure.n} pairs" in text


@pytest.mark.parametrize("query", ["shape 5", "12"])
def test_a_list_of_a_whole_entry_agrees_with_the_exact_search(drawn_atlas, query):
    with Atlas(drawn_atlas / "build") as atlas:
        search = Search(atlas)
        exact = [hit.feature for hit in search.by_meaning(query, 10)]
        (word,), _ = search.vocabulary.split(query)
    listed = read_lists(drawn_atlas / "build/catalog/search").features[word, :10].tolist()
    assert len(set(listed) & set(exact)) >= 8
