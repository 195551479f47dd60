"""The pieces of the site's search."""

import json

from hypothesis import given
from hypothesis import strategies as st

from atlas.site.search_index import (
    FIRST_SHOWN,
    UNFINISHED,
    file_name,
    index_scripts,
    script,
    table_scripts,
    word_weights,
)


def read_script(text, receiver):
    assert text.startswith(receiver + "(")
    assert text.endswith(");\n")
    return json.loads(text[len(receiver) + 1 : -3])


def test_a_weight_says_how_many_captions_have_a_word_and_whether_a_label_does():
    texts = [(1, "Red apple", 3.0), (1, "apple pie", 1.0), (2, "pear", 2.0)]
    found = word_weights([(2, "Pear"), (1, "fruit")], texts)
    assert found == {
        "red": {1: 100 + 74},
        "apple": {1: 200 + 99},
        "pie": {1: 100 + 24},
        "pear": {2: 1000 + 100 + 99},
        "fruit": {1: 1000},
    }


def test_a_word_that_only_begins_so_never_beats_the_word_itself():
    most = word_weights([(1, "apples")], [(1, "apples", 1.0)] * 9)["apples"][1]
    least = min(word_weights([], [(1, "apple", 1.0), (1, "pear", 1e9)])["apple"].values())
    assert UNFINISHED * most < least


WEIGHTS = st.dictionaries(
    st.text("abs日_", min_size=1, max_size=5),
    st.dictionaries(st.integers(0, 99), st.integers(1, 500), min_size=1, max_size=5),
    max_size=12,
)
PIECE_CHARS = st.sampled_from([1, 60, 65_536])


def pieces_of(scripts):
    pieces = {prefix: read_script(text, "atlasWords") for prefix, text in scripts.items()}
    assert all(text.isascii() and "<" not in text for text in scripts.values())
    assert all(piece["prefix"] == prefix for prefix, piece in pieces.items())
    return pieces


def piece_for(pieces, word):
    """As table.js finds it: that of the longest prefix that there is."""
    held = [word[:n] for n in range(len(word), 0, -1) if word[:n] in pieces]
    return pieces[held[0]] if held else {"prefix": "", "words": {}, "meanings": {}}


def pairs_of(flat):
    return zip(flat[::2], flat[1::2], strict=True)


def answer(pieces, word):
    """As search.js answers one word."""
    piece = piece_for(pieces, word)
    if "begins" in piece:
        return dict(pairs_of(piece["begins"])) if piece["prefix"] == word else {}
    return best_of(word, {key: dict(pairs_of(flat)) for key, flat in piece["words"].items()})


def best_of(word, weights):
    found = {}
    for key, held in weights.items():
        share = 1 if key in (word, word + "s") else UNFINISHED
        if key.startswith(word):
            for feature, weight in held.items():
                found[feature] = max(found.get(feature, 0), share * weight)
    return found


@given(WEIGHTS, PIECE_CHARS, st.text("abs日_", min_size=1, max_size=6))
def test_whatever_is_typed_is_answered_alike_however_small_the_pieces(weights, chars, typed):
    pieces = pieces_of(index_scripts(weights, piece_chars=chars))
    for word in {typed, *weights}:
        found, wanted = answer(pieces, word), best_of(word, weights)
        assert found.keys() == wanted.keys()
        assert all(abs(found[f] - wanted[f]) < 0.1 for f in wanted)


