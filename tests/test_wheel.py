"""What a user installs: the package, its templates, and nothing else."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

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


def test_the_wheel_is_typed(wheel):
    assert "atlas/py.typed" in ZipFile(wheel).namelist()


def test_build_never_becomes_a_package():
    assert not list((ROOT / "build").glob("*.py"))
