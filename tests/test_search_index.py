"""The pieces of the site's search."""

import json

from hypothesis import given
from hypothesis import strategies as st

from atlas.search_index import index_scripts, prefix_of, script, word_weights, words_of


def read_script(text, receiver):
    assert text.startswith(receiver + "(")
    assert text.endswith(");\n")
    return json.loads(text[len(receiver) + 1 : -3])


def test_a_word_of_all_strongest_images_weighs_as_much_as_a_sure_label():
    texts = [(1, "Red apple", 3.0), (1, "apple pie", 1.0), (2, "pear", 2.0)]
    found = word_weights([(2, "Pear", 0.5)], texts)
    assert found == {"red": {1: 75}, "apple": {1: 100}, "pie": {1: 25}, "pear": {2: 150}}


def test_words_lie_under_their_first_two_characters():
    assert [prefix_of(word) for word in ("apple", "a", "42nd", "über", "日本")] == [
        "ap",
        "_",
        "42",
        "_",
        "_",
    ]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).map(str.lower),
        st.dictionaries(st.integers(0, 99), st.integers(1, 500), min_size=1, max_size=5),
        max_size=8,
    )
)
def test_scripts_hold_every_word_and_nothing_that_ends_a_script(weights):
    scripts = index_scripts(weights)
    held = {}
    for prefix, text in scripts.items():
        assert text.isascii()
        assert "<" not in text
        piece = read_script(text, "atlasWords")
        assert piece["prefix"] == prefix
        held |= piece["words"]
    assert held.keys() == weights.keys()
    for word, flat in held.items():
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        assert dict(pairs) == weights[word]
        assert [w for _, w in pairs] == sorted((w for _, w in pairs), reverse=True)


def test_hostile_text_stays_data():
    text = script("f", "</script><!-- \u2028 é")
    assert text == 'f("\\u003c/script>\\u003c!-- \\u2028 \\u00e9");\n'


def test_words_are_compared_without_case_or_marks():
    assert words_of("Élan, the RED-apple!") == ["élan", "the", "red", "apple"]
