"""Plans and receipts: what is stale, what is damaged, which inputs are missing."""

from pathlib import Path

import pytest
from copying import COPY, Settings, run

from atlas.base.errors import InputError
from atlas.base.files import DigestCache
from atlas.run.receipt import outside_source, read_receipt, why_stale
from atlas.run.stage import Stage


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


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        outside_source("images", Path("/nowhere/x.parquet"), (), DigestCache(tmp_path / "c"))
    wanted = "no images at /nowhere/x.parquet; put it there or change the configuration"
    assert str(caught.value) == wanted


def test_a_damaged_receipt_says_what_to_do(tmp_path):
    (tmp_path / "receipt.json").write_text("{")
    with pytest.raises(InputError, match=r"is damaged .*; build again"):
        read_receipt(tmp_path)
    assert why_stale({}, tmp_path) == ["its receipt.json is damaged"]
