"""Run one stage of the build, or say why it need not run.

A stage turns named inputs into one folder of files. Its plan holds all that decides its
bytes: version, settings, digests of inputs. The plan is kept in the receipt, which is
written last; a folder without a receipt does not exist for anyone. Long work is cut into
parts, each one file named by its own key, so that resuming after a kill and extending by
new shards are the same thing: a part whose key is found is not made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from atlas.base.errors import BusyError, InputError
from atlas.base.files import (
    DRAFT_SUFFIX,
    DigestCache,
    digest_file,
    digest_json,
    draft,
    link_or_copy,
    list_files,
    remove_tree,
    sync,
    tell_no_room,
    write_json,
    write_text,
)
from atlas.base.progress import Progress
from atlas.settings.runtime import Runtime

RECEIPT = "receipt.json"
PARTS = "parts"
LOCK_SUFFIX = ".lock"


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the pipeline table."""

    name: str
    """Also the module that holds its run(job), and the folder that it writes."""
    room: str
    """Package of atlas in which that module is."""
    version: int
    """Raise by one when the same inputs and settings should give other bytes."""
    needs: tuple[str, ...]
    """Names of the stages and outside inputs that it reads."""
    unstable: tuple[str, ...] = ()
    """Files whose bytes differ between equal builds; left out of the digest of outputs."""

    @property
    def module(self) -> str:
        """Full name of the module that holds its run(job)."""
        return f"atlas.{self.room}.{self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """An input as a stage sees it: one path, the files below it, one digest of all."""

    path: Path
    files: tuple[Path, ...]
    digest: str
    file_digests: tuple[str, ...] = ()
    """SHA-256 of each file; none for a stage."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a stage's run(job) is given."""

    name: str
    version: int
    settings: Any
    """The stage's own section of the configuration."""
    runtime: Runtime
    inputs: Mapping[str, Path]
    """Name of a stage or outside input -> its folder or file."""
    files: Mapping[str, tuple[Path, ...]]
    """Name of an outside input -> its files, sorted by name."""
    digests: Mapping[str, str]
    """Name of an input -> SHA-256 that stands for its content."""
    out_dir: Path
    """Whatever is here when run returns is the stage's output."""
    published_dir: Path
    """Where earlier parts are looked for: what the last finished run left; may be missing."""
    published_home: Path
    """Where out_dir will be once it is published; paths in written files count from here."""
    progress: Progress
    file_digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of an outside input -> SHA-256 of each of its files, in their order."""

    def part(
        self, name: str, suffix: str, key: Mapping[str, Any], make: Callable[[Path], None]
    ) -> Path:
        """Return one file of long work, made only if no earlier run has made it.

        Args:
            name: What the part is of, for instance the shard's name.
            suffix: Ending of the file, with its dot.
            key: All that decides the part's bytes besides the stage's name and version.
            make: Called with the path to write; the file gets its name when make returns.
        """
        path = self.make_part(name, suffix, key, make)
        assert path is not None, name
        _note_use(path)
        return path

    def make_part(
        self,
        name: str,
        suffix: str,
        key: Mapping[str, Any],
        make: Callable[[Path], None],
        *,
        wait: bool = True,
    ) -> Path | None:
        """Return a part as part does, but without keeping it for the finished stage.

        For processes that help the one which runs the stage: of all that ask for a part one
        makes it, and a process that dies lets go of it.

        Args:
            name: As in part.
            suffix: As in part.
            key: As in part.
            make: As in part.
            wait: False returns None at once where another process is making this part, and
                the published part where the stage has been finished meanwhile.
        """
        path = self._part_path(name, suffix, key)
        if path.exists():
            return path
        published = self.published_dir / PARTS / path.name
        if not wait and published.exists():
            return published
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(path.name + LOCK_SUFFIX))
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return None
        try:
            if not path.exists():
                self._write_part(path, make)
        finally:
            lock.release()
        return path

    def _write_part(self, path: Path, make: Callable[[Path], None]) -> None:
        before = self.published_dir / PARTS / path.name
        with draft(path) as unfinished:
            if before.exists():
                link_or_copy(before, unfinished)
            else:
                make(unfinished)
                sync(unfinished)

    def has_part(self, name: str, suffix: str, key: Mapping[str, Any]) -> bool:
        """Return whether part would find that file made."""
        path = self._part_path(name, suffix, key)
        return path.exists() or (self.published_dir / PARTS / path.name).exists()

    def _part_path(self, name: str, suffix: str, key: Mapping[str, Any]) -> Path:
        whole_key = {"stage": self.name, "version": self.version, "part": name, **key}
        return self.out_dir / PARTS / f"{name}-{digest_json(whole_key)[:12]}{suffix}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of building one stage."""

    stage: str
    reasons: tuple[str, ...]
    """Why it ran; empty when its outputs were current."""


def _note_use(path: Path) -> None:
    with (path.parent / "used").open("a", encoding="utf-8") as file:
        file.write(path.name + "\n")


