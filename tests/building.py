"""Whole builds in tests: run here or as a process, frozen in the middle, compared byte for byte."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from atlas.command.app import run
from atlas.pipeline import STAGES
from atlas.run.receipt import read_receipt

AFTER_EMBED = ["embed", "scan", "neighbors", "families", "concepts", "catalog", "site"]
"""The stages of an atlas whose SAE is given, without words or a decoder."""
STAGE_NAMES = [
    stage.name
    for stage in STAGES
    if stage.name not in ("convert", "compare", "names", "icons", "where")
]
"""Planted atlases name no decoder and bring their own SAE; other tests have those stages."""
NOT_OUTPUTS = {
    "receipt.json",
    "atlas.duckdb",
    ".digests.json",
    ".settings.json",
    ".site.json",
    ".lock",
    ".holder",
}
"""Files whose bytes may differ between equal builds."""
MIDDLE = {
    "embed": "thumbnails-0001",
    "train": "state-",
    "scan": "0001-",
    "catalog": "atlas.duckdb",
}
"""Start of the name of a file in the middle of a stage, behind a part that is finished."""
STOPPED = "atlas: stopped; run the same command to resume"


def atlas(*arguments: object) -> tuple[int, list[str], list[str]]:
    """Run a command line here; return its exit status and the lines of stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(out), redirect_stderr(err):
            status = run([str(argument) for argument in arguments])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status, out.getvalue().splitlines(), err.getvalue().splitlines()


def built_stages(folder: Path, *arguments: object) -> list[str]:
    """Build, and return the stages that ran."""
    status, out, err = atlas("build", folder / "atlas.toml", *arguments)
    assert status == 0, err
    if out[0] == f"{folder / 'build'} is up to date: nothing to do":
        return []
    return out[0].removeprefix("built ").removesuffix(f" in {folder / 'build'}").split(", ")


def contents(folder: Path) -> dict[str, bytes]:
    """Return every output below a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_OUTPUTS
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Return (inode, modification time) of every file below a folder: new if it was rewritten."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def finished_parts(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the stamps of a stage's parts that have their final name."""
    found = stamps(folder / "parts")
    return {
        name: found[name]
        for name in found
        if not name.endswith((".part", ".lock", "used", "agreed"))
    }


@contextmanager
def building(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a build as a process of its own, ended at the latest with the block."""
    command = [sys.executable, "-m", "atlas", "build", str(folder / "atlas.toml"), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def freeze(process: subprocess.Popen[str], folder: Path, stage: str, prefix: str = "") -> bool:
    """Freeze a build that has written a part of a stage; False if it was too quick for that."""
    work = folder / "build" / ".work" / stage
    while process.poll() is None:
        # Not rglob: it stumbles over folders that vanish meanwhile.
        if any(name.startswith(prefix) for _, _, names in os.walk(work) for name in names):
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            return process.poll() is None and work.exists() and read_receipt(work) is None
    return False
