"""What continuous integration runs is one command, and the workflows that run it are safe and current."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from building import atlas

from atlas.publish.workflows import OF_THIS_REPOSITORY, PLACES, workflow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packed(planted_atlas, tmp_path_factory) -> Path:
    """The planted atlas's bundle in one file."""
    out = tmp_path_factory.mktemp("packed") / "bundle.zip"
    assert atlas("bundle", "--atlas", planted_atlas, "--out", out)[0] == 0
    return out


@pytest.fixture(scope="module")
def project(packed, planted_atlas, tmp_path_factory) -> Path:
    """A repository with a configuration and a bundle, and what the first test builds of them."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(packed, folder)
    text = (planted_atlas.parent / "atlas.toml").read_text()
    text = text.replace('title = "SYNTHETIC planted atlas"', 'title = "Another"')
    publish = f'\n[publish]\nbundle = "bundle.zip"\nlast = "{planted_atlas / "site"}"\n'
    (folder / "atlas.toml").write_text(text + publish)
    return folder


def test_one_command_restores_builds_checks_compares_and_sums_up(project, tmp_path):
    site, summary, page = (tmp_path / name for name in ("_site", "summary.md", "diff.html"))
    summary.write_text("before\n")
    status, out, err = atlas(
        *("ci", project / "atlas.toml", "--site", site, "--summary", summary, "--diff", page),
    )
    assert status == 0, err
    assert out[0] == "built: catalog, site"
    assert out[1].startswith("site: ")
    assert out[2] == "0 of 96 features changed"
    assert "Another" in (site / "index.html").read_text()
    assert (site / "404.html").is_file()
    assert not (site / "receipt.json").exists()
    assert page.is_file()
    text = summary.read_text()
    assert text.startswith("before\n## Another\n")
    assert "| alive | 87 |" in text


def test_a_site_is_replaced_as_a_whole(project, tmp_path):
    site = tmp_path / "_site"
    site.mkdir()
    (site / "old.html").touch()
    assert atlas("ci", project / "atlas.toml", "--site", site)[0] == 0
    assert not (site / "old.html").exists()
    assert (site / "index.html").is_file()


def test_texts_have_compressed_copies_where_these_are_smaller(project, tmp_path):
    site = tmp_path / "_site"
    assert atlas("ci", project / "atlas.toml", "--site", site, "--gzip")[0] == 0
    packed = {path.with_suffix("") for path in site.rglob("*.gz")}
    assert site / "index.html" in packed
    for path in packed:
        assert gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes()) == path.read_bytes()
    assert {path.suffix for path in packed} <= {".html", ".css", ".js", ".json", ".svg", ".txt"}


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("publish.page_kb=1", " kB of 1 (publish.page_kb); show less on it, or raise the budget"),
        ("publish.site_mb=0.1", " MB of 0.1 (publish.site_mb); set site.pictures = sheets or"),
    ],
)
def test_a_site_over_its_budget_is_not_published(project, tmp_path, budget, said):
    status, _, err = atlas(
        "ci", project / "atlas.toml", "--site", tmp_path / "_site", "--set", budget
    )
    assert status == 1
    assert said in err[-1]
    assert not (tmp_path / "_site").exists()


def test_a_stage_that_only_others_can_build_is_refused(project):
    status, _, err = atlas("ci", project / "atlas.toml", "--set", "scan.top_images=3")
    assert status == 1
    assert err[-1].startswith("atlas: scan is stale (settings.top_images changed from ")


def test_nothing_published_before_is_no_error(project):
    away = ("--set", 'publish.last="nowhere"')
    status, out, _ = atlas("ci", project / "atlas.toml", *away)
    assert (status, out[-1]) == (0, "nothing to compare with")


def test_the_workflow_of_this_repository_is_its_template_filled():
    text = (ROOT / PLACES["github"]).read_text()
    assert text == workflow("github", OF_THIS_REPOSITORY), "run: make workflow"


@pytest.mark.parametrize("of", sorted(PLACES))
def test_no_word_of_a_template_is_left(of):
    assert "@@" not in workflow(of)


def test_the_workflows_are_safe_by_zizmor(tmp_path):
    """Pinned actions, least permissions, no credentials kept, no text of strangers in a script."""
    places = (tmp_path / "of a project", tmp_path / "of this repository")
    for place, text in zip(
        places, (workflow("github"), workflow("github", OF_THIS_REPOSITORY)), strict=True
    ):
        path = place / PLACES["github"]
        path.parent.mkdir(parents=True)
        path.write_text(text)
    command = [str(Path(sys.executable).with_name("zizmor")), "--offline", "--persona", "pedantic"]
    done = subprocess.run(
        [*command, *places], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
    assert "No findings to report" in done.stdout + done.stderr
