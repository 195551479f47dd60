"""Restore an atlas from its bundle, wherever that is; resumable, every file verified."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from atlas.base.errors import ConfigError, InputError
from atlas.base.files import digest_file, draft, link_or_copy, remove_tree, write_text
from atlas.base.progress import Progress
from atlas.lookup.bundles import Bundle
from atlas.lookup.manifest import Manifest, Object
from atlas.run.build import locked, publish
from atlas.run.receipt import RECEIPT, read_receipt

FILE = "atlas.toml"
CONNECTIONS = 8


def restore(place: str, out_dir: Path, progress: Progress) -> Manifest:
    """Put the stages of a bundle into the folder of an atlas.

    What is there already is not fetched again. A stage replaces its earlier state whole or not at
    all, and one that this machine built is never replaced.

    Args:
        place: Of the bundle: its folder, a zip file of it, its https address, or hf:OWNER/NAME.
        out_dir: Folder of the atlas.
        progress: Shows what is going on.

    Raises:
        MissingError: There is no bundle there, or a file of it is gone.
        InputError: A file is not what the manifest says.
        ConfigError: The folder holds other results of this machine.
    """
    bundle = Bundle(place)
    manifest = bundle.manifest
    work = out_dir / ".work" / "bundle"
    with locked(out_dir):
        receipts = _receipts(bundle)
        wanted = {stage for stage in receipts if _is_wanted(out_dir / stage, receipts[stage])}
        loose = {name for name in manifest.files if name.split("/")[0] not in receipts}
        names = [name for name in manifest.files if name in loose or name.split("/")[0] in wanted]
        progress.start("bundle", total=len(names), unit="files")
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in pool.map(lambda name: _bring(bundle, name, out_dir, work), names):
                progress.advance()
        progress.stop()
        for stage in sorted(wanted):
            publish(work / stage, out_dir / stage)
        for name in sorted(loose):
            target = out_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (work / name).replace(target)
        remove_tree(work)
    return manifest


def _receipts(bundle: Bundle) -> dict[str, Any]:
    """Return the receipt of each stage that a bundle holds."""
    names = (name for name in bundle.manifest.files if name.count("/") == 1)
    return {
        name.split("/")[0]: json.loads(bundle.read(name))
        for name in names
        if name.endswith(f"/{RECEIPT}")
    }


def _is_wanted(folder: Path, receipt: Mapping[str, Any]) -> bool:
    """Return whether a stage differs from the bundle's.

    Raises:
        ConfigError: It does, and was built here.
    """
    here = read_receipt(folder)
    if here is None:
        return True
    if here == receipt:
        return not all((folder / name).is_file() for name in _carried(here))
    if "left_out" not in here and here["outputs"] == receipt["outputs"]:
        return False
    if "left_out" not in here and folder.name != "catalog":
        raise ConfigError(
            f"{folder} was built here, from other inputs or settings than the bundle's; restore "
            "into another folder: atlas build --from BUNDLE --out DIR"
        )
    return True


def _carried(receipt: Mapping[str, Any]) -> Iterator[str]:
    left_out = set(receipt.get("left_out", ()))
    return (name for name in receipt["files"] if name not in left_out)


def _bring(bundle: Bundle, name: str, out_dir: Path, work: Path) -> None:
    """Put one file into the work folder: from the last state, else from the bundle."""
    one, target, before = bundle.manifest.files[name], work / name, out_dir / name
    if _is(target, one):
        return
    if _is(before, one):
        link_or_copy(before, target)
        return
    with draft(target) as unfinished:
        bundle.copy(one, unfinished)
        if not _is(unfinished, one):
            raise InputError(
                f"{name} of the bundle {bundle.place} is damaged; make the bundle again: atlas bundle"
            )


def _is(path: Path, one: Object) -> bool:
    same = path.is_file() and path.stat().st_size == one.size_bytes
    return same and digest_file(path) == one.sha256


def write_config(manifest: Manifest, out_dir: Path) -> Path:
    """Write the configuration of a restored atlas into its folder, unless there is one; return its path."""
    path = out_dir / FILE
    if not path.exists():
        write_text(path, toml(manifest))
    return path


def toml(manifest: Manifest) -> str:
    """Return the settings of a bundle as TOML."""
    lines = [
        f"# {manifest.atlas}, restored from a bundle. Inputs stayed where it was built; their",
        "# receipts stand in for them. What [catalog] and [site] say can be changed here.",
        'out_dir = "."',
    ]
    for section, settings in manifest.settings.items():
        lines += ["", f"[{section}]"]
        # A string, number or list of them reads the same in JSON and in TOML.
        lines += [f"{key} = {_value(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
