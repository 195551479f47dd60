"""Plans and receipts, which tell whether the outputs of a stage are current.

A plan holds everything that decides the bytes of a stage: its version, its settings, the digests
of its inputs. A receipt holds the plan and the digests of the outputs. It is the last file that a
stage writes: a folder without a receipt counts as never built.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atlas.base.errors import InputError
from atlas.base.files import DigestCache, digest_file, digest_json, list_files
from atlas.run.stage import Source, Stage

RECEIPT = "receipt.json"


def read_receipt(folder: Path) -> dict[str, Any] | None:
    """Return the receipt of a stage, or None if the stage never finished.

    Raises:
        InputError: The receipt is damaged.
    """
    try:
        receipt: dict[str, Any] = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{folder / RECEIPT} is damaged ({error}); delete the folder {folder} and build again"
        ) from error
    return receipt


def make_plan(stage: Stage, settings: Any, sources: Mapping[str, Source]) -> dict[str, Any]:
    """Return everything that the bytes of the stage depend on."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": settings.model_dump(mode="json", exclude=settings.places()),
        "inputs": {name: sources[name].digest for name in sorted(sources)},
    }


def why_stale(plan: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the reasons to run; empty if the outputs in the folder are current.

    Output files are compared by size only, as hashing them all at each start would be slow; see
    why_damaged.
    """
    receipt = read_receipt(folder)
    if receipt is None:
        return ["never built"]
    before = receipt["plan"]
    reasons = []
    if before["version"] != plan["version"]:
        reasons.append(f"version {before['version']} -> {plan['version']}")
    for key in sorted(before["settings"].keys() | plan["settings"].keys()):
        old, new = before["settings"].get(key), plan["settings"].get(key)
        if old != new:
            reasons.append(f"settings.{key} changed from {old} to {new}")
    inputs = sorted(before["inputs"].keys() | plan["inputs"].keys())
    reasons += [
        f"input {key} changed"
        for key in inputs
        if before["inputs"].get(key) != plan["inputs"].get(key)
    ]
    missing = [name for name, size in receipt["files"].items() if _size(folder / name) != size[0]]
    if missing:
        reasons.append(f"{missing[0]} is missing or changed ({len(missing)} such files)")
    return reasons


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def why_damaged(folder: Path) -> list[str]:
    """Return the files whose content differs from the receipt; reads every byte."""
    receipt = read_receipt(folder)
    files = receipt["files"] if receipt else {}
    return [name for name, (_, digest) in files.items() if digest_file(folder / name) != digest]


def make_receipt(stage: Stage, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the plan, the size and digest of every file, and one digest of the stable files.

    Later stages depend on the digest of the stable files alone, so one that is rebuilt to the same
    bytes makes no other stage stale.
    """
    paths = [path for path in list_files(folder) if path.name != RECEIPT]
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, digest_file(path)]
        for path in paths
    }
    stable = {name: digest for name, (_, digest) in files.items() if name not in stage.unstable}
    return {"plan": dict(plan), "files": files, "outputs": digest_json(stable)}


def outside_source(name: str, path: Path, files: tuple[Path, ...], cache: DigestCache) -> Source:
    """Return an input from outside the atlas.

    Raises:
        InputError: There is nothing at the path.
    """
    if not files:
        raise InputError(f"no {name} at {path}; put it there or change the configuration")
    base = path if path.is_dir() else path.parent
    digests = tuple(cache.digest(file) for file in files)
    names = [
        [file.relative_to(base).as_posix(), digest]
        for file, digest in zip(files, digests, strict=True)
    ]
    return Source(path, files, digest_json(names), digests)


def stage_source(folder: Path) -> Source:
    """Return an input that another stage made; that stage must have finished."""
    receipt = read_receipt(folder)
    assert receipt is not None, f"{folder} is used before it is built"
    return Source(folder, (), str(receipt["outputs"]))
