"""Run the `atlas` command: signals, errors in one line, exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from atlas.base.errors import AtlasError
from atlas.command import build, look, publish, steer
from atlas.command.options import app

if TYPE_CHECKING:
    from types import FrameType

GROUPS = (build, look, steer, publish)
"""Importing these modules registers their commands."""
PATIENCE_S = 2.0
"""Seconds before a stopped command is ended by force. Nothing is lost then either."""


def _print_anything() -> None:
    """Have what the screen's encoding lacks replaced: a file name need not be text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        0 done; 1 an error that the user can fix, printed in one line; 2 wrong usage;
        130 or 143 ended by a signal.
    """
    _print_anything()
    signals: list[int] = []
    deadlines: list[threading.Timer] = []

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        signals.append(number)
        print("\natlas: stopped; run the same command to resume", file=sys.stderr)
        # DuckDB sometimes swallows the exception inside a query and runs on.
        deadlines.append(threading.Timer(PATIENCE_S, os._exit, [128 + number]))
        deadlines[-1].daemon = True
        deadlines[-1].start()
        raise SystemExit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    try:
        app(list(arguments))
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except AtlasError as error:
        print(f"atlas: {error}", file=sys.stderr)
        return 1
    except RuntimeError:
        # DuckDB turns a SystemExit raised inside a query into a RuntimeError.
        if not signals:
            raise
        return 128 + signals[0]
    except BrokenPipeError:  # the reader of a pipe, such as head, has closed it
        sys.stdout = None  # nothing more can be printed
        return 0
    finally:
        for deadline in deadlines:
            deadline.cancel()
    return 0
