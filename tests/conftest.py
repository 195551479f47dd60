"""Settings of all tests."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import settings
from site_fixture import build_drawn, build_grouped, build_planted

# No deadline: the first example of a test may import torch, and cores are shared.
settings.register_profile("atlas", deadline=None, derandomize=True)
settings.load_profile("atlas")


SLOWEST = (
    *("test_killed_builds.py", "test_browser.py", "test_sheets_2x.py", "test_pipeline.py"),
    *("test_rebuild.py", "test_renderers.py", "test_icons.py", "test_engines.py", "test_names.py"),
)
"""Test files that take longest. They start first, so that no worker ends alone with one of them."""


def pytest_collection_modifyitems(items):
    """Order test files by how long they take; the order within a file stays."""
    place = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(SLOWEST)))


@pytest.fixture(scope="session")
def planted_atlas(tmp_path_factory):
    """A planted atlas with its site; tests read it and never write."""
    return build_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def db(planted_atlas):
    """The planted atlas's database, to read."""
    with duckdb.connect(str(planted_atlas / "catalog" / "atlas.duckdb"), read_only=True) as db:
        yield db


@pytest.fixture(scope="session")
def drawn_atlas(tmp_path_factory):
    """The folder of a planted atlas with icons and knobs, its build beside its inputs."""
    folder = tmp_path_factory.mktemp("drawn")
    build_drawn(folder)
    return folder


@pytest.fixture(scope="session")
def grouped_site(planted_atlas, tmp_path_factory):
    """The planted atlas's site in groups, with joined pictures; tests never write to it."""
    return build_grouped(planted_atlas, tmp_path_factory.mktemp("grouped"))
