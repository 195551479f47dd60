"""How long a look-up takes, as a whole process, beside importing what every look-up needs.

Run: python -m tests.benchmarks.bench_lookup [ATLAS]. Prints medians and ratios; asserts nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

BASELINE = [sys.executable, "-c", "import duckdb, numpy, typer"]
GOAL_S = 0.3
REPEATS = 9
LOOK_UPS = {
    "feature 17": ["feature", "17"],
    'search "red fruit"': ["search", "red", "fruit"],
    "neighbors 17": ["neighbors", "17"],
    "report": ["report"],
    "sql": ["sql", "SELECT feature, density FROM features ORDER BY density DESC LIMIT 5"],
}


def main(atlas: str) -> None:
    """Time every look-up and the baseline in turn, and print a table."""
    commands = {"baseline": BASELINE} | {
        name: [sys.executable, "-m", "atlas", *words, "--atlas", atlas]
        for name, words in LOOK_UPS.items()
    }
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            took[name].append(time.perf_counter() - began)
    base = statistics.median(took["baseline"])
    print(f"baseline: {' '.join(BASELINE[1:])}; {REPEATS} repeats, in turn")
    print(f"{'look-up':<22}{'median s':>10}{'least s':>10}{'ratio':>8}   under {GOAL_S} s")
    for name, values in took.items():
        median = statistics.median(values)
        verdict = "yes" if median < GOAL_S else "no"
        print(f"{name:<22}{median:>10.3f}{min(values):>10.3f}{median / base:>8.2f}   {verdict}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "build/demo")
