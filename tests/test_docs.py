"""The documentation says what the code does: generated tables, stages, presets, links, layout."""

import os
import re
import subprocess
import sys

import pytest

from atlas.pipeline import STAGES
from docs import GENERATED, ROOT, rewritten

PAGES = [ROOT / "README.md", ROOT / "build" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", GENERATED)
def test_generated_tables_are_current(page):
    assert (ROOT / page).read_text(encoding="utf-8") == rewritten(page), "run: make docs"


def test_every_stage_is_documented_in_order():
    text = (ROOT / "docs" / "builds.md").read_text(encoding="utf-8")
    table = text[text.index("| stage | reads | writes |") :].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE) == [s.name for s in STAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_file_that_the_layout_names_exists():
    layout = (ROOT / "docs" / "layout.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`", layout):
        assert (ROOT / name).exists() or (ROOT / "atlas" / name).exists(), name


def test_the_documentation_builds_as_a_site_and_asks_nothing_of_others(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    pages = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.html")}
    assert {"index.html", "api.html", "contract.html", "settings.html"} <= pages.keys()
    assert 'id="atlas.lookup.atlas.Atlas.decompose"' in pages["api.html"]
    for name, text in pages.items():
        asked = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', text)
        assert [address for address in asked if "canonical" not in address] == [], name


def test_the_readme_stays_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
