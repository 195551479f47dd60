"""Progress of a long job: how much is done, how fast, how long it will still take."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

QUIET_S = 30.0
"""Seconds between lines if stderr is not a terminal."""


class Progress:
    """A progress bar on a terminal, a line now and then in a log. Writes to stderr."""

    def __init__(self, *, silent: bool = False, as_json: bool = False) -> None:
        """Choose bar or lines by whether stderr is a terminal.

        Args:
            silent: Print nothing.
            as_json: Print a JSON object a line: time (ISO 8601, UTC) and text, while something is
                counted also stage, done, total, unit, left_s and note.
        """
        self._silent, self._as_json = silent, as_json
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
        if not self._silent and not self._as_json and sys.stderr.isatty():
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
            self._print(self._line(note), self._count(note))

    def stop(self) -> None:
        """Remove the progress bar, if there is one."""
        if self._live is not None:
            self._live.stop()
            self._live = self._task = None

    def say(self, text: str) -> None:
        """Print a line."""
        self._print(text, {})

    def _print(self, text: str, figures: Mapping[str, Any]) -> None:
        if self._silent:
            return
        if self._as_json:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            text = json.dumps({"time": now, **figures, "text": text.strip()}, ensure_ascii=False)
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one place where long jobs print

    def _rate(self) -> tuple[float, float]:
        """Return how many a second, and how many seconds are left."""
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        return rate, (self._total - self._done) / rate if rate else 0.0

    def _count(self, note: str) -> dict[str, Any]:
        return {
            "stage": self._label,
            "done": self._done,
            "total": self._total,
            "unit": self._unit,
            "left_s": round(self._rate()[1], 1),
            "note": note,
        }

    def _line(self, note: str) -> str:
        rate, left_s = self._rate()
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