def read_receipt(folder: Path) -> dict[str, Any] | None:
    """Return a stage's receipt, or None where the stage never finished."""
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
    """Return everything that the stage's bytes depend on."""
    return {
        "stage": stage.name,
        "version": stage.version,
        "settings": settings.model_dump(mode="json", exclude=settings.places()),
        "inputs": {name: sources[name].digest for name in sorted(sources)},
    }


def why_stale(plan: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the reasons to run, empty when the outputs in folder are current."""
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
    """Return the files whose content is no longer what the receipt says; reads every byte."""
    receipt = read_receipt(folder)
    files = receipt["files"] if receipt else {}
    return [name for name, (_, digest) in files.items() if digest_file(folder / name) != digest]


def build(
    stage: Stage,
    run: Callable[[Job], None],
    *,
    settings: Any,
    runtime: Runtime,
    sources: Mapping[str, Source],
    root: Path,
    progress: Progress,
    force: bool = False,
) -> Outcome:
    """Run the stage if it is stale, and publish what it wrote."""
    final = root / stage.name
    work = root / ".work" / stage.name
    settle(work, final)
    plan = make_plan(stage, settings, sources)
    reasons = why_stale(plan, final) or (["forced"] if force else [])
    if not reasons:
        return Outcome(stage.name, ())
    progress.say(f"{stage.name}: {'; '.join(reasons)}")
    _clear_all_but_parts(work, keep_parts=not force)
    job = make_job(stage, settings, runtime, sources, root, progress)
    if force:
        job = replace(job, published_dir=root / ".work" / "nothing")
    with tell_no_room(stage.name, root):
        try:
            run(job)
        finally:
            progress.stop()
        _drop_unused_parts(work)
        write_json(work / RECEIPT, make_receipt(stage, plan, work))
    settle(work, final)
    return Outcome(stage.name, tuple(reasons))


def make_job(
    stage: Stage,
    settings: Any,
    runtime: Runtime,
    sources: Mapping[str, Source],
    root: Path,
    progress: Progress,
) -> Job:
    """Return what the stage's run is given, for an atlas in the folder root."""
    return Job(
        name=stage.name,
        version=stage.version,
        settings=settings,
        runtime=runtime,
        inputs={name: source.path for name, source in sources.items()},
        files={name: source.files for name, source in sources.items()},
        digests={name: source.digest for name, source in sources.items()},
        out_dir=root / ".work" / stage.name,
        published_dir=root / stage.name,
        published_home=root / stage.name,
        progress=progress,
        file_digests={name: source.file_digests for name, source in sources.items()},
    )


def make_receipt(stage: Stage, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the plan, every file's size and digest, and one digest of the stable ones."""
    paths = [path for path in list_files(folder) if path.name != RECEIPT]
    files = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, digest_file(path)]
        for path in paths
    }
    stable = {name: digest for name, (_, digest) in files.items() if name not in stage.unstable}
    return {"plan": dict(plan), "files": files, "outputs": digest_json(stable)}


def _clear_all_but_parts(work: Path, *, keep_parts: bool) -> None:
    work.mkdir(parents=True, exist_ok=True)
    for path in sorted(work.iterdir()):
        if path.name == PARTS and keep_parts:
            continue
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink()
    (work / PARTS / "used").unlink(missing_ok=True)


def _drop_unused_parts(work: Path) -> None:
    """Delete parts that this run did not ask for: of old settings, or of shards now gone."""
    used_file = work / PARTS / "used"
    if not (work / PARTS).is_dir():
        return
    used = set(used_file.read_text(encoding="utf-8").split("\n")) if used_file.exists() else set()
    used_file.unlink(missing_ok=True)
    for path in (work / PARTS).iterdir():
        if path.name not in used or path.name.endswith(DRAFT_SUFFIX):
            path.unlink()


def settle(work: Path, final: Path) -> None:
    """Give a finished work folder its final name, whatever a kill interrupted before.

    Two renames can't be one step; the receipt tells after a kill which of them is missing,
    and the old outputs are deleted only when the new ones stand in their place.
    """
    old = work.with_name(f"{work.name}.old")
    if (work / RECEIPT).exists():
        if final.exists():
            remove_tree(old)
            final.rename(old)
        final.parent.mkdir(parents=True, exist_ok=True)
        work.rename(final)
    elif old.exists() and not final.exists():
        old.rename(final)
    remove_tree(old)


@contextmanager
def hold(root: Path) -> Iterator[None]:
    """Keep other builds out of root for the duration.

    Raises:
        BusyError: Another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    holder = root / ".holder"
    lock = FileLock(root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "unknown"
        raise BusyError(
            f"another build (process {who}) is writing {root}; wait for it, or stop it"
        ) from error
    try:
        write_text(holder, f"{_process_id()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _process_id() -> int:
    return os.getpid()


def outside_source(name: str, path: Path, files: tuple[Path, ...], cache: DigestCache) -> Source:
    """Describe an input that no stage made.

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
    """Describe an input that another stage made; it must have finished."""
    receipt = read_receipt(folder)
    assert receipt is not None, f"{folder} is used before it is built"
    return Source(folder, (), str(receipt["outputs"]))
