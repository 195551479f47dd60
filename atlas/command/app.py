"""Run the `atlas` command: signals, errors in one line, exit codes."""

from __future__ import annotations

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
"""Modules whose commands are known by being imported."""
PATIENCE_S = 2.0
"""Seconds that a stopped command may take to leave by itself; nothing is lost if it can't."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        0 done; 1 an error that the user can fix, told in one line; 2 wrong usage;
        130 or 143 ended by a signal.
    """
    signals: list[int] = []
    deadlines: list[threading.Timer] = []

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        signals.append(number)
        print("\natlas: stopped; the same command goes on from here", file=sys.stderr)
        # A query of DuckDB's now and then swallows the exception and runs on.
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
        # A query of DuckDB's turns the SystemExit of a signal into one of these.
        if not signals:
            raise
        return 128 + signals[0]
    except BrokenPipeError:  # the reader, head for instance, has seen enough
        sys.stdout = None  # nothing more can be printed
        return 0
    finally:
        for deadline in deadlines:
            deadline.cancel()
    return 0
