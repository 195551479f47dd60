"""Names out of captions: the word that strong images share, held against images that did not choose it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from atlas.study.caption_names import caption_rows, hold_figures, name_by_captions, texts_words
from atlas.study.naming import side_of


class Firings:
    """Images and activations of each feature."""

    def __init__(self, *features):
        self.features = features

    def __len__(self):
        return len(self.features)

    def __getitem__(self, feature):
        images, activations = self.features[feature]
        return np.array(images, np.int64), np.array(activations, np.float32)


N = 40
CAPTIONS = ["a red apple" if i % 4 == 0 else f"some thing {'abcdefghij'[i // 4]}" for i in range(N)]
TABLE = pa.table({"caption": CAPTIONS, "tags": [[] for _ in range(N)]})
APPLES = [i for i in range(N) if i % 4 == 0]
OTHERS = [i for i in range(N) if i % 4]
CHOOSE = np.arange(N) < 20
OWN = np.ones(N, bool)


def named(*features, own=OWN):
    held = texts_words(TABLE)
    return name_by_captions(Firings(*features), held, own, side_of(CHOOSE), side_of(~CHOOSE))


def test_words_are_of_captions_and_tags_with_pairs_and_without_stop_words():
    table = pa.table({"caption": ["A bowl of red Apples", None], "tags": [["fruit"], []]})
    assert texts_words(table)[0] == {"bowl", "red", "apples", "red apples", "fruit"}
    assert texts_words(table)[1] == frozenset()


def test_the_word_that_strong_images_share_names_a_feature():
    (name,) = named((APPLES, np.arange(10, 0, -1)))
    assert (name.share, name.usual, name.held) == (1.0, 0.25, 1.0)
    assert (name.firing, name.silent) == ((5, 5), (15, 0))


def test_of_words_that_say_as_much_the_longer_one_is_the_name():
    (name,) = named((APPLES, np.arange(10, 0, -1)))
    assert name.words == ("red apple",)


def test_a_feature_of_unlike_captions_or_too_few_images_gets_no_name():
    mixed = [0, 1, 2, 5, 6, 9, 10, 13]
    assert named((mixed, np.arange(8, 0, -1))) == []
    assert named((APPLES[:3], [3, 2, 1])) == []


def test_repetitions_bear_nothing_out():
    own = OWN.copy()
    own[APPLES[1:]] = False
    assert named((APPLES, np.arange(10, 0, -1)), own=own) == []


def test_rows_and_figures_say_how_far_a_name_holds():
    features = ((APPLES, np.arange(10, 0, -1)), (APPLES[:5] + OTHERS[15:23], np.arange(13, 0, -1)))
    names = named(*features)
    assert [name.feature for name in names] == [0, 1]
    rows = caption_rows(names, {0: 2})
    assert next(row["rank"] for row in rows if row["feature"] == 0) == 2
    assert rows[0]["source"] == "captions"
    assert rows[0]["auroc"] == 1.0
    held = texts_words(TABLE)
    (figure,) = hold_figures(names, Firings(*features), held, OWN, side_of(~CHOOSE), 0)
    assert (figure.name, figure.value, figure.n) == ("caption_names_hold", 0.5, 2)
    assert figure.null_value is not None