@given(WEIGHTS, PIECE_CHARS)
def test_a_divided_piece_tells_what_each_next_letter_leads_to_first(weights, chars):
    rows = [{"feature": f, "name": f"n{f}", "icon": f, "density": 0.5} for f in range(98, -1, -1)]
    pieces = pieces_of(index_scripts(weights, piece_chars=chars, rows=rows))
    assert {word[0] for word in weights} == pieces[""]["next"].keys()
    for prefix, piece in pieces.items():
        assert ("next" in piece) == ("begins" in piece or not prefix)
        for letter, first in piece.get("next", {}).items():
            wanted = answer(pieces, prefix + letter)
            order = sorted(wanted, key=lambda f: (-wanted[f], f))
            assert first == order[:FIRST_SHOWN]
            held = piece["rows"]
            shown = [f for f in first if f < 99]
            assert set(shown) <= set(held["feature"])
            assert all(
                (held["place"][at], held["name"][at]) == (98 - f, f"n{f}")
                for at, f in enumerate(held["feature"])
            )


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=5), st.just([(1, 5)]), max_size=9),
    PIECE_CHARS,
    st.text("abc", min_size=3, max_size=5),
)
def test_an_unfinished_word_finds_the_shortest_of_the_vocabulary(vocabulary, chars, typed):
    pairs = [(f"{word} b", [(2, 3)]) for word in vocabulary]
    pieces = pieces_of(index_scripts({}, [*vocabulary.items(), *pairs], chars))
    held = piece_for(pieces, typed)["meanings"]
    begun = [word for word in held if word.startswith(typed) and " " not in word]
    wanted = [word for word in vocabulary if word.startswith(typed)]
    assert min(begun, key=lambda w: (len(w), w), default="") == min(
        wanted, key=lambda w: (len(w), w), default=""
    )
    for entry, _ in pairs:
        assert piece_for(pieces, entry.split()[0])["meanings"][entry] == [2, 3]


def test_pieces_stay_small_and_their_names_are_safe():
    weights = {f"word{n}日": dict.fromkeys(range(50), 9) for n in range(400)}
    weights |= {"w" * 400 + letter: {1: 1} for letter in "abcdefgh"}
    scripts = index_scripts(weights, piece_chars=2000)
    longest = scripts.pop("w" * 12)  # more letters would make a name that no disk takes
    assert max(len(text) for text in scripts.values()) < 2400 < len(longest)
    assert {file_name(prefix) for prefix in scripts} >= {"w", "word", "word3", "www"}
    assert file_name("a日_") == "a_65e5_5f"


def test_rows_lie_by_number_and_places_in_the_order_given():
    rows = [
        {"feature": f, "name": f"n{f}", "icon": -3, "density": d, "max": 2.0, "selectivity": 0.5, "trip": -1.0, "verdict": -1, "alike": 0.25, "sure": 0.5, "family": 1,
         "tops": "3 1" if f == 7 else "", "x": 0.25, "y": 1.0}
        for f, d in ((1030, 0.5), (7, 0.75), (1024, 0.5))
    ]  # fmt: skip
    scripts = table_scripts(rows, ["b", "a"], [(0, "all", 0.5, 0.5)], "pages", ["a", "b"])
    assert read_script(scripts["assets/features.js"], "atlasFeatures") == {
        "n": 3,
        "files": [0, 1],
        "prefixes": ["a", "b"],
        "regions": [[0, "all", 0.5, 0.5]],
        "layout": "pages",
        "trips": False,
        "twice": False,
    }
    assert read_script(scripts["assets/features/1.js"], "atlasRows") == {
        "place": [0, 2],
        "feature": [1030, 1024],
        "name": ["n1030", "n1024"],
        "icon": [-3, -3],
        "density": [0.5, 0.5],
    }
    assert read_script(scripts["assets/features/0.js"], "atlasRows")["tops"] == ["3 1"]
    spots = read_script(scripts["assets/spots.js"], "atlasSpots")
    assert spots == {"x": [2500] * 3, "y": [10_000] * 3, "strongest": [1, 2, 0], "levels": []}
    measures = read_script(scripts["assets/measures.js"], "atlasMeasures")
    assert measures["max"] == [2.0] * 3
    assert (measures["families"], measures["family"]) == (["a", "b"], [1] * 3)
    assert (measures["alike"], measures["sure"], measures["verdict"]) == (
        [0.25] * 3,
        [0.5] * 3,
        [-1] * 3,
    )


def test_hostile_text_stays_data():
    text = script("f", "</script><!-- \u2028 é")
    assert text == 'f("\\u003c/script>\\u003c!-- \\u2028 \\u00e9");\n'
