"""A build that meets a fault at a named point says so in one line, and the next one ends in the same bytes."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys

import pytest
from building import contents
from faults.atlases import plant_trained
from faults.points import Point, goes_wrong, write_trace
from faults.trials import Subject, try_point, why_not_in_one_line

from atlas.base.files import remove_tree

POINTS = [
    ("write .work/scan/parts/N-H.safetensors.part", errno.EIO),
    ("rename .work/scan/receipt.json.part", errno.ENOSPC),
    ("rename .work/families", -signal.SIGKILL),
    ("mkdir .work/neighbors", errno.EROFS),
    ("write .work/neighbors/image_mean.npy.part", -signal.SIGTERM),
]
AGAIN = [("rename families", -signal.SIGKILL), ("rmdir .work/families.old", -signal.SIGINT)]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A finished planted atlas, built by another process: this one will fork, and OpenMP forbids that."""
    config = plant_trained(tmp_path_factory.mktemp("points") / "planted")
    subprocess.run([sys.executable, "-m", "atlas", "build", config, "families"], check=True)
    return config


@pytest.fixture
def subject(good, tmp_path):
    folder = shutil.copytree(good.parent, tmp_path / "planted", symlinks=True)
    stages = ("embed", "train", "scan", "neighbors", "families")
    return Families(folder / "atlas.toml", stages, contents(folder / "build"))


class Families(Subject):
    """An atlas of which only so much is built."""

    def build(self, *arguments, **fault):
        return super().build(*(arguments or ("families",)), **fault)


@pytest.mark.parametrize(("name", "fault"), POINTS)
def test_a_stage_that_meets_a_fault_is_made_by_the_next_build(subject, name, fault):
    assert try_point(subject, Point(name), fault, again=False) == ""


@pytest.mark.parametrize(("name", "fault"), AGAIN)
def test_a_stage_that_is_made_again_meets_a_fault(subject, name, fault):
    assert try_point(subject, Point(name), fault, again=True) == ""


def test_the_points_are_there(subject):
    log = subject.config.parent / "trace"
    for stage in ("scan", "neighbors", "families"):
        remove_tree(subject.out / stage)
    subject.build(fault=write_trace(subject.out, log))
    names = set(log.read_text().splitlines())
    subject.build("families", "--force", fault=write_trace(subject.out, log))
    names |= set(log.read_text().splitlines())
    assert {name for name, _ in POINTS + AGAIN} <= names


def test_two_faults_one_after_the_other_lose_nothing(subject):
    remove_tree(subject.out / "scan")
    for name, fault in (POINTS[1], POINTS[2]):
        said = subject.build(fault=goes_wrong(subject.out, Point(name), fault))
        assert why_not_in_one_line(said, fault) == ""
    assert subject.why_lost(subject.build()) == ""
