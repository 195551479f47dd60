"""The demo's measured figures: one file, each row replaced by the step whose command it names."""

from __future__ import annotations

from typing import Any

from atlas.base.files import read_json, write_json
from atlas.demo.places import FIGURES


def replace_figures(command: str, rows: list[dict[str, Any]]) -> None:
    """Put a step's rows in place of those that it wrote before; the rest stays as it is."""
    held = read_json(FIGURES)["figures"] if FIGURES.exists() else []
    kept = [row for row in held if row["command"] != command or row["name"] in _names(rows)]
    new = {row["name"]: row for row in rows}
    merged = [new.pop(row["name"], row) for row in kept]
    write_json(FIGURES, {"figures": [*merged, *new.values()]})
    for row in rows:
        print(f"{row['name']}: {row['value']:.3f} (baseline {row['null_value']}), n {row['n']}")


def _names(rows: list[dict[str, Any]]) -> set[str]:
    return {row["name"] for row in rows}
