"""A missing optional package is one line that names the extra; any other import error is a bug."""

import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from atlas.base.errors import MissingError
from atlas.base.extras import EXTRA_OF, explain_missing_package

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(("extras", "named"), [("", "map"), ("embed,concepts", "embed,concepts")])
def test_a_missing_package_is_one_line_with_its_extra(extras, named):
    with (
        pytest.raises(MissingError) as raised,
        explain_missing_package("the map", extras),
    ):
        raise ModuleNotFoundError("No module named 'umap.umap_'", name="umap.umap_")
    assert str(raised.value) == (
        f"the map needs umap, which is not installed: pip install 'feature-atlas[{named}]'"
    )


def test_a_package_that_no_extra_installs_is_reported_as_a_bug():
    with pytest.raises(ModuleNotFoundError), explain_missing_package("this"):
        import_module("no_such_package")


def test_every_extra_that_is_named_exists():
    assert set(EXTRA_OF.values()) <= set(PROJECT["optional-dependencies"])
