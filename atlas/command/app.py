"""Run the `atlas` command: signals, errors in one line, exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from atlas.base.errors import AtlasError
from atlas.base.extras import explain_missing_package
from atlas.base.faults import explain
from atlas.command import build, export, look, publish, steer
from atlas.command.options import app

if TYPE_CHECKING:
    from types import FrameType

GROUPS = (build, look, steer, export, publish)
"""Importing these modules registers their commands."""
ENDLESS = ("serve",)
"""Commands that run until they are stopped, so that nothing is left to resume."""
PATIENCE_S = 2.0
"""Seconds before a stopped command is ended by force. Nothing is lost then either."""


def _print_anything() -> None:
    """Have what the screen's encoding lacks replaced: a file name need not be text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def _stoppable(command: str) -> Iterator[list[int]]:
    """Leave on signals within the block; yield the list of those that came."""
    goes_on = "" if command in ENDLESS else "; run the same command to resume"
    signals: list[int] = []
    deadlines: list[threading.Timer] = []

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        signals.append(number)
        print(f"\natlas: stopped{goes_on}", file=sys.stderr)
        # Libraries sometimes swallow the exception inside a callback and run on.
        deadlines.append(threading.Timer(PATIENCE_S, os._exit, [128 + number]))
        deadlines[-1].daemon = True
        deadlines[-1].start()
        raise SystemExit(128 + number)

    def pass_over(problem: sys.UnraisableHookArgs) -> None:
        if not signals:  # else it is the stop, inside a callback of a library
            unraisable(problem)

    unraisable, sys.unraisablehook = sys.unraisablehook, pass_over
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        yield signals
    finally:
        sys.unraisablehook = unraisable
        for deadline in deadlines:
            deadline.cancel()


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        0 done; 1 an error that the user can fix, printed in one line; 2 wrong usage;
        130 or 143 ended by a signal.
    """
    _print_anything()
    with _stoppable("".join(arguments[:1])) as signals:
        try:
            with explain_missing_package(" ".join(arguments[:1])):
                app(list(arguments))
        except SystemExit as leaving:
            return int(leaving.code or 0) or (128 + signals[0] if signals else 0)
        except BrokenPipeError:  # the reader of a pipe, such as head, has closed it
            sys.stdout = None  # nothing more can be printed
            return 128 + signals[0] if signals else 0
        except Exception as error:
            # A library that is stopped inside a callback raises whatever it likes.
            if signals:
                return 128 + signals[0]
            told = explain(error) if isinstance(error, OSError) else ""
            told = told or (str(error) if isinstance(error, AtlasError) else "")
            if not told:
                raise
            print(f"atlas: {told}", file=sys.stderr)
            return 1
        return 128 + signals[0] if signals else 0
