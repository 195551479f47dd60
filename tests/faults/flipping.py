"""Bits flipped in what stages left, and whether a build that reads it notices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atlas.base.errors import InputError
from atlas.base.files import read_sealed
from atlas.pipeline import RECORDS
from atlas.run.receipt import RECEIPT, Verified, read_receipt, why_stale
from atlas.run.stage import Source


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.unlink()  # files of the site may be hard links
    path.write_bytes(data)


def silent_flips(root: Path, n_flips: int) -> list[str]:
    """Flip a bit somewhere in a finished atlas, many times; return the files in which nobody noticed."""
    rng = np.random.default_rng(0)
    folders = sorted(path.parent for path in root.glob(f"*/{RECEIPT}"))
    plans = {f: read_receipt(f)["plan"] | {"outputs": read_receipt(f)["outputs"]} for f in folders}
    files = {
        f: sorted(p for p in f.rglob("*") if p.is_file() and p.stat().st_size) for f in folders
    }
    silent = []
    for number in range(n_flips):
        folder = folders[number % len(folders)]
        places = [*files[folder], folder / RECEIPT, *(root / name for name in RECORDS)]
        path = places[int(rng.integers(len(places)))]
        before = path.read_bytes()
        flip(path, int(rng.integers(8 * len(before))))
        plan = {key: value for key, value in plans[folder].items() if key != "outputs"}
        if not _noticed(path, folder, plan, plans[folder]["outputs"]):
            silent.append(path.name)
        path.write_bytes(before)
    return silent


def _noticed(path: Path, folder: Path, plan: dict[str, Any], outputs: str) -> bool:
    """Whether a build that reads the folder of a stage, or a record, notices that a file is damaged."""
    if path.name in RECORDS:
        try:
            read_sealed(path)
        except InputError as error:
            return "is damaged" in str(error)
        return False
    if path != folder / RECEIPT:
        return not _is_whole(folder)
    try:
        found = read_receipt(folder)["outputs"]
    except InputError:
        return True
    return bool(why_stale(plan, folder)) or found != outputs or not _is_whole(folder)


def _is_whole(folder: Path) -> bool:
    try:
        Verified().check("reader", {"stage": Source(folder, (), "")})
    except InputError as error:
        return f"mend it with: atlas build CONFIG {folder.name} --force" not in str(error)
    return True
