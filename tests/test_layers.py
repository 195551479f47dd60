"""Imports point one way: each module may use only the rows above its own."""

import ast
from pathlib import Path

import pytest

RENDERERS = ("kandinsky22", "ip_adapter_sdxl", "stable_cascade", "stable_unclip")
CHECKPOINTS = (
    *("clipscope", "dictionary_learning", "msae", "overcomplete", "patchsae"),
    *("prisma", "saelens", "saev", "seed", "sparsify"),
)
PACKAGE = Path(__file__).parents[1] / "atlas"
LAYERS = [
    {"errors"},
    {"files", "hosts", "links", "records", "compiled", "progress"},
    {"config", "products"},
    {"paths", "workers", "image_table"},
    {"fetch"},
    {
        "embeddings",
        "vocabulary",
        "compositions",
        "picture_sets",
        "layout",
        "map",
        "clusters",
        "monosemanticity",
        "name_files",
    },
    {"loops", "kernels"},
    {"screens", "duplicates", "meanings"},
    {"stage", "activations", "sae", "clip", "roundtrip", "shuffle"},
    {"recipe"},
    {"steering", "grouping", "engines", "recurring", "naming", "renderers.drawing"},
    {"checkpoints.own", "checkpoints.tensors", "renderers.pipelines", "gather"},
    {"checkpoints.weights"},
    {f"renderers.{name}" for name in RENDERERS} | {f"checkpoints.{name}" for name in CHECKPOINTS},
    {"checkpoints", "renderers"},
    {"studio", "second_look"},
    {"knobs"},
    {"pages", "render", "search_index", "sheets", "lookalikes", "check"},
    {"family_pages", "compare_page", "rooms", "curves", "blocks", "output", "serve"},
    {
        "embed",
        "convert",
        "train",
        "scan",
        "neighbors",
        "families",
        "compare",
        "names",
        "icons",
        "where",
        "concepts",
        "catalog",
        "site",
    },
    {"lookup", "steer", "tune", "terminal"},
    {"coverage"},
    {"contact_sheets"},
    {"pipeline"},
    {"science", "sweep"},
    {"machine"},
    {"plan", "doctor", "begin"},
    {"demo"},
    {"cli"},
    {"__main__", "__init__"},
]
HOMES = {
    "diffusers": {"renderers.pipelines", "renderers.stable_cascade"},
    "duckdb": {"blocks", "catalog", "family_pages", "lookup", "site", "pages", "rooms"},
    "faiss": {"neighbors"},
    "jinja2": {"render"},
    "llvmlite": {"loops"},
    "numba": {"loops"},
    "open_clip": {"clip"},
    "timm": {"clip"},
    "sklearn": {"layout"},
    "torch": {
        "checkpoints.tensors",
        "clip",
        "kernels",
        "machine",
        "neighbors",
        "recipe",
        "renderers",
        "renderers.ip_adapter_sdxl",
        "renderers.pipelines",
        "sae",
        "scan",
        "screens",
        "shuffle",
        "train",
        "workers",
    },
    "torchvision": {"clip"},
    "transformers": {"renderers.pipelines"},
    "triton": {"kernels"},
    "umap": {"layout"},
}
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}
MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path):
    """The name by which LAYERS knows a file: demo and its steps are one."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] == "demo":
        return "demo"
    if parts[-1] == "__init__" and len(parts) > 1:
        parts = parts[:-1]
    return ".".join(parts)


def imported(source):
    modules = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            base = ("atlas." if node.level else "") + (node.module or "")
            modules += [f"{base.rstrip('.')}.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    return [module.split(".") for module in modules]


def ours(path):
    """Our own modules that a file imports, as LAYERS names them."""
    for name in imported(path.read_text()):
        if name[0] == "atlas" and name[1:]:
            longest = ".".join(name[1:3])
            yield longest if longest in RANK else name[1]


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


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_imports_point_up(path):
    name = place(path)
    assert name in RANK, f"place {path.name} in LAYERS"
    same = {name} if name == "demo" else set()
    wrong = {
        other
        for other in ours(path)
        if other in RANK and RANK[other] >= RANK[name] and other not in same
    }
    assert name == "__init__" or not wrong, f"{path.name} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", MODULES, ids=place)
def test_heavy_libraries_stay_home(path):
    name = place(path)
    if name in {"demo", "doctor"}:  # makes the demo's models; asks what is installed
        return
    away = {n[0] for n in imported(path.read_text()) if name not in HOMES.get(n[0], {name})}
    assert not away, f"{path.name} may not import {sorted(away)}"
