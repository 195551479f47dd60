"""Imports point one way: a room uses only rooms of the floors below its own, and stages never import each other."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from rooms import FLOORS

from atlas.pipeline import STAGES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "atlas"
HOMES = {
    "diffusers": {"icons.renderers.pipelines", "icons.renderers.stable_cascade"},
    "duckdb": {"catalog", "lookup", "site"},
    "faiss": {"study.image_index"},
    "fsspec": {"lookup.ranges"},
    "jinja2": {"site.render"},
    "llvmlite": {"base.loops"},
    "numba": {"base.loops"},
    "matplotlib": {"plots"},
    "open_clip": {"inputs.encoder", "inputs.text_tower"},
    "threadpoolctl": {"base.threads"},
    "timm": {"inputs.encoder"},
    "sklearn": {"study.map"},
    "torch": {
        "icons.decoder",
        "icons.renderers",
        "icons.template",
        "inputs.encoder",
        "inputs.text_tower",
        "prepare.machine",
        "run.workers",
        "sae",
        "scan",
        "study.exact_search",
        "training",
    },
    "torchvision": {"inputs.encoder"},
    "transformers": {"icons.renderers.pipelines"},
    "triton": {"sae.kernels"},
    "umap": {"study.map"},
}
"""The rooms or modules that may import a heavy library, at the top or later."""
ASKS_WHAT_IS_INSTALLED = "prepare.doctor"
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
STAGE_MODULES = {f"{stage.room}.{stage.name}" for stage in STAGES}


def name_of(path):
    """The name of a module below the package: a room's __init__ is the room."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(source):
    """Every name that a source imports, anywhere in it, as lists of its parts."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = ("atlas." if node.level else "") + (node.module or "")
            names += [f"{base.rstrip('.')}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name.split(".") for name in names]


def ours(source):
    """The modules of this package that a source imports."""
    for first, *rest in imported(source):
        while first == "atlas" and rest and ".".join(rest) not in MODULES:
            rest = rest[:-1]
        if first == "atlas":
            yield ".".join(rest) or "__init__"


def room_of(module):
    return module.split(".")[0]


@pytest.mark.parametrize(
    "source",
    [
        "import atlas.scan",
        "from atlas import scan",
        "from atlas.scan import run",
        "from . import scan",
        "def later():\n    from .scan import run",
    ],
)
def test_the_reader_sees_every_form_of_import(source):
    assert [name[:2] for name in imported(source)] == [["atlas", "scan"]]


def test_every_room_has_a_floor():
    assert {room_of(name) for name in MODULES} == set(FLOOR)


@pytest.mark.parametrize("name", MODULES)
def test_rooms_import_only_rooms_below_them(name):
    room = room_of(name)
    wrong = {
        other
        for other in ours(MODULES[name].read_text())
        if room_of(other) != room and FLOOR[room_of(other)] >= FLOOR[room]
    }
    assert not wrong, f"{name} may not import {sorted(wrong)}"


def test_no_room_has_a_circle_of_imports():
    graph = {name: set(ours(path.read_text())) - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(STAGE_MODULES))
def test_stages_never_import_each_other(name):
    others = (STAGE_MODULES - {name}) & set(ours(MODULES[name].read_text()))
    assert not others, f"stage {name} may not import {sorted(others)}"


@pytest.mark.parametrize("name", MODULES)
def test_heavy_libraries_stay_home(name):
    if room_of(name) == "demo" or name == ASKS_WHAT_IS_INSTALLED:
        return
    away = {
        parts[0]
        for parts in imported(MODULES[name].read_text())
        if parts[0] in HOMES
        and not any(f"{name}.".startswith(f"{home}.") for home in HOMES[parts[0]])
    }
    assert not away, f"{name} may not import {sorted(away)}"
