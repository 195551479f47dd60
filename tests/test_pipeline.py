"""The promises of a whole build: nothing twice, nothing lost to a kill, the same bytes always."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from planted import plant

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
    return {name: found[name] for name in found if not name.endswith((".part", ".lock", "used"))}


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


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted atlas, built without interruption. Read it, copy it, never write to it."""
    folder = tmp_path_factory.mktemp("pipeline") / "planted"
    plant(folder)
    assert built_stages(folder) == AFTER_EMBED
    return folder


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    """The built atlas with its inputs, in another folder."""
    return shutil.copytree(built, tmp_path / "copied")


def test_a_whole_build_makes_every_stage_and_a_site(built):
    made = sorted(path.name for path in (built / "build").iterdir() if path.name[0] != ".")
    assert made == sorted(AFTER_EMBED)
    assert all(read_receipt(built / "build" / name) for name in made)
    assert (built / "build/site/index.html").exists()
    assert list((built / "build/.work").iterdir()) == []


def test_a_second_build_does_nothing_and_says_so(built):
    before = stamps(built / "build")
    status, out, err = atlas("build", built / "atlas.toml")
    root = built / "build"
    assert (status, err) == (0, [])
    assert out == [
        f"{root} is up to date: nothing to do",
        f"open {root / 'site/index.html'}, or run: atlas serve --atlas {root}",
    ]
    after = stamps(built / "build")
    del before[".digests.json"], after[".digests.json"]
    assert before == after


def test_an_atlas_moved_with_its_inputs_is_still_up_to_date(copied):
    assert built_stages(copied) == []


def test_two_copies_of_the_same_inputs_give_the_same_bytes(built, tmp_path):
    import torch

    plant(tmp_path / "deeper" / "other")
    threads = torch.get_num_threads()
    changes = ("batch_images=64", "workers=1", "threads=1")
    settings = [word for change in changes for word in ("--set", f"runtime.{change}")]
    built_stages(tmp_path / "deeper" / "other", *settings)
    torch.set_num_threads(threads)
    assert contents(tmp_path / "deeper" / "other" / "build") == contents(built / "build")


@pytest.mark.slow
def test_a_build_killed_in_every_stage_gives_the_same_bytes(tmp_path):
    for name in ("whole", "killed"):
        plant(tmp_path / name)
        config = tmp_path / name / "atlas.toml"
        trained = "[train]\nn_features = 64\nsteps = 1200\nbatch_images = 64\n"
        config.write_text(config.read_text().replace('[sae]\npath = "sae"\n', trained))
    assert built_stages(tmp_path / "whole") == STAGE_NAMES
    root = tmp_path / "killed" / "build"
    killed, parts = [], {}
    for stage in STAGE_NAMES:
        with building(tmp_path / "killed") as process:
            if freeze(process, tmp_path / "killed", stage, MIDDLE.get(stage, "")):
                killed.append(stage)
                parts |= finished_parts(root / ".work" / stage)
    assert built_stages(tmp_path / "killed") == ["site"]
    assert contents(root) == contents(tmp_path / "whole/build")
    assert killed == STAGE_NAMES
    # What was finished before the kill was not made again; train's state is not kept at all.
    after = {**finished_parts(root / "embed"), **finished_parts(root / "scan")}
    after |= finished_parts(root / "catalog") | finished_parts(root / "concepts")
    kept = {name for name in parts if not name.startswith(("state-", "."))}
    assert {name.split("-")[0] for name in kept} >= {"thumbnails", "0000", "map"}
    assert {name: parts[name] for name in kept}.items() <= after.items()


def cut(folder: Path, shards: int, images: int) -> None:
    """Drop all but the first shards from an atlas's inputs."""
    for path in sorted((folder / "vectors").iterdir())[shards:]:
        path.unlink()
    for name in ("images", "pictures"):
        path = folder / f"{name}.parquet"
        pq.write_table(pq.read_table(path).slice(0, images), path)


def test_a_new_shard_is_scanned_alone_and_gives_what_a_fresh_build_gives(built, tmp_path):
    folder = tmp_path / "grown"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("build"))
    cut(folder, shards=2, images=200)
    built_stages(folder)
    before = {name: stamps(folder / "build" / name / "parts") for name in ("embed", "scan")}
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("build"), dirs_exist_ok=True)
    assert built_stages(folder) == AFTER_EMBED
    for name, old in before.items():
        new = stamps(folder / "build" / name / "parts")
        assert len(old) == 2
        assert len(new) == 3
        assert old.items() <= new.items()
    assert contents(folder / "build") == contents(built / "build")


@pytest.mark.parametrize(
    ("change", "rebuilt"),
    [
        ("embed.images_per_shard=7", ["embed"]),  # of no consequence where vectors are given
        ("embed.thumbnail_quality=50", AFTER_EMBED),
        ("scan.top_images=32", AFTER_EMBED[1:]),
        ("neighbors.near_misses=4", ["neighbors", "families", "catalog", "site"]),
        ("catalog.note=other", ["catalog", "site"]),
        ("train.steps=7", []),
        ("runtime.batch_images=8", []),
        ("runtime.threads=1", []),
        ("runtime.workers=3", []),
    ],
)
def test_a_changed_setting_rebuilds_what_depends_on_it_and_no_more(copied, change, rebuilt):
    assert built_stages(copied, "--set", change) == rebuilt


