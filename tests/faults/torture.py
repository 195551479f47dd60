"""Faults and hostile inputs by the hundred, and the table of what became of them: RESULTS.md.

    python -m tests.faults.torture [SECTION ...]

Sections are fuzz, flips, kills, doubles, points, rooms, limits and browser; all if none is named. What a section found is kept in
build/torture, and the table is made of the last run of each.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
# Numba's own threads survive that the process forks, OpenMP's do not.
os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
os.environ |= {"NUMBA_THREADING_LAYER": "workqueue"}

from chromium import PATH  # noqa: E402
from faults.atlases import plant_full, plant_trained  # noqa: E402
from faults.corpus import plant_hostile  # noqa: E402
from faults.flipping import silent_flips  # noqa: E402
from faults.fuzzing import fuzz  # noqa: E402
from faults.hostile_visits import every_address, visit_all  # noqa: E402
from faults.inputs import KINDS  # noqa: E402
from faults.trials import (  # noqa: E402
    Subject,
    make_subject,
    try_doubles,
    try_kills,
    try_limits,
    try_points,
    try_rooms,
)

RESULTS = Path(__file__).with_name("RESULTS.md")
KEPT = ROOT / "build" / "torture"
POINTS, DOUBLES, KILLS, FLIPS, CASES = 60, 30, 200, 1500, 800
ROOMS = (0, 8_000, 60_000, 300_000)
Found = dict[str, Any]


def _subjects(place: Path) -> dict[str, Callable[[], Subject]]:
    made: dict[str, Subject] = {}

    def get(name: str) -> Subject:
        if name not in made:
            folder = place / name
            if name == "full":
                plant_full(folder)
                make_subject(folder / "other/atlas.toml")
            else:
                plant_trained(folder)
            made[name] = make_subject(folder / "atlas.toml")
        return made[name]

    return {name: lambda name=name: get(name) for name in ("trained", "full")}  # type: ignore[misc]


def _faults(tries: list[tuple[list[str], list[str]]]) -> Found:
    tried = [name for names, _ in tries for name in names]
    lost = [name for _, names in tries for name in names]
    return {"tried": len(tried), "lost": lost, "names": tried}


def _fuzzed(place: Path) -> Found:
    rows = {}
    for kind in KINDS:
        folder = place / f"{kind.name}-alone"  # some readers look beside the file
        folder.mkdir()
        found = fuzz(kind, CASES, folder / kind.name)
        rows[kind.name] = [CASES, found.read, found.refused, found.wrong]
        print(kind.name, *rows[kind.name], flush=True)
    return {"rows": rows}


def _opened(place: Path) -> Found:
    from playwright.sync_api import sync_playwright

    config = plant_hostile(place / "hostile")
    make_subject(config)
    site = config.parent / "build/site"
    wanted = every_address(site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        found = visit_all(browser, site, wanted)
        browser.close()
    row = [found.visits, found.visits - len(found.wrong), 0, found.wrong]
    return {"rows": {"hostile text opened in Chromium": row}}


def sections(place: Path) -> dict[str, Callable[[], Found]]:
    """Return what makes each section, by name."""
    subjects = _subjects(place)
    trained, full = subjects["trained"], subjects["full"]

    def flips() -> Found:
        silent = silent_flips(trained().out, FLIPS)
        return {"tried": FLIPS, "lost": silent, "names": []}

    return {
        "fuzz": lambda: _fuzzed(place),
        "flips": flips,
        "kills": lambda: _faults([try_kills(trained(), KILLS)]),
        "doubles": lambda: _faults([try_doubles(trained(), DOUBLES)]),
        "points": lambda: _faults(
            [try_points(trained(), POINTS * 2 // 3), try_points(full(), POINTS // 3)]
        ),
        "rooms": lambda: _faults([try_rooms(trained(), ROOMS), try_rooms(full(), ROOMS)]),
        "limits": lambda: _faults([try_limits(trained()), try_limits(full())]),
        "browser": lambda: _opened(place),
    }


TITLES = {
    "points": "a file operation fails, or a signal comes just before it, at a named point",
    "rooms": "a disk with 0, 8,000, 60,000 and 300,000 bytes left, in every stage",
    "limits": "a limit of no bytes a file, in every stage",
    "kills": "a build killed at a random moment, and the next goes on from there",
    "doubles": "a fault, and another one in the build that goes on from it",
    "flips": "a bit flipped in what a finished stage left, or in a record",
}


def write_results() -> None:
    """Write the table of the last run of each section."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))}
    lines = ["# What `make torture` found", "", _stated(found), ""]
    lines += ["| faults | tried | survived | lost |", "|---|---|---|---|"]
    for name in [name for name in TITLES if name in found]:
        one = found[name]
        n_lost = len(one["lost"])
        lines.append(
            f"| {TITLES[name]} | {one['tried']:,} | {one['tried'] - n_lost:,} | {n_lost} |"
        )
    lines += [
        "",
        "Survived: the command said in one line what happened (a signal: nothing but that it",
    ]
    lines += [
        "was stopped), nothing that was published changed, no finished part was made again, and"
    ]
    lines += [
        "the next build ended in the same bytes. Of a flip: the next reader names file and stage.",
        "",
    ]
    lines += _inputs(found)
    lines += _points(found)
    lines += _wrong(found)
    RESULTS.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _stated(found: dict[str, Found]) -> str:
    one = [f"{name} on {held['date']} ({held['took_s']:,} s)" for name, held in found.items()]
    cpus = {held["processor"] for held in found.values()}
    return f"Written by `python -m tests.faults.torture`. {'; '.join(one)}. Processor: {', '.join(sorted(cpus))}."


def _inputs(found: dict[str, Found]) -> list[str]:
    lines = ["| input | tried | read | refused cleanly | wrong |", "|---|---|---|---|---|"]
    rows = [(name, *row) for s in found.values() for name, row in s.get("rows", {}).items()]
    lines += [f"| {n} | {t:,} | {r:,} | {c:,} | {len(w)} |" for n, t, r, c, w in rows]
    sums = [sum(row[column] for row in rows) for column in (1, 2, 3)]
    wrong = sum(len(row[4]) for row in rows)
    lines += [f"| all | {sums[0]:,} | {sums[1]:,} | {sums[2]:,} | {wrong} |", ""]
    return lines


def _points(found: dict[str, Found]) -> list[str]:
    names = found.get("points", {}).get("names", [])
    return [f"## The {len(names)} named points", "", *(f"- `{name}`" for name in names), ""]


def _wrong(found: dict[str, Found]) -> list[str]:
    lost = [f"- {name}: {one}" for name, held in found.items() for one in held.get("lost", [])]
    rows = [row for held in found.values() for row in held.get("rows", {}).items()]
    lost += [f"- {name}: {one}" for name, row in rows for one in row[3][:5]]
    return ["## What was lost or wrong", "", *lost] if lost else []


def processor() -> str:
    """Return what the machine's processor is called."""
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        for line in cpu.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main(wanted: list[str]) -> None:
    """Run sections and write the table."""
    KEPT.mkdir(parents=True, exist_ok=True)
    place = Path(mkdtemp(prefix="torture-"))
    every = sections(place)
    for name in wanted or list(every):
        begin = time.monotonic()
        found = every[name]()
        found |= {"date": datetime.now(UTC).date().isoformat(), "processor": processor()}
        found["took_s"] = round(time.monotonic() - begin)
        (KEPT / f"{name}.json").write_text(json.dumps(found, indent=1))
        write_results()
    subprocess.run(["rm", "-rf", str(place)], check=True)
    print(RESULTS.read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
