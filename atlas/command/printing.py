"""Tables for a terminal or a pipe, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def print_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: aligned for a terminal, tab-separated for a pipe."""
    if not sys.stdout.isatty():
        for row in (names, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in names:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON has no form for, a path for instance, as text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def short_path(path: Path) -> Path:
    """Return the path as seen from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
