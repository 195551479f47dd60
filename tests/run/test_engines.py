from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from planted import make_job, plant

from atlas.base.files import list_files
from atlas.run.engines import Report, make_on_ray
from atlas.run.stage import Job

IGNORED = ("receipt.json",)


def build(root: Path, *words: str, **env: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "atlas", "build", str(root / "atlas.toml"), "scan", *words]
    return subprocess.Popen(command, env=os.environ | env, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    assert b"Traceback" not in errors, (
        errors.decode()
    )  # a worker's, whose parts the build would make


def all_bytes(root: Path) -> dict[str, bytes]:
    folder = root / "build" / "scan"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in list_files(folder)
        if path.name not in IGNORED
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return the bytes of a scan by one process."""
    root = tmp_path_factory.mktemp("alone") / "in"
    plant(root, n_images=240, n_shards=4)
    finish(build(root, "--workers", "1"))
    return all_bytes(root)


def test_worker_processes_give_the_same_bytes(tmp_path, alone):
    plant(tmp_path / "in", n_images=240, n_shards=4)
    finish(build(tmp_path / "in", "--workers", "2"))
    assert all_bytes(tmp_path / "in") == alone


def test_a_killed_worker_costs_nothing_but_time(tmp_path, alone):
    root = tmp_path / "in"
    plant(root, n_images=240, n_shards=4)
    building = build(root, "--workers", "2")
    deadline = time.monotonic() + 120
    parts = root / "build/.work/scan/parts"
    workers: list[int] = []
    while not list(parts.glob("0*.lock")):  # one of them has begun a part
        workers = scan_workers(building.pid) or workers
        assert building.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    # A worker that has ended meanwhile can still be killed: the build reaps them all at its end.
    os.kill((scan_workers(building.pid) or workers)[0], signal.SIGKILL)
    finish(building)
    assert all_bytes(root) == alone


def scan_workers(build_pid: int) -> list[int]:
    """Return the processes that a build has started to make parts."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            words = (path.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == build_pid and b"from atlas.run.engines import work" in words:
            found.append(int(path.parent.name))
    return found


def test_ranks_share_a_scan(tmp_path, alone):
    root = tmp_path / "in"
    plant(root, n_images=240, n_shards=4)
    subprocess.run(
        [sys.executable, "-m", "atlas", "build", str(root / "atlas.toml"), "embed"], check=True
    )
    ranks = [build(root, "--engine", "ranks", RANK=str(rank), WORLD_SIZE="2") for rank in range(2)]
    for process in ranks:
        finish(process)
    assert all_bytes(root) == alone


def test_a_ray_cluster_gives_the_same_bytes(tmp_path, alone):
    root = tmp_path / "in"
    plant(root, n_images=240, n_shards=4)
    finish(build(root, "--engine", "ray", "--address", "local", "--workers", "1"))
    assert all_bytes(root) == alone


def test_each_task_of_a_cluster_with_cards_has_a_card_of_its_own(tmp_path):
    ray = pytest.importorskip("ray")
    seen = tmp_path / "seen"

    def note_card(job: Job, number: int, report: Report) -> bool:
        (tmp_path / f"{number}-{os.getpid()}").write_text(
            f"{os.environ['CUDA_VISIBLE_DEVICES']} {job.runtime.device}"
        )
        return True

    job = make_job(
        "scan", None, {}, seen, device="cuda:1", engine="ray", address="local", workers=2
    )
    started = ray.init
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", lambda **how: started(**how, num_gpus=2))
        make_on_ray(job, note_card, range(4), lambda counts: None)
    found = {path.read_text() for path in tmp_path.glob("*-*")}
    assert found <= {"0 cuda", "1 cuda"}
    assert len(list(tmp_path.glob("*-*"))) == 4
