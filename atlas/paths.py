"""Where things are: the folders of an atlas, and the files it is made from."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.errors import MissingError

if TYPE_CHECKING:  # pydantic takes a third of a look-up's time
    from atlas.config import Config

DATABASE = "atlas.duckdb"
IMPORTED = "imported"
"""Folder of an atlas in which `atlas names --from` keeps names; no build deletes it."""
PACKAGE = Path(__file__).parent


def database_path(atlas_dir: Path) -> Path:
    """Return the catalog's DuckDB file."""
    return atlas_dir / "catalog" / DATABASE


def parquet_path(atlas_dir: Path, table: str) -> Path:
    """Return the Parquet file of one catalog table."""
    return atlas_dir / "catalog" / "parquet" / f"{table}.parquet"


def site_dir(atlas_dir: Path) -> Path:
    """Return the folder of the static site."""
    return atlas_dir / "site"


def require_atlas(atlas_dir: Path) -> Path:
    """Return the atlas folder if it holds a catalog.

    Raises:
        MissingError: It does not.
    """
    if not database_path(atlas_dir).exists():
        raise MissingError(f"no atlas at {atlas_dir}; build one with: atlas build CONFIG")
    return atlas_dir


def template_root() -> Path:
    """Return the folder of the templates: in the wheel inside the package, else beside it.

    Raises:
        MissingError: The installation lacks it.
    """
    for folder in (PACKAGE / "_templates", PACKAGE.parent / "templates"):
        if (folder / "base.html.jinja").exists():
            return folder
    raise MissingError("the templates are missing; install again: pip install feature-atlas")


def outside_files(config: Config) -> dict[str, tuple[Path, tuple[Path, ...]]]:
    """Return what the configuration reads from outside: name -> (path, files, sorted)."""
    found: dict[str, tuple[Path, tuple[Path, ...]]] = {}
    embed = config.embed
    globs = {"vectors": embed.vectors, "second_vectors": config.families.second_vectors}
    for name, pattern in globs.items():
        if pattern is not None:
            matches = tuple(Path(path) for path in sorted(glob.glob(pattern)))  # noqa: PTH207 - an absolute pattern
            found[name] = (Path(pattern).parent, matches)
    named = {
        "images": embed.images,
        "pictures": embed.pictures,
        "compositions": embed.compositions,
        "encoder": embed.encoder,
        "sae": config.sae.path,
        "decoder": config.icons.decoder,
        "template": config.icons.template,
        "second_encoder": config.icons.second_encoder,
        "vocabulary": config.catalog.vocabulary,
        "templates": template_root(),
    }
    found |= {name: (path, _below(path)) for name, path in named.items() if path is not None}
    if config.names.imported:
        base = Path(os.path.commonpath([path.parent for path in config.names.imported]))
        found["imported"] = (base, config.names.imported)
    kept = tuple(sorted((config.out_dir / IMPORTED).glob("*.jsonl")))
    if kept:
        found["kept_names"] = (config.out_dir / IMPORTED, kept)
    if config.catalog.figures:
        figures = config.catalog.figures
        found["figures"] = (
            figures[0].parent,
            tuple(path for path in figures if path.exists()),
        )
    return found


def drawing_inputs(config: Config) -> dict[str, Path]:
    """Return where SAE, encoder, decoder and template of an atlas are; without those it lacks."""
    named = {
        "sae": config.sae.path or config.out_dir / "train",
        "encoder": config.embed.encoder,
        "decoder": config.icons.decoder,
        "template": config.icons.template,
    }
    return {name: path for name, path in named.items() if path is not None}


def _below(path: Path) -> tuple[Path, ...]:
    if path.is_dir():
        return tuple(sorted(file for file in path.rglob("*") if file.is_file()))
    return (path,) if path.exists() else ()
