"""Build one stage: run it if it is stale, and publish what it wrote."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from atlas.base.errors import BusyError, InputError
from atlas.base.faults import explain_faults
from atlas.base.files import DRAFT_SUFFIX, remove_tree, write_json, write_text
from atlas.base.progress import Progress
from atlas.run.receipt import (
    RECEIPT,
    Verified,
    make_plan,
    make_receipt,
    missing_input,
    read_receipt,
    why_damaged,
    why_stale,
)
from atlas.run.stage import AGREED, LOCK_SUFFIX, PARTS, USED, Job, Source, Stage
from atlas.run.watch import watched
from atlas.settings.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of building one stage."""

    stage: str
    reasons: tuple[str, ...]
    """Why it ran; empty if its outputs were current."""


def build_stage(
    stage: Stage,
    run: Callable[[Job], None],
    *,
    settings: Any,
    runtime: Runtime,
    sources: Mapping[str, Source],
    root: Path,
    progress: Progress,
    force: bool = False,
    verified: Verified | None = None,
) -> Outcome:
    """Run the stage if it is stale or forced, and publish what it wrote.

    What it reads of other stages is checked against their receipts first, and so is what an
    earlier run left, as parts of it may be used again. A forced stage that keeps what it took from
    inputs makes these parts anew only where the inputs are.

    Raises:
        InputError: It must run, and an input is not there.
    """
    final = root / stage.name
    work = root / ".work" / stage.name
    publish(work, final)  # finish what a kill may have interrupted
    plan = make_plan(stage, settings, sources)
    reasons = why_stale(plan, final) or (["forced"] if force else [])
    if not reasons:
        _drop_leftovers(work, final)
        return Outcome(stage.name, ())
    for name, source in sources.items():
        if not source.here and name not in stage.kept:
            raise missing_input(name, source.path)
    progress.say(f"{stage.name}: {'; '.join(reasons)}")
    (verified or Verified()).check(stage.name, sources)
    if not force:
        _drop_damaged(stage.name, final, progress)
    _clear(work, keep_parts=not force)
    job = make_job(stage, settings, runtime, sources, root, progress)
    if force and not (stage.kept and _is_partial(sources)):
        job = replace(job, published_dir=root / ".work" / "nothing")  # reuse no published part
    needed = [source.path for source in sources.values() if source.path.exists()]
    with explain_faults(stage.name, root, (work, *needed)):
        try:
            with watched(stage.name, work, needed):
                run(job)
        finally:
            progress.stop()
        _drop_unused_parts(work)
        write_json(work / RECEIPT, make_receipt(stage, plan, work))
    publish(work, final)
    return Outcome(stage.name, tuple(reasons))


def _is_partial(sources: Mapping[str, Source]) -> bool:
    """Return whether an input is not here, or only what a bundle carried of it."""
    stages = [source.path for source in sources.values() if source.here and not source.files]
    return not all(source.here for source in sources.values()) or any(
        "left_out" in (read_receipt(folder) or {}) for folder in stages
    )


def _drop_leftovers(work: Path, final: Path) -> None:
    """Delete what a killed run of a stage left that is current all the same, as forced ones do.

    Parts of other settings are kept: a build with these goes on from them.
    """
    if not work.is_dir():
        return
    _clear(work, keep_parts=True)
    for path in sorted((work / PARTS).glob("*")):
        drafts = (DRAFT_SUFFIX, LOCK_SUFFIX)
        if path.name.endswith(drafts) or (final / PARTS / path.name).exists():
            path.unlink(missing_ok=True)
    for folder in (work / PARTS, work):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _drop_damaged(stage: str, final: Path, progress: Progress) -> None:
    """Delete what of a stage's last outputs is damaged, so that no part of it is used again."""
    try:
        damaged = why_damaged(final)
    except InputError:  # no receipt tells which files are whole
        remove_tree(final)
        return
    for name in damaged:
        (final / name).unlink(missing_ok=True)
    if damaged:
        progress.say(
            f"{stage}: {damaged[0]} was damaged and is made again ({len(damaged)} such files)"
        )


def make_job(
    stage: Stage,
    settings: Any,
    runtime: Runtime,
    sources: Mapping[str, Source],
    root: Path,
    progress: Progress,
) -> Job:
    """Return the job of a stage, for an atlas in the folder root."""
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


def _clear(work: Path, *, keep_parts: bool) -> None:
    """Empty the work folder of what an interrupted run left, except finished parts."""
    work.mkdir(parents=True, exist_ok=True)
    for path in sorted(work.iterdir()):
        if path.name == PARTS and keep_parts:
            continue
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink()
    for name in (USED, AGREED):
        (work / PARTS / name).unlink(missing_ok=True)


def _drop_unused_parts(work: Path) -> None:
    """Delete parts that this run did not ask for: of old settings, or of shards that are gone."""
    used_file = work / PARTS / USED
    if not (work / PARTS).is_dir():
        return
    used = set(used_file.read_text(encoding="utf-8").split("\n")) if used_file.exists() else set()
    used_file.unlink(missing_ok=True)
    for path in (work / PARTS).iterdir():
        if path.name not in used or path.name.endswith(DRAFT_SUFFIX):
            path.unlink()


def publish(work: Path, final: Path) -> None:
    """Give a finished work folder its final name; also finish an interrupted publication.

    A folder can't be replaced in one step, so this takes two renames. After a kill between them
    the receipt in the work folder tells that the second is missing. The old outputs are deleted
    only once the new ones are in their place.
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
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of an atlas, so that no other build writes to it.

    Raises:
        BusyError: Another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    holder = root / ".holder"  # for the message only; the lock is what counts
    lock = FileLock(root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "unknown"
        raise BusyError(
            f"another build (process {who}) is writing {root}; wait for it, or stop it"
        ) from error
    try:
        write_text(holder, f"{os.getpid()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
