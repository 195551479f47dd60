"""Where things are: the folders of an atlas, and the files it is made from."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.base.errors import ConfigError, MissingError

if TYPE_CHECKING:  # pydantic takes a third of a look-up's time
    from atlas.settings.load import Config

DATABASE = "atlas.duckdb"
IMPORTED = "imported"
"""Folder of an atlas in which `atlas names --from` keeps names; no build deletes it."""
FETCHED = "fetched"
"""Folder of an atlas that files from an address are kept in; no build deletes it."""
OWN_FACTS = "sae.json"
"""File that says a folder is an SAE in our own format."""
PACKAGE = Path(__file__).parents[1]


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
        "checkpoint" if is_foreign(config) else "sae": sae_path(config),
        "input_mean": config.sae.input_mean,
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
    if config.compare.other is not None:
        found["other"] = (config.compare.other, _receipts(config.compare.other))
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


def _receipts(atlas_dir: Path) -> tuple[Path, ...]:
    """Return what stands for all that another atlas's stages wrote; none before its catalog is built."""
    stages = ("catalog", "embed", "families", "icons", "scan")
    found = tuple(atlas_dir / stage / "receipt.json" for stage in stages)
    return tuple(path for path in found if path.exists()) if found[0].exists() else ()


def sae_path(config: Config) -> Path | None:
    """Return where the SAE's checkpoint is, or will be once it is fetched; None to train one.

    Raises:
        ConfigError: More than one place is named, or an address without its digest.
    """
    told = config.sae
    named = [name for name in ("path", "repo", "url") if getattr(told, name) is not None]
    if len(named) > 1:
        raise ConfigError(f"sae.{named[0]} and sae.{named[1]} are both set; name one place")
    if told.repo is not None:
        return _hub_snapshot(told.repo, told.revision)
    if told.url is None:
        return told.path
    if told.sha256 is None or not told.url.startswith("https://"):
        raise ConfigError("sae.url must begin with https:// and goes with sae.sha256; set both")
    return config.out_dir / FETCHED / told.sha256[:12] / told.url.rsplit("/", 1)[-1].split("?")[0]


def is_foreign(config: Config) -> bool:
    """Return whether an SAE is named that is not in our own format, so that it is converted."""
    path = sae_path(config)
    if path is None or (path / OWN_FACTS).is_file():
        return False
    return config.sae.path is None or path.exists()


def sae_home(config: Config) -> Path:
    """Return the folder, in our own format, that a build reads its SAE from."""
    path = sae_path(config)
    if path is None:
        return config.out_dir / "train"
    return config.out_dir / "convert" if is_foreign(config) else path


def hub_cache() -> Path:
    """Return the folder in which the Hugging Face Hub's files are kept on this machine."""
    told = os.environ.get("HF_HUB_CACHE")
    if told:
        return Path(told).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("HF_HOME", f"{cache}/huggingface")).expanduser() / "hub"


def _hub_snapshot(repo: str, revision: str) -> Path:
    """Return a repository's folder in the Hub's cache, whose layout is documented."""
    home = hub_cache() / f"models--{repo.replace('/', '--')}"
    reference = home / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return home / "snapshots" / commit


def drawing_inputs(config: Config) -> dict[str, Path]:
    """Return where SAE, encoder, decoder and template of an atlas are; without those it lacks."""
    named = {
        "sae": sae_home(config),
        "encoder": config.embed.encoder,
        "decoder": config.icons.decoder,
        "template": config.icons.template,
    }
    return {name: path for name, path in named.items() if path is not None}


def _below(path: Path) -> tuple[Path, ...]:
    """Return a file, all files below a folder, or those that a glob names; hidden ones are left out."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return tuple(sorted(file for file in files if not _is_hidden(file.relative_to(path))))
    if path.exists():
        return (path,)
    return tuple(Path(name) for name in sorted(glob.glob(str(path))))  # noqa: PTH207 - an absolute pattern


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
