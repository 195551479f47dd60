"""A watch over a running stage: it ends if a folder that it needs is removed, whatever it waits for."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from atlas.base.errors import FaultError
from atlas.base.faults import removed

EVERY_S = 1.0
GRACE_S = 15.0
"""Seconds in which the stage may find out by itself and clean up."""


@contextmanager
def watched(stage: str, work: Path, needed: Sequence[Path]) -> Iterator[None]:
    """Watch the folders that a stage needs within the block.

    A stage that waits for a worker, or a worker for a lock, would never find out. Nothing is lost by
    ending it: parts are files, and a worker ends with its build.

    Args:
        stage: Its name.
        work: The folder that it writes; one of the same name in its place is another one.
        needed: What it reads.

    Raises:
        FaultError: The folder that it wrote was removed, and made again by what was written later.
    """
    done = threading.Event()
    before = _identity(work)

    def gone() -> Path | None:
        if _identity(work) != before:
            return work
        return next((path for path in needed if not path.exists()), None)

    thread = threading.Thread(target=_watch, args=(stage, gone, done), daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        if _identity(work) != before:
            raise FaultError(removed(stage, work)) from error
        raise
    else:
        if _identity(work) != before:
            raise FaultError(removed(stage, work))
    finally:
        done.set()
        thread.join()


def _watch(stage: str, gone: Callable[[], Path | None], done: threading.Event) -> None:
    while not done.wait(EVERY_S):
        folder = gone()
        if folder is not None and not done.wait(GRACE_S):
            sys.stderr.write(f"\natlas: {removed(stage, folder)}\n")
            sys.stderr.flush()
            os._exit(1)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another one of its name; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
