"""The files from outside an atlas that a configuration names."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.base.errors import ConfigError
from atlas.base.text import in_order
from atlas.settings.paths import (
    BUNDLED,
    CARRIED,
    FETCHED,
    FETCHED_THUMBNAILS,
    IMPORTED,
    template_root,
)

if TYPE_CHECKING:  # pydantic takes a third of a look-up's time
    from atlas.settings.load import Config

OWN_FACTS = "sae.json"
"""A folder with this file is an SAE in our own format."""
COMPARED = ("catalog", "embed", "families", "icons", "scan")
"""Stages of another atlas that a comparison reads."""
Files = dict[str, tuple[Path, tuple[Path, ...]]]
"""Name of an outside input -> where it is, and its files sorted."""


def outside_files(config: Config) -> Files:
    """Return every input from outside the atlas that the configuration names."""
    embed = config.embed
    globs = {
        "vectors": embed.vectors,
        "second_vectors": config.families.second_vectors,
        "replicates": config.families.replicates,
    }
    paths = {
        "images": embed.images,
        "pictures": embed.pictures,
        "compositions": embed.compositions,
        "encoder": embed.encoder,
        "checkpoint" if needs_conversion(config) else "sae": sae_path(config),
        "input_mean": config.sae.input_mean,
        "decoder": config.icons.decoder,
        "template": config.icons.template,
        "second_encoder": config.icons.second_encoder,
        "vocabulary": config.catalog.vocabulary,
        "takedown": config.catalog.takedown,
        "review": config.catalog.review,
        "text_encoder": embed.encoder if config.catalog.sensitive_phrases else None,
        "templates": template_root(),
    }
    found = {
        name: (Path(text).parent, _matches(text))
        for name, text in globs.items()
        if text is not None
    }
    found |= {name: (path, files_of(path)) for name, path in paths.items() if path is not None}
    found |= _lists_of_files(config)
    return found | {name: _bundled(config, name, *found[name]) for name in CARRIED if name in found}


def _bundled(
    config: Config, name: str, path: Path, files: tuple[Path, ...]
) -> tuple[Path, tuple[Path, ...]]:
    """Return an input, or what a bundle brought of it where it is not at its place."""
    folder = config.out_dir / BUNDLED / name
    if files or not folder.is_dir():
        return path, files
    if name in ("takedown", "review"):  # files
        return folder / path.name, files_of(folder)
    if name != "figures":
        return folder, files_of(folder)
    brought = [folder / one.name for one in config.catalog.figures]
    return folder, tuple(one for one in brought if one.exists())


def _lists_of_files(config: Config) -> Files:
    """Return the inputs that are several files, each named or found by itself."""
    found: Files = {}
    imported, other, figures = config.names.imported, config.compare.other, config.catalog.figures
    if imported:
        place = Path(os.path.commonpath([path.parent for path in imported]))
        found["imported"] = (place, imported if any(path.exists() for path in imported) else ())
    if other is not None:
        found["other"] = (other, _receipts(other))
    kept = tuple(sorted((config.out_dir / IMPORTED).glob("*.jsonl")))
    if kept:
        found["kept_names"] = (config.out_dir / IMPORTED, kept)
    fetched = tuple(sorted((config.out_dir / FETCHED).glob(f"{FETCHED_THUMBNAILS}*.parquet")))
    if fetched:
        found["fetched"] = (config.out_dir / FETCHED, fetched)
    if figures:
        found["figures"] = (figures[0].parent, tuple(path for path in figures if path.exists()))
    return found


def _receipts(atlas_dir: Path) -> tuple[Path, ...]:
    """Return the receipts that stand for another atlas; none before its catalog is built.

    A receipt holds the digests of all outputs of its stage, so nothing else need be read.
    """
    found = tuple(atlas_dir / stage / "receipt.json" for stage in COMPARED)
    return tuple(path for path in found if path.exists()) if found[0].exists() else ()


def files_of(path: Path) -> tuple[Path, ...]:
    """Return a file, the files below a folder without hidden ones, or the matches of a glob."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return in_order(file for file in files if not _is_hidden(file.relative_to(path)))
    return (path,) if path.exists() else _matches(str(path))


def _matches(pattern: str) -> tuple[Path, ...]:
    """Return what a glob matches; folders that are there are taken as they are called."""
    known = next((folder for folder in Path(pattern).parents if folder.is_dir()), None)
    if known is not None:
        pattern = str(Path(glob.escape(str(known))) / Path(pattern).relative_to(known))
    return in_order(Path(path) for path in glob.glob(pattern))  # noqa: PTH207 - an absolute pattern


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def sae_path(config: Config) -> Path | None:
    """Return where the checkpoint of the SAE is, or will be once downloaded; None to train one.

    Raises:
        ConfigError: More than one location is set, or sae.url without sae.sha256.
    """
    sae = config.sae
    named = [name for name in ("path", "repo", "url") if getattr(sae, name) is not None]
    if len(named) > 1:
        raise ConfigError(f"sae.{named[0]} and sae.{named[1]} are both set; set one of them")
    if sae.repo is not None:
        return _hub_snapshot(sae.repo, sae.revision)
    if sae.url is None:
        return sae.path
    if sae.sha256 is None or not sae.url.startswith("https://"):
        raise ConfigError("sae.url must begin with https:// and requires sae.sha256; set both")
    return config.out_dir / FETCHED / sae.sha256[:12] / sae.url.rsplit("/", 1)[-1].split("?")[0]


def needs_conversion(config: Config) -> bool:
    """Return whether the configuration names an SAE that is not in our own format."""
    path = sae_path(config)
    if path is None or (path / OWN_FACTS).is_file():
        return False
    # A checkpoint to be downloaded counts, and one that was converted before it was taken away; a
    # missing sae.path does not: the build reports it.
    converted = config.out_dir / "convert" / "receipt.json"
    return config.sae.path is None or path.exists() or converted.exists()


def sae_dir(config: Config) -> Path:
    """Return the folder from which a build reads its SAE, in our own format."""
    path = sae_path(config)
    if path is None:
        return config.out_dir / "train"
    return config.out_dir / "convert" if needs_conversion(config) else path


def hub_cache() -> Path:
    """Return the folder in which the Hugging Face Hub's files are cached on this machine."""
    folder = os.environ.get("HF_HUB_CACHE")
    if folder:
        return Path(folder).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("HF_HOME", f"{cache}/huggingface")).expanduser() / "hub"


def _hub_snapshot(repo: str, revision: str) -> Path:
    """Return the folder of a repository in the Hub's cache.

    Its layout is documented, so no huggingface_hub is needed:
    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    home = hub_cache() / f"models--{repo.replace('/', '--')}"
    reference = home / "refs" / revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    return home / "snapshots" / commit


def drawing_inputs(config: Config) -> dict[str, Path]:
    """Return where SAE, encoder, decoder and template are, without those that are not set."""
    named = {
        "sae": sae_dir(config),
        "encoder": config.embed.encoder,
        "decoder": config.icons.decoder,
        "template": config.icons.template,
    }
    return {name: path for name, path in named.items() if path is not None}
