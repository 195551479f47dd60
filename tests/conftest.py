"""Settings of all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock
from hypothesis import settings
from site_fixture import build_drawn, build_grouped, build_planted

# No deadline: the first example of a test may import torch, and cores are shared.
settings.register_profile("atlas", deadline=None, derandomize=True)
settings.load_profile("atlas")
# Some tests build in a forked child, which GNU's OpenMP ends if the parent has used it.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")


SLOWEST = (
    *("test_killed_builds.py", "test_browser.py", "test_sheets_2x.py", "test_pipeline.py"),
    *("test_rebuild.py", "test_renderers.py", "test_icons.py", "test_engines.py", "test_names.py"),
)
"""Test files that take longest. They start first, so that no worker ends alone with one of them."""


def pytest_collection_modifyitems(items):
    """Order test files by how long they take; the order within a file stays."""
    place = {name: number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(SLOWEST)))


@pytest.fixture(autouse=True)
def threads_of_torch():
    """Give torch one thread again: idle ones of a test that wanted more would spin beside others."""
    yield
    torch = sys.modules.get("torch")
    if (
        torch is not None
        and torch.get_num_threads() != 1
        and os.environ.get("OMP_NUM_THREADS") == "1"
    ):
        torch.set_num_threads(1)


def built_once(tmp_path_factory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a folder that is built once in a test run, by the first worker that asks for it."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder, done = place / name, place / f"{name}.done"
    with FileLock(place / f"{name}.lock"):
        if not done.exists():
            folder.mkdir()
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def planted_atlas(tmp_path_factory):
    """A planted atlas with its site; tests read it and never write."""
    return built_once(tmp_path_factory, "planted", build_planted) / "build"


@pytest.fixture(scope="module")
def db(planted_atlas):
    """The planted atlas's database, to read."""
    with duckdb.connect(str(planted_atlas / "catalog" / "atlas.duckdb"), read_only=True) as db:
        yield db


@pytest.fixture(scope="session")
def drawn_atlas(tmp_path_factory):
    """The folder of a planted atlas with icons and knobs, its build beside its inputs."""
    return built_once(tmp_path_factory, "drawn", build_drawn)


@pytest.fixture(scope="session")
def grouped_site(planted_atlas, tmp_path_factory):
    """The planted atlas's site in groups, with joined pictures; tests never write to it."""
    folder = built_once(
        tmp_path_factory, "grouped", lambda folder: build_grouped(planted_atlas, folder)
    )
    return folder / "build" / "site"
