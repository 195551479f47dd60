"""atlas init writes a project that plans, builds and publishes as it stands, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from building import atlas

from atlas.prepare.new_atlas import with_setting
from atlas.prepare.small_demo import COLORS, SHAPES, write_demo
from atlas.publish.project import presets
from atlas.publish.workflows import PLACES, workflow
from atlas.settings.load import load_config
from atlas.settings.outside import outside_files


@pytest.mark.parametrize("name", presets())
def test_a_project_of_a_preset_keeps_everything_in_its_own_folder(name, tmp_path):
    folder = tmp_path / "project"
    status, out, err = atlas("init", folder, "--preset", name, "--license", "CC0-1.0")
    assert (status, err) == (0, [])
    assert out[-1] == f"next: cd {folder}; atlas plan atlas.toml"
    text = (folder / "atlas.toml").read_text()
    assert ".." not in text
    assert "data/raw" not in text
    config = load_config(folder / "atlas.toml")
    assert config.catalog.credit == "Pictures and texts: CC0-1.0."
    assert config.site.host == "github"
    assert folder in config.out_dir.parents
    if "words/wordnet.txt" in text:
        assert (folder / "words" / "wordnet.txt").is_file()
    for place, _ in outside_files(config).values():
        assert folder in place.parents or "templates" in str(place) or "hub" in str(place)
    assert (folder / PLACES["github"]).read_text() == workflow("github")
    assert "CC0-1.0" in (folder / "README.md").read_text()


def test_a_project_of_a_bundle_is_published_as_it_stands(planted_atlas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert atlas("bundle", "--atlas", planted_atlas, "--out", "atlas.zip")[0] == 0
    made = atlas(
        "init", "project", "--bundle", "atlas.zip", "--title", 'Said "so"', "--ci", "gitlab"
    )
    assert made[0] == 0, made
    assert 'bundle = "../atlas.zip"' in Path("project/atlas.toml").read_text()
    status, out, err = atlas("ci", "project/atlas.toml", "--site", "_site")
    assert status == 0, err
    assert out[0] == "built: catalog, site"
    assert "Said &#34;so&#34;" in Path("_site/index.html").read_text()
    assert Path("project/.gitlab-ci.yml").read_text() == workflow("gitlab")


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    status, _, err = atlas("init", tmp_path, "--preset", "pd12m")
    line = f"atlas: {tmp_path / 'README.md'} is there already, so nothing was written"
    assert (status, err) == (1, [line])
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "atlas: init takes one of --preset ("),
        (["--preset", "x"], "atlas: no preset x; the presets are from_scratch, "),
        (["--pictures", "nowhere"], "atlas: no pictures at nowhere; name where they are with"),
        (["--bundle", "nowhere"], "atlas: no bundle at nowhere: it holds no manifest.json"),
    ],
)
def test_what_is_missing_is_said_in_a_line(given, said, tmp_path):
    status, _, err = atlas("init", tmp_path / "project", *given)
    assert (status, len(err)) == (1, 1)
    assert err[0].startswith(said)
    assert not (tmp_path / "project").exists()


def test_a_setting_is_put_where_it_belongs():
    text = 'out_dir = "a" # here\n\n[site]\nhost = "x"\n[[downloads]]\nhost = "y"\n'
    assert with_setting(text, "site", "host", "z").count('host = "z"') == 1
    assert 'host = "y"' in with_setting(text, "site", "host", "z")
    assert with_setting(text, "", "out_dir", "b").startswith('out_dir = "b"\n')
    assert with_setting(text, "catalog", "title", "t").endswith('[catalog]\ntitle = "t"\n')


def test_the_small_demo_is_drawn_once_and_says_what_it_is(tmp_path):
    path = write_demo(tmp_path / "demo")
    config = load_config(path)
    assert config.catalog.title == "A small demo: shapes"
    assert "No figure here is a finding" in config.catalog.note
    pictures = sorted((tmp_path / "demo" / "pictures").glob("*.png"))
    assert len(pictures) == len(COLORS) * len(SHAPES) * 3 * 3
    assert pictures[0].with_suffix(".txt").read_text() == "red circle"
    path.write_text(path.read_text().replace("A small demo", "Mine"))
    before = pictures[0].stat().st_mtime_ns
    assert load_config(write_demo(tmp_path / "demo")).catalog.title == "Mine: shapes"
    assert pictures[0].stat().st_mtime_ns == before


def test_a_demo_is_restored_from_a_bundle(planted_atlas, tmp_path):
    bundle = tmp_path / "atlas.zip"
    assert atlas("bundle", "--atlas", planted_atlas, "--out", bundle)[0] == 0
    status, out, err = atlas("demo", "--from", bundle, "--out", tmp_path / "demo")
    assert (status, out[0]) == (0, f"built site in {tmp_path / 'demo'}"), err
    away = "http://127.0.0.1:9/nowhere"
    status, _, err = atlas("demo", "--from", away, "--out", tmp_path / "none")
    assert (status, len(err)) == (1, 1)
    assert err[0].startswith(f"atlas: cannot fetch {away}/manifest.json (")
