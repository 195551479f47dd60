"""Folders removed while a stage runs, and stops inside a library: one line or none, and never a hang."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest
from building import MIDDLE, building, freeze
from planted import plant

from atlas.base.errors import FaultError
from atlas.run import watch
from atlas.run.watch import watched

REMOVED = [
    ("scan", "scan"),
    ("scan", ".."),
    *((s, "") for s in ("embed", "scan", "site")),
    pytest.param("catalog", "", marks=pytest.mark.slow),
]
"""(stage, what is removed while it runs): its own folder, the whole atlas, or the work folder."""
LONGEST_S = 90


@pytest.mark.parametrize(("stage", "gone"), REMOVED)
def test_a_folder_removed_while_a_stage_runs_is_one_line_and_never_a_hang(tmp_path, stage, gone):
    plant(tmp_path)
    work = tmp_path / "build/.work"
    with building(tmp_path) as process:
        assert freeze(process, tmp_path, stage, MIDDLE.get(stage, ""))
        shutil.rmtree((work / gone).resolve())
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=LONGEST_S)
    told = [line for line in err.splitlines() if line.startswith("atlas: ")]
    assert process.returncode == 1, err
    assert len(told) == 1, err
    assert "Traceback" not in err
    assert "was removed while it ran; run the same command again" in told[0]


WAITS = """
import sys, time
from pathlib import Path
from atlas.run import watch
watch.EVERY_S, watch.GRACE_S = 0.05, 0.2
with watch.watched("scan", Path(sys.argv[1]), []):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_stage_that_waits_for_ever_ends_with_its_folder(tmp_path):
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", WAITS, tmp_path / "work"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        (tmp_path / "work").rmdir()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    folder = tmp_path / "work"
    assert err == f"\natlas: scan: {folder} was removed while it ran; run the same command again\n"


def test_a_work_folder_that_was_made_again_holds_too_little(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    work = tmp_path / "work"
    work.mkdir()

    def lose():
        with watched("scan", work, []):
            work.rename(tmp_path / "old")
            work.mkdir()

    with pytest.raises(FaultError, match="was removed while it ran"):
        lose()


CALLS_BACK = """
import ctypes, os, signal, sys
import typer
from atlas.command import app as command
from atlas.command.options import app

@app.command()
def sort() -> None:
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    def compare(a, b):
        os.kill(os.getpid(), int(sys.argv[2]))
        return 0
    numbers = (ctypes.c_int * 2)(2, 1)
    ctypes.CDLL(None).qsort(numbers, 2, 4, kind(compare))
    if len(sys.argv) > 3:
        raise KeyError("what the library makes of it")

sys.exit(command.run([sys.argv[1]]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("more", [[], ["raises"]])
def test_a_stop_inside_a_callback_of_a_library_is_quiet(number, more):
    command = [sys.executable, "-c", CALLS_BACK, "sort", str(int(number)), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stderr == "\natlas: stopped; run the same command to resume\n"
    assert done.returncode == 128 + number
