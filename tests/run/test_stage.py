"""The promises of a stage: skip, explain, resume, extend, never publish half."""

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from atlas.base.errors import BusyError, InputError, RoomError
from atlas.base.files import DigestCache, digest_json
from atlas.base.progress import Progress
from atlas.run.stage import (
    RECEIPT,
    Stage,
    build,
    hold,
    make_plan,
    outside_source,
    read_receipt,
    why_stale,
)
from atlas.settings.runtime import Runtime
from atlas.settings.section import Section


class Settings(Section):
    k: int = 3


COPY = Stage("copy", "run", version=1, needs=("words",))


def copy_k(job):
    text = job.inputs["words"].read_text()
    (job.out_dir / "top.txt").write_text(text[: job.settings.k])


def source(path, tmp_path, name="words"):
    return outside_source(name, path, (path,), DigestCache(tmp_path / "cache.json"))


def run(stage, tmp_path, words, work=copy_k, settings=None, **more):
    return build(
        stage,
        work,
        settings=settings or Settings(),
        runtime=Runtime(),
        sources={"words": source(words, tmp_path)},
        root=tmp_path / "atlas",
        progress=Progress(silent=True),
        **more,
    ).reasons


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("abcdef")
    return path


def test_a_second_build_does_nothing(tmp_path, words):
    assert run(COPY, tmp_path, words) == ("never built",)
    assert run(COPY, tmp_path, words) == ()


def test_each_cause_of_staleness_is_named(tmp_path, words):
    run(COPY, tmp_path, words)
    assert run(COPY, tmp_path, words, settings=Settings(k=4)) == ("settings.k changed from 3 to 4",)
    words.write_text("zbcdefg")
    assert run(COPY, tmp_path, words, settings=Settings(k=4)) == ("input words changed",)
    newer = Stage("copy", "run", version=2, needs=("words",))
    assert run(newer, tmp_path, words, settings=Settings(k=4)) == ("version 1 -> 2",)
    (tmp_path / "atlas/copy/top.txt").unlink()
    missing = ("top.txt is missing or changed (1 such files)",)
    assert run(newer, tmp_path, words, settings=Settings(k=4)) == missing
    assert run(newer, tmp_path, words, settings=Settings(k=4), force=True) == ("forced",)


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


def in_parts(calls, crash_at=None, letters="xyz"):
    def work(job):
        for letter in letters:

            def make(path, letter=letter):
                calls.append(letter)
                if letter == crash_at:
                    raise RuntimeError("power cut")
                path.write_text(letter * job.settings.k)

            job.part(letter, ".txt", {"letter": letter, "k": job.settings.k}, make)

    return work


def test_finished_parts_survive_a_crash(tmp_path, words):
    calls = []
    with pytest.raises(RuntimeError):
        run(COPY, tmp_path, words, work=in_parts(calls, crash_at="y"))
    run(COPY, tmp_path, words, work=in_parts(calls))
    assert calls == ["x", "y", "y", "z"]


def test_new_parts_extend_a_published_stage(tmp_path, words):
    calls = []
    run(COPY, tmp_path, words, work=in_parts(calls))
    words.write_text("more input")
    run(COPY, tmp_path, words, work=in_parts(calls, letters="xyzw"))
    assert calls == ["x", "y", "z", "w"]


def test_parts_of_old_settings_are_dropped(tmp_path, words):
    run(COPY, tmp_path, words, work=in_parts([]))
    run(COPY, tmp_path, words, work=in_parts([]), settings=Settings(k=1))
    parts = [path.read_text() for path in (tmp_path / "atlas/copy/parts").iterdir()]
    assert sorted(parts) == ["x", "y", "z"]


def test_a_forced_build_makes_every_part_again(tmp_path, words):
    calls = []
    run(COPY, tmp_path, words, work=in_parts(calls))
    run(COPY, tmp_path, words, work=in_parts(calls), force=True)
    assert calls == ["x", "y", "z"] * 2


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


def test_downstream_skips_when_upstream_rebuilds_the_same_bytes(tmp_path, words):
    run(COPY, tmp_path, words)
    before = read_receipt(tmp_path / "atlas/copy")["outputs"]
    words.write_text("abcXYZ")  # the same first three letters
    assert run(COPY, tmp_path, words) == ("input words changed",)
    assert read_receipt(tmp_path / "atlas/copy")["outputs"] == before


def test_unstable_files_stay_out_of_the_outputs_digest(tmp_path, words):
    stage = Stage("copy", "run", 1, ("words",), unstable=("noise.bin",))
    run(stage, tmp_path, words, work=lambda job: (job.out_dir / "noise.bin").write_text("1"))
    before = read_receipt(tmp_path / "atlas/copy")
    run(
        stage,
        tmp_path,
        words,
        work=lambda job: (job.out_dir / "noise.bin").write_text("2"),
        force=True,
    )
    after = read_receipt(tmp_path / "atlas/copy")
    assert before["outputs"] == after["outputs"]
    assert before["files"] != after["files"]


def test_two_builds_exclude_each_other(tmp_path):
    with hold(tmp_path), pytest.raises(BusyError) as caught, hold(tmp_path):
        pass
    assert "another build (process " in str(caught.value)
    with hold(tmp_path):
        pass


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        outside_source("images", Path("/nowhere/x.parquet"), (), DigestCache(tmp_path / "c"))
    wanted = "no images at /nowhere/x.parquet; put it there or change the configuration"
    assert str(caught.value) == wanted


def test_a_damaged_receipt_says_what_to_do(tmp_path):
    (tmp_path / "receipt.json").write_text("{")
    with pytest.raises(InputError, match=r"is damaged .*; delete the folder"):
        why_stale({}, tmp_path)


@given(st.dictionaries(st.text(), st.integers()))
def test_a_digest_ignores_the_order_of_keys(mapping):
    assert digest_json(mapping) == digest_json(dict(reversed(mapping.items())))


def test_the_digest_cache_notices_a_changed_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("one")
    cache = DigestCache(tmp_path / "cache.json")
    first = cache.digest(path)
    cache.save()
    path.write_text("three")
    assert DigestCache(tmp_path / "cache.json").digest(path) != first