def test_status_says_why_in_words(copied):
    status, out, err = atlas("status", copied / "atlas.toml", "--set", "scan.top_images=32")
    assert (status, err) == (0, [])
    assert out == [
        "embed: current",
        "scan: settings.top_images changed from 64 to 32",
        "neighbors: waits for scan",
        "families: waits for neighbors; waits for scan",
        "concepts: waits for scan",
        "catalog: waits for concepts; waits for families; waits for neighbors; waits for scan",
        "site: waits for catalog; waits for concepts",
    ]


def test_a_terminated_build_says_so_in_a_line_and_goes_on_later(built, copied):
    shutil.rmtree(copied / "build/site")
    with building(copied) as process:
        assert freeze(process, copied, "site")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate()
    assert err.splitlines() == ["site: never built", "", STOPPED]
    assert (process.returncode, out) == (143, "")
    assert built_stages(copied) == ["site"]
    assert contents(copied / "build") == contents(built / "build")


def test_a_signal_during_a_query_ends_it_as_at_any_other_time(built):
    query = "SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(10_000_000) b"
    command = [sys.executable, "-m", "atlas", "sql", query, "--atlas", str(built / "build")]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        time.sleep(3)  # by now it is in the query; if not, the answer is the same
        process.send_signal(signal.SIGTERM)
        answer = process.communicate()
    assert (process.returncode, *answer) == (128 + signal.SIGTERM, "", f"\n{STOPPED}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_killed_build_leaves_no_process_behind(tmp_path):
    plant(tmp_path, n_images=1000, n_shards=1)
    with building(tmp_path, "embed", "--set", "runtime.workers=2") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers: list[str] = []
        while process.poll() is None and len(workers) < 3:  # the third tracks their resources
            workers = children.read_text().split()
    assert process.returncode == -signal.SIGKILL
    for _ in range(6000):  # a minute, where a worker that is never told would wait forever
        running = [worker for worker in workers if is_running(worker)]
        if not running:
            break
        time.sleep(0.01)
    assert running == []


def is_running(process: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_second_build_at_once_is_refused_in_a_line(copied):
    shutil.rmtree(copied / "build/site")
    with building(copied) as process:
        assert freeze(process, copied, "site")
        refused = atlas("build", copied / "atlas.toml")
        process.send_signal(signal.SIGCONT)
        process.communicate()
    line = (
        f"atlas: another build (process {process.pid}) is writing {copied / 'build'}; "
        "wait for it, or stop it"
    )
    assert refused == (1, [], [line])
    assert process.returncode == 0


def test_a_site_built_by_force_has_the_same_bytes(built, copied):
    before = stamps(copied / "build/site")
    assert built_stages(copied, "site", "--force") == ["site"]
    after = stamps(copied / "build/site")
    assert all(before[name] != after[name] for name in before)
    assert contents(copied / "build") == contents(built / "build")


def test_a_catalog_built_by_force_leaves_the_site_alone(built, copied):
    assert built_stages(copied, "catalog", "--force") == ["catalog"]
    assert contents(copied / "build") == contents(built / "build")
    assert built_stages(copied) == []


def test_an_atlas_that_was_never_built_waits_for_its_first_stage(tmp_path):
    plant(tmp_path)
    _, out, _ = atlas("status", tmp_path / "atlas.toml")
    assert out == [
        "embed: never built",
        "scan: waits for embed",
        "neighbors: waits for embed; waits for scan",
        "families: waits for embed; waits for neighbors; waits for scan",
        "concepts: waits for embed; waits for scan",
        "catalog: waits for concepts; waits for embed; waits for families; waits for neighbors; waits for scan",
        "site: waits for catalog; waits for concepts; waits for embed",
    ]


def test_a_lost_output_is_noticed_and_made_again(built, copied):
    (copied / "build/scan/top_images.parquet").unlink()
    _, out, _ = atlas("status", copied / "atlas.toml")
    assert out[1] == "scan: top_images.parquet is missing or changed (1 such files)"
    assert built_stages(copied) == ["scan"]
    assert contents(copied / "build") == contents(built / "build")


def test_a_flipped_bit_is_found_by_verifying_and_mended_by_force(built, copied):
    path = copied / "build/scan/top_images.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    _, out, _ = atlas("status", copied / "atlas.toml", "--verify")
    assert out[:2] == ["embed: current", "scan: top_images.parquet is damaged"]
    assert built_stages(copied, "scan", "--force") == ["scan"]
    assert contents(copied / "build") == contents(built / "build")


@pytest.mark.parametrize("command", ["build", "status"])
def test_a_missing_input_is_named_in_a_line(tmp_path, command):
    plant(tmp_path)
    (tmp_path / "images.parquet").unlink()
    line = (
        f"atlas: no images at {tmp_path / 'images.parquet'}; "
        "put it there or change the configuration"
    )
    assert atlas(command, tmp_path / "atlas.toml") == (1, [], [line])


def test_an_unknown_stage_is_answered_with_the_known_ones(built):
    line = "atlas: no stage train; the stages are embed, scan, neighbors, families, concepts, catalog, site"
    assert atlas("build", built / "atlas.toml", "train") == (1, [], [line])


def test_a_stage_asked_for_is_the_last_that_is_built(tmp_path):
    plant(tmp_path)
    assert built_stages(tmp_path, "scan") == ["embed", "scan"]
