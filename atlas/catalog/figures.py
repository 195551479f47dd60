"""The figures of the report: the scan's own, and those that other stages and files bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atlas.base.files import read_json
from atlas.run.stage import Job

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure with what to hold it against; a row of the table metrics."""

    name: str
    value: float
    unit: str
    n: int
    null_value: float | None = None
    null_name: str = ""
    command: str = "atlas report"
    note: str = ""


def insert_metrics(db: DuckDBPyConnection, job: Job, own: Sequence[Figure]) -> None:
    """Fill the table of figures: the scan's, this stage's own, other stages', and outside ones."""
    figures = [*scan_figures(read_json(job.inputs["scan"] / "scan.json")), *own]
    for stage in ("families", "compare", "names", "icons", "where", "concepts"):
        if stage in job.inputs:
            drawn = read_json(job.inputs[stage] / f"{stage}.json")["figures"]
            figures += [Figure(**row) for row in drawn]
    for path in job.files.get("figures", ()):
        figures += [Figure(**row) for row in read_json(path)["figures"]]
    figures += _plane_figures(db)
    rows = [
        [f.name, f.value, f.unit, f.n, f.null_value, f.null_name, f.command, f.note]
        for f in figures
    ]
    db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", sorted(rows))


def _plane_figures(db: DuckDBPyConnection) -> list[Figure]:
    """Return the shares of features with a name that holds and an icon that shows them, and with neither.

    The null is chance: what the two shares alone would give if names and icons had nothing to do
    with each other.
    """
    ((n, named, shown, both, neither),) = db.execute(
        """SELECT count(*), avg(name::INT), avg(icon::INT), avg((name AND icon)::INT), avg((NOT name AND NOT icon)::INT)
           FROM (SELECT coalesce(held >= strong / 2, false) AS name, verdict = 'shown' AS icon
                 FROM features JOIN icons USING (feature) LEFT JOIN names USING (feature)
                 WHERE alive AND verdict IS NOT NULL AND (SELECT count(held) FROM names) > 0)"""
    ).fetchall()
    if not n:
        return []
    null_name, command = "were names and icons independent", "atlas build CONFIG catalog"
    note = (
        "a name in half or more of its strongest images' texts; an icon that makes the round trip"
    )
    return [
        Figure("names_and_icons_both", both, "share", n, named * shown, null_name, command, note),
        Figure("names_and_icons_neither", neither, "share", n, (1 - named) * (1 - shown), null_name, command, note),
    ]  # fmt: skip


def scan_figures(found: Mapping[str, Any]) -> list[Figure]:
    """Return the scan's global figures for the report.

    Args:
        found: What scan.json holds; keys beginning with heldout_ only where there is a split.
    """
    images, features = found["images"], found["features"]
    mean_instead = "mean embedding as every reconstruction"
    figures = [
        Figure("images", images, "images", images),
        Figure("features", features, "features", features),
        Figure(
            "alive", found["alive"], "features", images, note="fires on one or more of n images"
        ),
        Figure("dead_share", found["dead_share"], "share", features),
        Figure("mass_median", found["mass_median"], "activation an image", images),
    ]
    for prefix, suffix, note in (
        ("", "", ""),
        ("heldout_", "_heldout", "images whose pictures trained nothing"),
    ):
        if f"{prefix}images" not in found:
            continue
        n = found[f"{prefix}images"]
        figures += [
            Figure(f"l0_mean{suffix}", found[f"{prefix}l0_mean"], "features an image", n, note=note),
            Figure(f"l0_median{suffix}", found[f"{prefix}l0_median"], "features an image", n, note=note),
            Figure(
                f"mean_cosine{suffix}", found[f"{prefix}mean_cosine"], "cosine", n,
                found[f"{prefix}mean_cosine_null"], mean_instead, note=note,
            ),
        ]  # fmt: skip
        explained = found[f"{prefix}explained_variance"]
        if explained is not None:  # null where all images are equal
            figures.append(
                Figure(
                    f"explained_variance{suffix}",
                    explained,
                    "share",
                    n,
                    0.0,
                    mean_instead,
                    note=note,
                )
            )
    return figures
