"""The promises of a build: skip what is current, never publish half, recover from a kill."""

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from copying import COPY, Settings, run, source
from safetensors.numpy import save_file

from atlas.base.errors import BusyError, RoomError
from atlas.base.files import DigestCache
from atlas.run.build import locked
from atlas.run.receipt import RECEIPT, make_plan, read_receipt
from atlas.run.stage import Stage


def test_a_second_build_does_nothing(tmp_path, words):
    assert run(COPY, tmp_path, words) == ("never built",)
    assert run(COPY, tmp_path, words) == ()


def test_a_crash_leaves_the_previous_outputs(tmp_path, words):
    run(COPY, tmp_path, words)

    def crash(job):
        (job.out_dir / "top.txt").write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(Stage("copy", "run", 2, ("words",)), tmp_path, words, work=crash)
    assert (tmp_path / "atlas/copy/top.txt").read_text() == "abc"


@contextmanager
def small_files(most_bytes):
    """Let no file grow beyond a size, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_in_a_database(path):
    with duckdb.connect() as db:
        db.execute(f"ATTACH '{path}' AS a")
        db.execute("CREATE TABLE a.t AS SELECT random() r FROM range(100000)")


LARGE = np.arange(1 << 16, dtype=np.float64)
WRITERS = {
    "bytes": lambda path: path.write_bytes(LARGE.tobytes()),
    "numpy": lambda path: np.save(path, LARGE),
    "parquet": lambda path: pq.write_table(pa.table({"a": LARGE}), path),
    "safetensors": lambda path: save_file({"a": LARGE}, path),
    "duckdb": save_in_a_database,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_one_line_and_leaves_the_previous_outputs(tmp_path, words, write):
    run(COPY, tmp_path, words)
    newer = Stage("copy", "run", 2, ("words",))

    def fill(job):
        write(job.out_dir / "large.npy")

    with small_files(1 << 16), pytest.raises(RoomError) as told:
        run(newer, tmp_path, words, work=fill)
    line = str(told.value)
    assert line.startswith(f"copy: no room to write in {tmp_path / 'atlas'} (")
    assert line.endswith("; make room and run the same command: finished parts are kept")
    assert "\n" not in line
    assert [p.name for p in sorted((tmp_path / "atlas/copy").iterdir())] == [RECEIPT, "top.txt"]
    assert run(newer, tmp_path, words) == ("version 1 -> 2",)


@pytest.mark.parametrize("renames_done", [0, 1])
def test_a_kill_between_the_two_renames_is_mended(tmp_path, words, renames_done):
    run(COPY, tmp_path, words)
    root = tmp_path / "atlas"
    newer = Stage("copy", "run", version=2, needs=("words",))
    sources = {"words": source(words, tmp_path)}
    plan = make_plan(newer, Settings(), sources)
    work = root / ".work" / "copy"
    work.mkdir(parents=True)
    (work / "top.txt").write_text("new")
    receipt = read_receipt(root / "copy") | {"plan": plan}
    (work / "receipt.json").write_text(json.dumps(receipt))
    if renames_done:
        (root / "copy").rename(root / ".work" / "copy.old")
    assert run(newer, tmp_path, words) == ()
    assert (root / "copy/top.txt").read_text() == "new"
    assert [path.name for path in (root / ".work").iterdir()] == []


def test_a_lost_publication_brings_the_old_outputs_back(tmp_path, words):
    run(COPY, tmp_path, words)
    root = tmp_path / "atlas"
    (root / ".work").mkdir(exist_ok=True)
    (root / "copy").rename(root / ".work" / "copy.old")
    assert run(COPY, tmp_path, words) == ()


def test_two_builds_exclude_each_other(tmp_path):
    with locked(tmp_path), pytest.raises(BusyError) as caught, locked(tmp_path):
        pass
    assert f"another build (process {os.getpid()}) is writing {tmp_path}" in str(caught.value)
    with locked(tmp_path):
        pass


HOLDS = """
import sys, time
from pathlib import Path
from atlas.run.build import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_is_free_once_that_is_dead(tmp_path):
    command = [sys.executable, "-c", HOLDS, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(BusyError, match=rf"process {holder.pid}\)"), locked(tmp_path):
                pass
        finally:
            holder.kill()
    assert (tmp_path / ".holder").read_text() == f"{holder.pid}\n"
    with locked(tmp_path):
        assert (tmp_path / ".holder").read_text() == f"{os.getpid()}\n"


def test_a_clock_that_was_set_back_hides_no_change(tmp_path, words):
    run(COPY, tmp_path, words)
    cache = DigestCache(tmp_path / "digests.json")
    before = cache.digest(words)
    text = words.read_text()
    words.write_text(text[:-1] + chr(ord(text[-1]) ^ 1))
    os.utime(words, (0, 0))
    assert cache.digest(words) != before


def test_an_atlas_behind_a_link_is_one_atlas(tmp_path, words):
    """Built by its own name and by a link's, it is current, and locked for both."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "atlas").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert run(COPY, tmp_path, words)
    assert (tmp_path / "disk/copy/top.txt").exists()
    assert run(COPY, tmp_path, words) == ()
    with (
        locked(tmp_path / "disk"),
        pytest.raises(BusyError, match=f"process {os.getpid()}"),
        locked(tmp_path / "atlas"),
    ):
        pass


def test_a_stage_moved_to_another_disk_is_current_behind_its_link_and_never_emptied(
    tmp_path, words
):
    """A new build replaces the link by a folder; what the link led to is its owner's."""
    run(COPY, tmp_path, words)
    stage, moved = tmp_path / "atlas" / "copy", tmp_path / "disk"
    stage.rename(moved)
    stage.symlink_to(moved, target_is_directory=True)
    assert run(COPY, tmp_path, words) == ()
    before = {path.name: path.read_bytes() for path in moved.iterdir() if path.is_file()}
    assert run(COPY, tmp_path, words, settings=Settings(k=2))
    assert (stage / "top.txt").read_text() == words.read_text()[:2]
    assert not stage.is_symlink()
    assert {path.name: path.read_bytes() for path in moved.iterdir() if path.is_file()} == before
    assert run(COPY, tmp_path, words, settings=Settings(k=2)) == ()


def test_an_input_behind_a_link_that_leads_elsewhere_now_has_changed(tmp_path, words):
    other = tmp_path / "other.txt"
    other.write_text("zyx" + words.read_text()[3:])
    for path in (words, other):
        os.utime(path, (1, 1))  # of one size and time
    link = tmp_path / "link.txt"
    link.symlink_to(words)
    run(COPY, tmp_path, link)
    assert run(COPY, tmp_path, link) == ()
    link.unlink()
    link.symlink_to(other)
    assert run(COPY, tmp_path, link)
    assert (tmp_path / "atlas/copy/top.txt").read_text() == "zyx"


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_is_untouched(tmp_path):
    (tmp_path / "precious").write_text("all of it")
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas/.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path / "atlas"):
        pass
    assert (tmp_path / "precious").read_text() == "all of it"
