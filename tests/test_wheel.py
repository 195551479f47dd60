"""What a user installs: the package, its templates, what builds atlases of one's own pictures, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", out, ROOT]
    # Elsewhere than the checkout, whose build/ folder would hide the packaging tool of that name.
    subprocess.run(command, cwd=out, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_every_template_and_no_tests(wheel):
    names = set(ZipFile(wheel).namelist())
    for template in (ROOT / "templates").rglob("*"):
        if template.is_file():
            assert f"atlas/_templates/{template.relative_to(ROOT / 'templates')}" in names
    tops = {name.split("/")[0].split("-")[0] for name in names}
    assert tops == {"atlas", "feature_atlas"}


def test_the_wheel_holds_presets_workflows_and_words_but_not_what_made_the_demo(wheel):
    names = set(ZipFile(wheel).namelist())
    for path in sorted((ROOT / "data" / "presets").glob("*.toml")):
        assert f"atlas/_presets/{path.name}" in names
    assert {"atlas/_words/wordnet.txt", "atlas/_neutral/sphere.png"} <= names
    assert {f"atlas/publish/project/{of}.yml" for of in ("github", "gitlab")} <= names
    assert not [name for name in names if name.startswith("atlas/demo/")]


def test_the_wheel_is_typed(wheel):
    assert "atlas/py.typed" in ZipFile(wheel).namelist()


def test_an_installed_wheel_builds_an_atlas_of_ones_own_pictures_from_any_folder(wheel, tmp_path):
    installed, photos, away = (tmp_path / name for name in ("installed", "photos", "away"))
    ZipFile(wheel).extractall(installed)
    photos.mkdir()
    away.mkdir()
    for number in range(12):
        levels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(levels).save(photos / f"{number}.png")
        (photos / f"{number}.txt").write_text("a picture of noise")
    command = [sys.executable, "-m", "atlas", "build", "--pictures", photos, "--out", "of photos"]
    quick = ["--set", "embed.crops=1", "--set", "train.steps=5", "--set", "train.warmup_steps=1"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [*command, *quick, "names"],
        cwd=away,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "encoder: an ImageNet network, for photographs" in done.stderr
    index = json.loads((away / "of photos" / "embed" / "embeddings.json").read_text())
    assert (index["rows"], index["width"], index["crops"][0]["rows"]) == (12, 1280, 12)
    trained = json.loads((away / "of photos" / "train" / "sae.json").read_text())["provenance"]
    assert trained["images"] == 11 * 2, "one of twelve is held out, with its crops"
    assert trained["ground"] == "#ffffff"
    assert done.stdout.startswith("built embed, train, scan, neighbors, names in of photos")


def test_the_wheel_stays_small_enough_to_install_for_a_look_up(wheel):
    assert wheel.stat().st_size < 33e6


def test_build_never_becomes_a_package():
    assert not list((ROOT / "build").glob("*.py"))
