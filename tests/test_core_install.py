"""The wheel alone, with only what the core needs: look-ups, a title change, a site, its check."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import plant

from atlas.command.app import run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
EXTRAS = ("torch", "numba", "faiss", "umap", "sklearn", "open_clip", "diffusers")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The `atlas` command of a fresh environment that holds the wheel and its dependencies."""
    place = tmp_path_factory.mktemp("core")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", place, ROOT]
    subprocess.run(build, cwd=place, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    python = place / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    subprocess.run(pip, cwd=place, check=True, capture_output=True)
    shutil.rmtree(place / "build", ignore_errors=True)
    return place / "venv" / "bin" / "atlas"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished planted atlas, outside the checkout and moved after its build."""
    built, moved = (tmp_path_factory.mktemp(name) / "atlas" for name in ("built", "moved"))
    plant(built)
    assert run(["build", str(built / "atlas.toml")]) == 0
    shutil.move(built, moved)
    return moved


@pytest.fixture
def ask(installed, finished):
    """Run the installed command in the folder of the atlas; return (exit status, stdout, stderr)."""

    def run_installed(*arguments):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [installed, *map(str, arguments)],
            cwd=finished,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run_installed


def test_nothing_heavy_is_installed(installed):
    code = f"from importlib.util import find_spec; print([n for n in {EXTRAS} if find_spec(n)])"
    python = installed.with_name("python")
    done = subprocess.run([python, "-c", code], cwd="/", check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_look_ups_answer(ask):
    for question in (("feature", 4), ("search", "shape"), ("neighbors", 4), ("report",)):
        status, out, err = ask(*question, "--atlas", "build")
        assert (status, err) == (0, ""), question
        assert out
    status, out, _ = ask("sql", "SELECT count(*) AS n FROM features", "--atlas", "build", "--json")
    assert (status, json.loads(out)) == (0, [{"n": 96}])


def test_a_finished_atlas_is_current(ask):
    status, out, err = ask("status", "atlas.toml")
    assert (status, err) == (0, "")
    assert {line.partition(": ")[2] for line in out.splitlines()} == {"current"}


def test_a_title_is_changed_and_the_site_is_checked(ask, finished):
    changed = ("--set", "catalog.title=Another title")
    status, out, err = ask("build", "atlas.toml", *changed)
    assert status == 0, err
    assert out.startswith("built catalog, site in build\n")
    assert "Another title" in (finished / "build" / "site" / "index.html").read_text()
    status, out, err = ask("check", "build/site")
    assert (status, err) == (0, "")
    assert ", all good; " in out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("build", "atlas.toml", "scan", "--set", "scan.top_images=3"),
            "scan needs torch, which is not installed: pip install 'feature-atlas[scan]'",
        ),
        (
            ("steer", "3", "--out", "edit.webp", "--atlas", "build"),
            "steer needs numba, which is not installed: "
            "pip install 'feature-atlas[embed,concepts,icons]'",
        ),
        (
            ("sweep", "atlas.toml", "--try", "train.k=4"),
            "train needs torch, which is not installed: pip install 'feature-atlas[scan]'",
        ),
    ],
)
def test_what_needs_more_names_the_extra_in_one_line(ask, command, said):
    status, _, err = ask(*command)
    assert status == 1
    assert err.splitlines()[-1] == f"atlas: {said}"


def test_a_project_is_begun_and_a_demo_names_what_it_needs(ask, finished):
    status, _, err = ask("init", "project", "--preset", "pd12m")
    assert (status, err) == (0, "")
    assert (finished / "project" / "words" / "wordnet.txt").is_file()
    status, _, err = ask("demo", "--out", "demo")
    assert status == 1
    assert err == (
        "atlas: a demo is made by models, and torch is not installed: pip install "
        "'feature-atlas[all]', or restore one: atlas demo --from BUNDLE\n"
    )
    assert not (finished / "demo").exists()


def test_directions_are_exported_without_any_extra(ask, finished):
    out = finished / "directions.npy"
    status, _, err = ask("export", "directions", "3", "--out", out, "--atlas", "build")
    assert (status, err) == (0, "")
    assert np.load(out).shape == (1, 32)


def test_doctor_lists_every_missing_package(ask):
    status, out, err = ask("doctor", "atlas.toml")
    assert (status, err) == (1, "")
    for package in ("torch", "faiss", "umap", "open_clip", "diffusers"):
        assert f"FAIL  {package}: not importable" in out
