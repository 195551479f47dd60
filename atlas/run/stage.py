"""What a stage is: a row of the pipeline, its inputs, and the job that its `run` is given.

Long work is cut into parts, files named by a digest of all that decides their bytes. A part that
exists is never made again, so resuming after a kill, adding shards and sharing the work among
processes all come down to making the parts that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from atlas.base.files import (
    digest_json,
    draft,
    link_or_copy,
    read_json,
    sync,
    write_json,
)
from atlas.base.progress import Progress
from atlas.settings.runtime import Runtime

PARTS = "parts"
"""Folder of a stage for its parts."""
LOCK_SUFFIX = ".lock"
USED = "used"
"""File in a folder of parts that lists those that the running build has asked for."""
AGREED = "agreed"
"""File in a folder of parts that holds what the processes of the running build agreed on."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of the pipeline table."""

    name: str
    """Also the name of the module that holds its run(job), and of the folder that it writes."""
    room: str
    """Subpackage of atlas that holds the module."""
    version: int
    """Raise by one when the same inputs and settings shall give other bytes."""
    needs: tuple[str, ...]
    """Names of the stages and outside inputs that it reads; a configuration may lack some."""
    unstable: tuple[str, ...] = ()
    """Files whose bytes differ between equal builds; left out of the digest of the outputs."""
    kept: tuple[str, ...] = ()
    """Inputs that it may run without: what it takes from them is kept in its parts."""

    @property
    def module(self) -> str:
        """Full name of the module that holds its run(job)."""
        return f"atlas.{self.room}.{self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """An input of a stage: its path, the files below it, one digest of them all."""

    path: Path
    files: tuple[Path, ...]
    digest: str
    file_digests: tuple[str, ...] = ()
    """SHA-256 of each file; empty for the output of a stage."""
    here: bool = True
    """False: nothing is at the path, and the digest is the one that the stage's receipt holds."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the run(job) of a stage is given."""

    name: str
    version: int
    settings: Any
    """The section of the configuration for this stage."""
    runtime: Runtime
    inputs: Mapping[str, Path]
    """Name of a stage or outside input -> its folder or file."""
    files: Mapping[str, tuple[Path, ...]]
    """Name of an outside input -> its files, sorted by name."""
    digests: Mapping[str, str]
    """Name of an input -> digest of its content."""
    out_dir: Path
    """The output of the stage is everything in here when run returns."""
    published_dir: Path
    """Output of the last finished run, where parts are looked up; may not exist."""
    published_home: Path
    """Where out_dir will be once published; paths in written files are relative to this folder."""
    progress: Progress
    file_digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of an outside input -> SHA-256 of each of its files, in the order of `files`."""

    def part(
        self, name: str, suffix: str, key: Mapping[str, Any], make: Callable[[Path], None]
    ) -> Path:
        """Return a part of long work; made only if no earlier run has made it.

        Args:
            name: What the part covers, for instance the name of a shard.
            suffix: File suffix, with its dot.
            key: Everything that decides the bytes of the part, besides the name and version of
                the stage.
            make: Called with the path to write to; the file gets its final name when make returns.
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
        """Return a part as `part` does, without marking it for the finished stage.

        For processes that help the one that runs the stage: of all that ask for a part, one makes
        it.

        Args:
            name: As in part.
            suffix: As in part.
            key: As in part.
            make: As in part.
            wait: False: return None at once if another process is making this part, and the
                published part if the stage has been finished in the meantime.
        """
        path = self._part_path(name, suffix, key)
        if path.exists():
            return path
        published = self.published_dir / PARTS / path.name
        if not wait and published.exists():
            return published
        path.parent.mkdir(parents=True, exist_ok=True)
        # The operating system releases the lock of a process that dies, so no part stays locked.
        lock = FileLock(path.with_name(path.name + LOCK_SUFFIX))
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return None
        try:
            if not path.exists():  # another process may have made it while this one waited
                self._write_part(path, make)
        finally:
            lock.release()
        return path

    def _write_part(self, path: Path, make: Callable[[Path], None]) -> None:
        """Link the part of the last finished run, or make it."""
        before = self.published_dir / PARTS / path.name
        with draft(path) as unfinished:
            if before.exists():
                link_or_copy(before, unfinished)
            else:
                make(unfinished)
                sync(unfinished)

    def agree(self, choose: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the first process of this build chose; it decides no byte of any part."""
        path = self.out_dir / PARTS / AGREED
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + LOCK_SUFFIX)):
            if not path.exists():
                write_json(path, dict(choose()))
            agreed: dict[str, Any] = read_json(path)
        return agreed

    def has_part(self, name: str, suffix: str, key: Mapping[str, Any]) -> bool:
        """Return whether the part has been made."""
        path = self._part_path(name, suffix, key)
        return path.exists() or (self.published_dir / PARTS / path.name).exists()

    def _part_path(self, name: str, suffix: str, key: Mapping[str, Any]) -> Path:
        whole_key = {"stage": self.name, "version": self.version, "part": name, **key}
        return self.out_dir / PARTS / f"{name}-{digest_json(whole_key)[:12]}{suffix}"


def _note_use(path: Path) -> None:
    with (path.parent / USED).open("a", encoding="utf-8") as file:
        file.write(path.name + "\n")
