"""Bundle a finished atlas: what its catalog and site are built from, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import digest_file, draft, link_or_copy, list_files, write_json
from atlas.base.version import __version__
from atlas.lookup.bundles import BLOCK_BYTES
from atlas.lookup.manifest import MANIFEST, Manifest, Object, write_manifest
from atlas.pipeline import stages_of, status
from atlas.run.receipt import RECEIPT, read_receipt
from atlas.settings.load import Config, saved_config
from atlas.settings.outside import outside_files
from atlas.settings.paths import BUNDLED, CARRIED, FETCHED, IMPORTED, require_atlas
from atlas.settings.section import Section

READ = (".parquet", ".json", ".jsonl")
"""Suffixes of a stage's files that catalog and site read; its parts are not among them."""
THUMBNAILS = "parts/thumbnails-"
"""Start of the parts of embed that the site reads."""
ABSENT = "not-here"
"""Folder that the settings of a bundle name for inputs that stay where the atlas was built."""


def make_bundle(atlas_dir: Path, out: Path) -> Manifest:
    """Write a bundle, or bring one up to date: objects that are there are kept, old ones deleted.

    Args:
        atlas_dir: Folder of the atlas.
        out: Folder of the bundle; or a .zip, which is written anew with the folder's files.

    Raises:
        MissingError: There is no atlas in the folder, or no configuration of its last build.
        ConfigError: A stage is stale.
        InputError: A file is not what its receipt says.
    """
    config = saved_config(require_atlas(atlas_dir)).model_copy(update={"out_dir": atlas_dir})
    _require_current(config)
    if out.suffix != ".zip":
        return _write(config, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".bundle-") as folder:
        manifest = _write(config, Path(folder))
        with draft(out) as unfinished:
            _pack(Path(folder), unfinished)
    return manifest


def _write(config: Config, out: Path) -> Manifest:
    receipts = out / "receipts"
    files: dict[str, Object] = {}
    for name, path, digest in _files(config, receipts):
        found = Object(path.stat().st_size, digest or digest_file(path))
        _add(out, found, path)
        files[name] = found
    manifest = Manifest(
        f"feature-atlas {__version__}", _identity(config.out_dir), carried_settings(config), files
    )
    write_manifest(out / MANIFEST, manifest)
    _prune(out, {one.address for one in files.values()})
    return manifest


def _pack(folder: Path, path: Path) -> None:
    """Write a folder's files as a zip file; the same files give the same bytes."""
    with ZipFile(path, "w", ZIP_STORED) as packed:
        for file in list_files(folder):
            entry = ZipInfo(file.relative_to(folder).as_posix())
            with file.open("rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target, BLOCK_BYTES)


def _require_current(config: Config) -> None:
    for one in status(config):
        if one.reasons and one.stage != "site":
            raise ConfigError(
                f"{one.stage} is stale ({one.reasons[0]}), so there is nothing to bundle yet; "
                "build it first: atlas build CONFIG catalog"
            )


def _files(config: Config, receipts: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the path in an atlas, the file, and the digest that it must have ("" if unknown)."""
    root = config.out_dir
    for stage in stages_of(config):
        if stage.name != "site":
            yield from _stage_files(root / stage.name, receipts / f"{stage.name}.json")
    for name, (place, files) in outside_files(config).items():
        base = place if place.is_dir() else place.parent
        for path in files if name in CARRIED else ():
            yield f"{BUNDLED}/{name}/{path.relative_to(base).as_posix()}", path, ""
    for folder in (IMPORTED, FETCHED):
        for path in sorted((root / folder).glob("*")):
            if path.is_file():
                yield f"{folder}/{path.name}", path, ""


def _stage_files(folder: Path, copy: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield a stage's files that are carried, and last its receipt, which lists those that are not."""
    receipt = read_receipt(folder)
    assert receipt is not None, folder
    left_out = []
    for name, (_, digest) in receipt["files"].items():
        if _is_carried(folder.name, name) and name not in receipt.get("left_out", ()):
            yield f"{folder.name}/{name}", folder / name, digest
        else:
            left_out.append(name)
    write_json(copy, receipt | {"left_out": left_out})
    yield f"{folder.name}/{RECEIPT}", copy, ""


def _is_carried(stage: str, name: str) -> bool:
    if stage == "catalog":
        return True
    if name.startswith("parts/"):
        return stage == "embed" and name.startswith(THUMBNAILS)
    return name.endswith(READ)


def _add(out: Path, found: Object, path: Path) -> None:
    """Put a file among the objects, unless it is there; what is there is whole, as it was checked."""
    target = out / found.address
    if target.exists() and target.stat().st_size == found.size_bytes:
        return
    if digest_file(path) != found.sha256:
        raise InputError(f"{path} is damaged; build its stage again with --force, then bundle")
    link_or_copy(path, target)


def _prune(out: Path, addresses: set[str]) -> None:
    """Delete the objects of earlier bundles; the manifest no longer names them."""
    for path in list_files(out / "objects"):
        if path.relative_to(out).as_posix() not in addresses:
            path.unlink()
    for path in list_files(out / "receipts"):
        path.unlink()
    (out / "receipts").rmdir()


def _identity(atlas_dir: Path) -> str:
    from atlas.lookup.catalog import Catalog

    with Catalog(atlas_dir) as catalog:
        return catalog.id


def carried_settings(config: Config) -> dict[str, Any]:
    """Return the settings that a bundle carries: no place of this machine is among them."""
    found: dict[str, Any] = {}
    for name in type(config).model_fields:
        section = getattr(config, name)
        if not isinstance(section, Section) or name in ("runtime", "publish"):
            continue
        changed = section.model_dump(mode="json", exclude_defaults=True)
        places = section.places() | {"vectors", "second_vectors", "replicates"}
        for key in places & changed.keys():
            changed[key] = _without_folder(f"{ABSENT}/{key}", changed[key])
        if changed:
            found[name] = changed
    return found


def _without_folder(folder: str, place: Any) -> Any:
    if isinstance(place, list):
        return [_without_folder(folder, one) for one in place]
    return f"{folder}/{Path(place).name}"
