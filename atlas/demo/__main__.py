"""Remake data/demo: every step in order, or the steps named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from atlas.base.errors import AtlasError

STEPS = (
    "pictures",
    "recipes",
    "movq",
    "towers",
    "encoder",
    "vectors",
    "photographs",
    "classes",
    "second",
    "sae",
    "coherence",
    "evaluate",
    "calibrate",
    "separation",
    "neutral",
    "attributes",
    "pairs",
    "stability",
    "decoder",
    "judge",
    "wordlist",
    "licenses",
    "manifest",
)
"""Modules of this package, in order. Slow parts are kept in data/raw and not made twice."""


def main(names: list[str]) -> int:
    """Run the steps named, or all; return the exit status."""
    for name in names or STEPS:
        if name not in STEPS:
            print(f"no step {name}; the steps are {', '.join(STEPS)}", file=sys.stderr)
            return 2
        print(f"step {name}", flush=True)
        run: Callable[[], None] = import_module(f"atlas.demo.{name}").run
        try:
            run()
        except AtlasError as error:
            print(f"atlas.demo: {error}", file=sys.stderr)
            return 1
    return 0


sys.exit(main(sys.argv[1:]))
