"""Progress of a long job: how much is done, how fast, how long it will still take."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

QUIET_S = 30.0
"""Seconds between lines if stderr is not a terminal."""


class Progress:
    """A progress bar on a terminal, a line now and then in a log. Writes to stderr."""

    def __init__(self, *, silent: bool = False) -> None:
        """Choose bar or lines by whether stderr is a terminal; print nothing if silent."""
        self._silent = silent
        self._live: RichProgress | None = None
        self._task: TaskID | None = None
        self._began = self._spoke = 0.0
        self._label = self._unit = ""
        self._done = self._total = 0

    def start(self, label: str, *, total: int, unit: str = "") -> None:
        """Start counting to total; ends an earlier count."""
        self.stop()
        self._label, self._unit, self._total, self._done = label, unit, total, 0
        self._began = self._spoke = time.monotonic()
        if not self._silent and sys.stderr.isatty():
            self._live = _progress_bar()
            self._live.start()
            self._task = self._live.add_task(label, total=total, unit=unit, note="")

    def advance(self, count: int = 1, note: str = "") -> None:
        """Add to the count; the note is shown after the figures, for instance features alive."""
        self._done += count
        if self._live is not None and self._task is not None:
            self._live.update(self._task, advance=count, note=note)
        elif time.monotonic() - self._spoke >= QUIET_S:
            self._spoke = time.monotonic()
            self.say(self._line(note))

    def stop(self) -> None:
        """Remove the progress bar, if there is one."""
        if self._live is not None:
            self._live.stop()
            self._live = self._task = None

    def say(self, text: str) -> None:
        """Print a line."""
        if self._silent:
            return
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one place where long jobs print

    def _line(self, note: str) -> str:
        passed_s = max(time.monotonic() - self._began, 1e-9)
        rate = self._done / passed_s
        left_s = (self._total - self._done) / rate if rate else 0.0
        figures = f"{self._done:,} of {self._total:,} {self._unit}, {rate:,.0f}/s"
        return f"  {self._label}: {figures}, {left_s:,.0f} s left {note}".rstrip()


def _progress_bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
