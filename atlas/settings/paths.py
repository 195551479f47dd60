"""Where an atlas keeps its files."""

from __future__ import annotations

from pathlib import Path

from atlas.base.errors import MissingError

DATABASE = "atlas.duckdb"
IMPORTED = "imported"
"""Folder in an atlas for names that `atlas names --from` imported; no build deletes it."""
FETCHED = "fetched"
"""Folder in an atlas for what was downloaded: checkpoints, thumbnails. No build deletes it."""
FETCHED_THUMBNAILS = "thumbnails-"
"""Start of the names of thumbnails in it; 12 letters of the embed stage's digest follow."""
TAKEN_DOWN = "takedown.json"
"""File of the catalog with the hashes of what was taken down."""
SUSPECTED = "suspected.parquet"
"""File of the catalog with the images near to sensitive phrases."""
REVIEW = "review"
"""Folder in an atlas for the page of `atlas review`; never a part of the site."""
BUNDLED = "bundled"
"""Folder in an atlas for inputs that came with the bundle it was restored from."""
CARRIED = ("vocabulary", "figures", "takedown", "review")
"""Inputs from outside that catalog and site read, so that a bundle carries them."""
PACKAGE = Path(__file__).parents[1]


def database_path(atlas_dir: Path) -> Path:
    """Return the DuckDB file of the catalog."""
    return atlas_dir / "catalog" / DATABASE


def site_dir(atlas_dir: Path) -> Path:
    """Return the folder of the static site."""
    return atlas_dir / "site"


def require_atlas(atlas_dir: Path) -> Path:
    """Return the folder, if it holds a catalog.

    Raises:
        MissingError: It does not.
    """
    if not database_path(atlas_dir).exists():
        raise MissingError(f"no atlas at {atlas_dir}; build one with: atlas build CONFIG")
    return atlas_dir


def template_root() -> Path:
    """Return the folder of the site's templates: in the package of a wheel, else in the checkout.

    Raises:
        MissingError: The installation lacks it.
    """
    for folder in (PACKAGE / "_templates", PACKAGE.parent / "templates"):
        if (folder / "base.html.jinja").exists():
            return folder
    raise MissingError("the templates are missing; install again: pip install feature-atlas")


def data_root(name: str) -> Path:
    """Return a folder of data that comes along, presets, words or neutral: in the package, else in the checkout.

    Raises:
        MissingError: The installation lacks it.
    """
    for folder in (PACKAGE / f"_{name}", PACKAGE.parent / "data" / name):
        if folder.is_dir():
            return folder
    raise MissingError(f"the {name} are missing; install again: pip install feature-atlas")


def demo_root() -> Path:
    """Return the folder of the demo's encoder, vocabulary and decoder: in the package, else in the checkout.

    Raises:
        MissingError: The installation lacks it.
    """
    for folder in (PACKAGE / "_demo", PACKAGE.parent / "data" / "demo"):
        if (folder / "encoder" / "encoder.json").exists():
            return folder
    raise MissingError(
        "the demo's encoder is missing; install again: pip install feature-atlas, or name another with --encoder"
    )
