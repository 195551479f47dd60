"""Write requirements.lock from what uv resolved: without torch, which is installed first and by itself.

usage: python tests/lock.py RESOLVED requirements.lock (make lock)

On Linux torch brings gigabytes of CUDA or none, as its index says (make TORCH_INDEX=...), and its
files differ between indexes, so that no digest could hold for all.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEAD = """# Every package of a development environment but torch (pinned in the Makefile), for all platforms, with the
# digests of its files. Written by `make lock`; installed by `make LOCK=requirements.lock atlas`, as CI does.
"""
WITH_TORCH = re.compile(r"(?:torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
"""Packages that come with torch."""


def locked(resolved: str) -> str:
    """Return the requirements without those that come with torch."""
    blocks = re.split(r"\n(?=\S)", resolved.strip())
    kept = [block for block in blocks if not WITH_TORCH.match(block)]
    return HEAD + "\n".join(kept) + "\n"


if __name__ == "__main__":
    text = locked(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(text, encoding="utf-8")
    print(f"{sys.argv[2]}: {text.count('==')} packages")
