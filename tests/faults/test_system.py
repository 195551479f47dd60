"""What the system refuses is one line in every stage, and the atlas that was there stays as it was."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys

import pytest
from building import AFTER_EMBED, contents
from faults.harness import can_mount, in_child, small_disk
from planted import plant

from atlas.pipeline import STAGES

STAGES_BUILT = AFTER_EMBED
NOBODY = 65534
ROOMS = (8_000, 60_000, 300_000)
"""Bytes that are left on a disk, besides none."""


def nothing():
    """No limit."""


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A finished planted atlas, built by another process: this one will fork, and OpenMP forbids that."""
    folder = tmp_path_factory.mktemp("good") / "planted"
    plant(folder)
    subprocess.run([sys.executable, "-m", "atlas", *build_of(folder)], check=True)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    tmp_path.chmod(0o755)
    return shutil.copytree(good, tmp_path / "planted", symlinks=True)


def build_of(folder, stage="", *more):
    return ["build", str(folder / "atlas.toml"), *([stage, "--force"] if stage else []), *more]


def no_bytes():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


@pytest.mark.parametrize("stage", STAGES_BUILT)
def test_a_limit_of_no_bytes_is_one_line(copy, stage):
    before = contents(copy / "build" / stage)
    said = in_child(build_of(copy, stage), no_bytes)
    assert said.in_one_line(), said.err
    assert contents(copy / "build" / stage) == before


needs_mount = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@needs_mount
@pytest.mark.parametrize("room", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in ROOMS)])
@pytest.mark.parametrize("stage", STAGES_BUILT)
def test_a_full_disk_is_one_line_at_once_and_later(copy, tmp_path, stage, room):
    if not can_mount(tmp_path / "try"):
        pytest.skip("may not mount")
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        folder = shutil.copytree(copy, disk / "planted", symlinks=True)
        out = folder / "build"
        fill(disk, room)
        before = contents(out / stage)
        said = in_child(build_of(folder, stage), nothing)
        if said.status:
            assert said.in_one_line(), said.err
            assert "no room to write" in said.told[0]
            assert contents(out / stage) == before
        assert said.status or room


def fill(disk, room):
    try:
        with (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
    except OSError:
        pass
    size = (disk / "filler").stat().st_size
    if room:
        os.truncate(disk / "filler", max(0, size - room))


@needs_mount
@pytest.mark.parametrize("stage", [*STAGES_BUILT, ""])
def test_a_read_only_file_system_is_one_line(copy, tmp_path, stage):
    if not can_mount(tmp_path / "try"):
        pytest.skip("may not mount")
    with small_disk(tmp_path / "disk", 64 << 20, read_only=copy) as disk:
        said = in_child(build_of(disk / "planted", stage), nothing)
        assert said.in_one_line(), said.err
        assert "Read-only file system" in said.told[0]


def as_nobody():
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


FORBIDDEN = ("build", "vectors/0000.npy", "images.parquet", "sae/sae.safetensors", "atlas.toml")


@needs_mount
@pytest.mark.parametrize(
    "name", [*FORBIDDEN, "build/imported/names.jsonl", "build/scan/receipt.json"]
)
def test_what_this_user_may_not_read_is_one_line(copy, tmp_path, name):
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    path = copy / name
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_text("")
    path.chmod(0)
    if not path.is_dir():
        (copy / "build/.digests.json").unlink(missing_ok=True)
    said = in_child(build_of(copy), as_nobody)
    assert said.in_one_line(), said.err
    assert "Permission denied" in said.told[0]


@needs_mount
def test_a_folder_that_this_user_may_not_write_is_one_line(copy, tmp_path):
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for stage in STAGES_BUILT:
        (tmp_path / "said").unlink(missing_ok=True)
        said = in_child(build_of(copy, stage), as_nobody)
        assert said.in_one_line(), said.err
        assert "Permission denied" in said.told[0]


SWAPPED = {
    "folder": (".lock", ".holder", ".digests.json", ".settings.json", ".site.json"),
    "file": ("scan", "site", ".work", "catalog", "imported"),
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in SWAPPED.items() for name in names]
)
def test_a_file_for_a_folder_and_the_reverse_are_one_line_or_mended(copy, tmp_path, kind, name):
    path = copy / "build" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
        (path / "inside").write_text("kept")
    else:
        path.write_text("kept")
    said = in_child(build_of(copy, "site"), nothing)
    assert said.status == 0 or said.in_one_line(), said.err
    if said.status:
        assert name in said.told[0]


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("name", ["vectors/0000.npy", "images.parquet", "sae", "atlas.toml"])
def test_an_input_of_the_wrong_kind_is_one_line(copy, tmp_path, kind, name):
    path = copy / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text("")
    said = in_child(build_of(copy), nothing)
    assert (said.status == 0 and name == "atlas.toml" and kind == "file") or said.in_one_line(), (
        said.err
    )


def test_an_out_dir_that_is_a_file_is_one_line(copy, tmp_path):
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file/below"):
        said = in_child(build_of(copy, "", "--set", f"out_dir={out}"), nothing)
        assert said.in_one_line(), said.err


DAMAGED = {
    "not UTF-8": b"\xff\xfe{}",
    "empty": b"",
    "a list": b"[]",
    "too little": b'{"plan": {}}',
    "deep": b"[" * 100_000,
    "wrong files": b'{"plan": {"version": 1, "settings": {}, "inputs": {}}, "files": {"a": 3}, "outputs": ""}',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("stage", ["scan", "catalog"])
def test_a_damaged_receipt_is_said_and_its_stage_made_from_its_parts(copy, tmp_path, stage, data):
    whole = contents(copy / "build")
    (copy / "build" / stage / "receipt.json").write_bytes(data)
    said = in_child(["status", str(copy / "atlas.toml")], nothing)
    assert f"{stage}: its receipt.json is damaged" in said.err
    said = in_child(build_of(copy), nothing)
    assert said.status == 0, said.err
    assert contents(copy / "build") == whole


def test_every_stage_of_the_pipeline_is_tried_here_or_in_another_test():
    elsewhere = {"convert", "train", "compare", "names", "icons", "where"}
    assert {stage.name for stage in STAGES} == {*STAGES_BUILT, *elsewhere}
