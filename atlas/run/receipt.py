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

from atlas.base.errors import InputError, MissingError
from atlas.base.files import DigestCache, digest_file, digest_json, list_files
from atlas.run.stage import Source, Stage

RECEIPT = "receipt.json"


def read_receipt(folder: Path) -> dict[str, Any] | None:
    """Return the receipt of a stage, or None if the stage never finished.

    Raises:
        InputError: The receipt is damaged.
    """
    path = folder / RECEIPT
    try:
        return checked_receipt(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}); build again: the stage {folder.name} is made from its parts"
        ) from error


def checked_receipt(data: bytes) -> dict[str, Any]:
    """Return a receipt from its file's bytes.

    Raises:
        ValueError: It is no receipt.
    """
    try:
        receipt = json.loads(data.decode("utf-8"))
        plan, files = receipt["plan"], receipt["files"]
        whole = (
            isinstance(plan["version"], int)
            and isinstance(plan["settings"], dict)
            and isinstance(plan["inputs"], dict)
            and isinstance(receipt["outputs"], str)
            and all(
                isinstance(size, int) and isinstance(digest, str) for size, digest in files.values()
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not whole:
        raise ValueError("it lacks what a receipt holds")
    found: dict[str, Any] = receipt
    return found


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
    try:
        receipt = read_receipt(folder)
    except InputError:
        return [f"its {RECEIPT} is damaged"]
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
    if not reasons and before != plan:
        reasons.append("its plan changed")
    left_out = set(
        receipt.get("left_out", ())
    )  # by a bundle: only a stage that is stale reads them
    missing = [
        name
        for name, size in receipt["files"].items()
        if name not in left_out and _size(folder / name) != size[0]
    ]
    if missing:
        reasons.append(f"{missing[0]} is missing or changed ({len(missing)} such files)")
    return reasons


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def why_damaged(folder: Path) -> list[str]:
    """Return the files whose content differs from the receipt; reads every byte."""
    receipt = read_receipt(folder)
    files = receipt["files"] if receipt else {}
    left_out = set(receipt.get("left_out", ())) if receipt else set()
    return [
        name
        for name, (_, digest) in files.items()
        if name not in left_out and _digest(folder / name) != digest
    ]


def _digest(path: Path) -> str:
    """Return a file's digest; empty if it is gone or can't be read."""
    try:
        return digest_file(path)
    except OSError:
        return ""


class Verified:
    """Folders of stages whose files were read whole in this build and are as their receipts say."""

    def __init__(self) -> None:
        self._known: set[tuple[Path, str]] = set()

    def check(self, reader: str, sources: Mapping[str, Source]) -> None:
        """Check all files of the stages that a stage is about to read.

        Hashing takes a second for about a gigabyte, and a folder is read once in a build.

        Raises:
            InputError: A file is not what its stage wrote.
        """
        for source in sources.values():
            receipts = [file for file in source.files if file.name == RECEIPT]
            for folder in [path.parent for path in receipts] or [source.path]:
                self._check(reader, folder)

    def _check(self, reader: str, folder: Path) -> None:
        receipt = read_receipt(folder) if folder.is_dir() else None
        if receipt is None or (folder, receipt["outputs"]) in self._known:
            return
        damaged = why_damaged(folder)
        if damaged:
            more = f" ({len(damaged)} such files)" if len(damaged) > 1 else ""
            raise InputError(
                f"{reader}: {folder / damaged[0]} is damaged: it is not what the stage {folder.name} "
                f"wrote{more}; mend it with: atlas build CONFIG {folder.name} --force"
            )
        self._known.add((folder, receipt["outputs"]))


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
        raise missing_input(name, path)
    base = path if path.is_dir() else path.parent
    digests = tuple(cache.digest(file) for file in files)
    names = [
        [file.relative_to(base).as_posix(), digest]
        for file, digest in zip(files, digests, strict=True)
    ]
    return Source(path, files, digest_json(names), digests)


def missing_input(name: str, path: Path) -> InputError:
    """Return the error about an input that is not there."""
    return InputError(f"no {name} at {path}; put it there or change the configuration")


def digests_in_receipt(folder: Path) -> dict[str, str]:
    """Return the digest of each input that a stage was last finished with; none where no receipt tells."""
    try:
        receipt = read_receipt(folder)
    except InputError:  # the stage is made again, and says so
        return {}
    return dict(receipt["plan"]["inputs"]) if receipt else {}


def stage_source(folder: Path) -> Source:
    """Return an input that another stage made; that stage must have finished."""
    receipt = read_receipt(folder)
    if receipt is None:
        raise MissingError(f"{folder} has no {RECEIPT}: it was removed; run the same command again")
    return Source(folder, (), str(receipt["outputs"]))
