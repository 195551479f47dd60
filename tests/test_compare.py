"""Comparing two SAEs on the same images, and the errors of it."""

import json
import shutil

import numpy as np
import pytest

from atlas.cli import run
from atlas.compare import best_by_direction, compare
from atlas.errors import InputError


def test_an_sae_has_all_of_itself_and_lacks_nothing(planted_atlas):
    found = compare(planted_atlas, planted_atlas)
    assert found.a_lacks == found.b_lacks == ()
    assert found.directions.close > 0.9 > found.directions.close_null
    assert found.firing.mutual > 0.9
    assert found.both > 0.9 > found.both_null


def test_best_matches_equal_the_whole_table():
    a, b = (
        np.random.default_rng(s).standard_normal((n, 4), np.float32) for s, n in ((0, 700), (1, 9))
    )
    found = best_by_direction(a, b)
    assert found.of_a.tolist() == (a @ b.T).argmax(axis=1).tolist()
    assert found.of_b.tolist() == (a @ b.T).argmax(axis=0).tolist()


def test_other_images_cannot_be_compared(planted_atlas, tmp_path):
    (tmp_path / "embed").mkdir()
    shutil.copy(planted_atlas / "embed" / "embeddings.json", tmp_path / "embed")
    path = tmp_path / "embed" / "embeddings.json"
    held = json.loads(path.read_text())
    held["shards"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(held))
    with pytest.raises(InputError, match="different images; build both on the same"):
        compare(planted_atlas, tmp_path)


def test_the_command_speaks_to_machines(planted_atlas, capsys):
    assert run(["compare", str(planted_atlas), str(planted_atlas), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["a_lacks"] == found["b_lacks"] == []
    assert found["directions"]["n"] == found["firing"]["n"] == found["live_a"]


def test_the_command_says_in_one_line_what_is_not_there(tmp_path, capsys):
    assert run(["compare", str(tmp_path), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"atlas: no atlas at {tmp_path}; build one with: ")
