"""Entry point of the `atlas` command and of `python -m atlas`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status."""
    from atlas.command.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
