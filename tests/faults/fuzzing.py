"""Files from outside, cut and changed in any way: each is read, or refused in one line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from faults.inputs import Kind

from atlas.base.errors import AtlasError

LONGEST_S = 10
"""Of a processor, since others may use the machine."""
HOSTILE = (
    b"\xff",
    b"\x00",
    b"\\ud83d",
    b"[" * 5000,
    b'"',
    b"{",
    b"9" * 400,
    b"\r\n",
    b"\xed\xa0\xbd",
    b"-1",
    b"NaN",
    b"1e999",
    b"../../",
)


@dataclass
class Fuzzed:
    """What became of the mutations of one file."""

    read: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return a file cut, with bits flipped, bytes replaced, doubled, or something hostile put in."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(found) + 1))
        kind = int(rng.integers(6))
        if kind == 0:
            del found[at:]
        elif kind == 1 and at < len(found):
            found[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            found[at : at + 4] = rng.bytes(4)
        elif kind == 3:
            found[at:at] = found[at // 2 : at]
        elif kind == 4:
            found[at:at] = HOSTILE[int(rng.integers(len(HOSTILE)))]
        elif at < len(found):
            found[at : at + 8] = (2**63 - 1).to_bytes(8, "little")
    return bytes(found)


def fuzz(kind: Kind, n_cases: int, path: Path) -> Fuzzed:
    """Read a file as it is, which has to work, and then many mutations of it."""
    rng = np.random.default_rng(len(kind.data))
    path.write_bytes(kind.data)
    kind.read(path)
    found = Fuzzed()
    for number in range(n_cases):
        path.write_bytes(mutated(kind.data, rng))
        begin = time.process_time()
        try:
            kind.read(path)
            found.read += 1
        except AtlasError as error:
            if "\n" in str(error):
                found.wrong.append(f"{number}: two lines: {error}")
            found.refused += 1
        except Exception as error:  # noqa: BLE001 - what else is raised is what this looks for
            found.wrong.append(f"{number}: {type(error).__name__}: {str(error)[:200]}")
        if time.process_time() - begin > LONGEST_S:
            found.wrong.append(f"{number}: took more than {LONGEST_S} s")
    return found
