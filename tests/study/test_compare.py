"""Comparing two SAEs on the same images, and the errors of it."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from atlas.base.errors import InputError
from atlas.base.progress import Progress
from atlas.command.app import run
from atlas.lookup.atlas import Atlas
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config
from atlas.study.compare import PAIRS_SHOWN, best_by_direction, compare


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


@pytest.fixture(scope="module")
def compared(planted_atlas, tmp_path_factory):
    """The planted atlas built anew beside itself; tests read it and never write."""
    folder = tmp_path_factory.mktemp("compared") / "planted"
    shutil.copytree(planted_atlas.parent, folder, copy_function=shutil.copy2)
    config = load_config(folder / "atlas.toml", [f"compare.other={planted_atlas}"])
    build_atlas(config, progress=Progress(silent=True))
    return folder / "build"


def test_a_build_beside_another_atlas_keeps_every_pair_and_shows_some(planted_atlas, compared):
    found = compare(planted_atlas, planted_atlas)
    rows = pq.read_table(compared / "compare" / "pairs.parquet").to_pylist()
    assert [(row["feature"], row["other"]) for row in rows] == [p[:2] for p in found.pairs]
    assert sum(row["shown"] for row in rows) == min(len(rows), PAIRS_SHOWN)
    record = json.loads((compared / "site/api/v1/compare.json").read_text())
    assert [pair[:2] for pair in record["pairs"]] == [list(pair[:2]) for pair in found.pairs]


def test_its_page_shows_pairs_with_both_pictures_and_no_sensitive_one(compared):
    text = (compared / "site/compare.html").read_text()
    rows = pq.read_table(compared / "compare" / "other.parquet").to_pylist()
    assert {row["sensitive"] for row in rows} == {True, False}
    for row in rows:
        picture = compared / "site" / "other" / f"{row['feature']}.webp"
        assert picture.exists() == (f'src="other/{row["feature"]}.webp"' in text)
        assert picture.exists() == (row["webp"] is not None)
        if row["sensitive"]:
            assert row["webp"] is None
            assert row["name"] == ""
    assert len(re.findall('<div class="face">', text)) == 2 * sum(
        row["shown"] for row in pq.read_table(compared / "compare/pairs.parquet").to_pylist()
    )


def test_the_report_holds_the_share_against_its_null_and_leads_to_the_page(compared, planted_atlas):
    with Atlas(compared) as atlas:
        (figure,) = [m for m in atlas.report() if m.name == "features_shared"]
    found = compare(planted_atlas, planted_atlas)
    assert (figure.value, figure.null_value, figure.n) == (
        found.both,
        found.both_null,
        found.live_a,
    )
    assert 'href="compare.html"' in (compared / "site/report.html").read_text()
    assert "compare.html" not in (planted_atlas / "site/report.html").read_text()


def test_another_atlas_that_is_not_there_is_told_in_one_line(planted_atlas, tmp_path, capsys):
    toml = planted_atlas.parent / "atlas.toml"
    out_dir = tmp_path / "build"
    shutil.copytree(planted_atlas, out_dir)
    changes = ["--set", f"out_dir={out_dir}", "--set", f"compare.other={tmp_path / 'none'}"]
    assert run(["build", str(toml), "compare", *changes]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"atlas: no other at {tmp_path / 'none'}; put it there")
