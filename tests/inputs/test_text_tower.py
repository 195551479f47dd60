"""Words and free text through a real open_clip model of two towers, with tiny random weights."""

import json

import numpy as np
import pytest
from tiny_encoder import save_tiny_encoder

from atlas.base.errors import ConfigError, InputError
from atlas.base.progress import Progress
from atlas.inputs import text_tower
from atlas.inputs.text_tower import TextTower, has_text_tower, make_vocabulary
from atlas.inputs.vocabulary import CENTER, VECTORS, WORDS, read_vocabulary

WIDTH = 16
LIST = "Red apple\n# a remark\ncat\n\ncat\nH\u00c9RON\n"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder(tmp_path_factory.mktemp("two") / "encoder", WIDTH, reads_words=True)


def make(words, encoder, out, **given):
    return make_vocabulary(words, encoder, out, progress=Progress(silent=True), **given)


@pytest.fixture
def words(tmp_path):
    (tmp_path / "words.txt").write_text(LIST)
    return tmp_path / "words.txt"


def test_a_word_is_the_mean_of_its_prompts_centered(encoder, words, tmp_path):
    templates = ["a photo of {}.", "{}"]
    assert make(words, encoder, tmp_path / "out", templates=templates) == 3
    made = read_vocabulary(tmp_path / "out")
    assert made.words == ("red apple", "cat", "h\u00e9ron")
    tower = TextTower(encoder)
    alone = [tower.encode([f"a photo of {w}." for w in made.words], ["{}"])]
    alone.append(tower.encode(made.words, ["{}"]))
    unit = (alone[0] + alone[1]) / np.linalg.norm(alone[0] + alone[1], axis=1, keepdims=True)
    center = np.load(tmp_path / "out" / CENTER)
    assert center == pytest.approx(unit.mean(axis=0), abs=1e-6)
    expected = unit - center
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert made.vectors.astype(np.float32) == pytest.approx(expected, abs=2e-3)
    facts = json.loads((tmp_path / "out/vocabulary.json").read_text())
    assert (facts["encoder"], facts["templates"]) == ("tiny-random", templates)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [WORDS, VECTORS, CENTER, "vocabulary.json"]
    )


def test_a_stopped_run_goes_on_where_it_was(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(text_tower, "WORDS_PER_PART", 2)
    (tmp_path / "words.txt").write_text("a\nb\nc\nd\ne\n")
    encode, calls = TextTower.encode, []

    def stopping(self, texts, templates):
        calls.append(list(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(self, texts, templates)

    monkeypatch.setattr(TextTower, "encode", stopping)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "words.txt", encoder, tmp_path / "out")
    assert not (tmp_path / "out" / WORDS).exists()
    make(tmp_path / "words.txt", encoder, tmp_path / "out")
    assert calls == [["a", "b"], ["c", "d"], ["c", "d"], ["e"]]
    monkeypatch.setattr(TextTower, "encode", encode)
    make(tmp_path / "words.txt", encoder, tmp_path / "whole")
    for name in (WORDS, VECTORS, CENTER):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_can_not_be_done_is_one_line(encoder, words, tmp_path):
    blind = save_tiny_encoder(tmp_path / "blind", WIDTH)
    assert has_text_tower(encoder)
    assert not has_text_tower(blind)
    with pytest.raises(InputError, match="has no text tower that reads words"):
        make(words, blind, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"has no \{\} for the word"):
        make(words, encoder, tmp_path / "out", templates=["a photo"])
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no word"):
        make(tmp_path / "none.txt", encoder, tmp_path / "out")
    make(words, encoder, tmp_path / "out")
    with pytest.raises(ConfigError, match="holds a vocabulary already"):
        make(words, encoder, tmp_path / "out")
