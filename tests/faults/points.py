"""Named points of a build at which something can go wrong: each operation on a file, by what it is done to."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.mkdir": "mkdir",
    "os.rmdir": "rmdir",
    "os.link": "link",
}
"""Audit event of Python -> what the point is called."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FAULTS: tuple[int, ...] = (*(-number for number in SIGNALS), *ERRORS)
"""What goes wrong: an errno that the operation ends with, or, below zero, a signal just before it."""


@dataclass(frozen=True, order=True)
class Point:
    """One operation, the nth of its name."""

    name: str
    nth: int = 1

    @property
    def stage(self) -> str:
        """Return the stage that it is of; empty for what belongs to the whole atlas."""
        found = re.match(r"\w+ (?:\.work/)?([a-z]+)(?:\.old)?(?:/|$)", self.name)
        return found[1] if found else ""


def fault_name(fault: int) -> str:
    """Return how a fault is called."""
    return signal.Signals(-fault).name if fault < 0 else errno.errorcode[fault]


def watch(root: Path, see: Callable[[str], None]) -> None:
    """Call a function with the name of each operation below a folder, just before it is done.

    There is no way back, so only a child process should call this.
    """
    prefix = f"{root}{os.sep}"

    def hook(event: str, args: tuple[Any, ...]) -> None:
        kind = EVENTS.get(event, "")
        if event == "open" and isinstance(args[2], int) and args[2] & WRITES:
            kind = "write"
        if kind and isinstance(args[0], (str, os.PathLike)):
            path = os.fspath(args[0])
            if path.startswith(prefix):
                see(f"{kind} {_without_numbers(path.removeprefix(prefix))}")

    sys.addaudithook(hook)


def _without_numbers(path: str) -> str:
    return re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{12,}", "H", path))


def write_trace(root: Path, log: Path) -> Callable[[], None]:
    """Return what writes the name of each operation of this process to a file."""

    def begin() -> None:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        watch(root, lambda name: os.write(handle, f"{name}\n".encode()) and None)

    return begin


def goes_wrong(root: Path, point: Point, fault: int) -> Callable[[], None]:
    """Return what makes this process meet a fault at a point."""
    seen: Counter[str] = Counter()

    def see(name: str) -> None:
        seen[name] += 1
        if name != point.name or seen[name] != point.nth:
            return
        if fault < 0:
            os.kill(os.getpid(), -fault)
        else:
            raise OSError(fault, os.strerror(fault), str(root))

    return lambda: watch(root, see)


def spread(names: list[str], n: int) -> list[Point]:
    """Choose points of a trace: each name once, and as many of each stage as there are, up to n in all."""
    by_stage: dict[str, list[Point]] = {}
    for name in dict.fromkeys(names):
        point = Point(name)
        by_stage.setdefault(point.stage, []).append(point)
    chosen: list[Point] = []
    rank = 0
    while len(chosen) < n and any(len(points) > rank for points in by_stage.values()):
        chosen += [points[rank] for points in by_stage.values() if len(points) > rank]
        rank += 1
    return chosen[:n]
