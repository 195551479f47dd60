"""A build in a child process with something wrong with its system, and what it said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atlas.command.app import run


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int
    err: str

    @property
    def told(self) -> list[str]:
        """The lines of the command itself."""
        return [line for line in self.err.splitlines() if line.startswith("atlas: ")]

    def in_one_line(self) -> bool:
        """Whether it ended as an error that the user can mend should."""
        quiet = "Traceback" not in self.err and "Exception ignored" not in self.err
        return self.status == 1 and len(self.told) == 1 and quiet


def in_child(arguments: list[str], limit: Callable[[], None]) -> Said:
    """Run a command line in a forked child, after something was done to the child's rights or limits."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.dup2(theirs, 1)
            os.dup2(theirs, 2)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            limit()
            status = run(arguments)
        except BaseException:  # noqa: BLE001 - whatever it is, the parent has to see it
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, ended = os.waitpid(child, 0)
    return Said(os.waitstatus_to_exitcode(ended), text)


@contextmanager
def small_disk(place: Path, size: int, *, read_only: Path | None = None) -> Iterator[Path]:
    """Mount a file system of a size in a folder; only root may, so others skip."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        if read_only is not None:
            shutil.copytree(read_only, place / read_only.name, symlinks=True)
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def can_mount(place: Path) -> bool:
    """Return whether this process may mount file systems."""
    try:
        with small_disk(place, 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
