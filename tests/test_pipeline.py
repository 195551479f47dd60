"""The promises of a whole build: nothing twice, nothing lost to a kill, the same bytes always."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from building import AFTER_EMBED, STOPPED, atlas, building, built_stages, contents, freeze, stamps
from planted import plant

from atlas.run.receipt import read_receipt


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
    assert status == 0
    (warning,) = err  # planted decoders do not rebuild the images
    assert warning.startswith("WARNING: the SAE does not fit these images")
    assert out == [
        f"{root} is up to date: nothing to do",
        f"open {root / 'site/index.html'}, or run: atlas serve --atlas {root}",
    ]
    after = stamps(built / "build")
    del before[".digests.json"], after[".digests.json"]
    assert before == after


def test_a_build_of_a_current_atlas_imports_nothing_heavy(built):
    code = (
        "import sys; from atlas.command.app import run; "
        f"status = run(['build', {str(built / 'atlas.toml')!r}]); "
        "print(status, {'torch', 'numba', 'sklearn', 'faiss', 'jinja2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 set()"


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


def without_inputs(folder):
    """Take all that a planted atlas was made from away, but for its configuration."""
    for name in ("vectors", "sae"):
        shutil.rmtree(folder / name)
    for name in ("images.parquet", "pictures.parquet"):
        (folder / name).unlink()


def test_a_receipt_stands_in_for_inputs_that_are_gone(copied):
    without_inputs(copied)
    _, out, _ = atlas("status", copied / "atlas.toml")
    assert out[:3] == [
        "embed: current (inputs not here: vectors, images, pictures; trusted as of the receipt)",
        "scan: current (inputs not here: sae; trusted as of the receipt)",
        "neighbors: current (inputs not here: sae; trusted as of the receipt)",
    ]
    status, out, err = atlas("build", copied / "atlas.toml")
    assert (status, out[0]) == (0, f"{copied / 'build'} is up to date: nothing to do")
    assert err[0] == "inputs not here: vectors, images, pictures, sae; trusted as of the receipts"


def test_a_title_changes_without_any_of_the_inputs_and_gives_the_same_bytes(built, copied):
    changed = ("--set", "catalog.title=Another")
    without_inputs(copied)
    assert built_stages(copied, *changed, "--frozen") == ["catalog", "site"]
    whole = shutil.copytree(built, copied.parent / "whole")
    built_stages(whole, *changed)
    assert contents(copied / "build") == contents(whole / "build")


def test_a_stage_that_must_run_without_its_inputs_names_the_first(copied):
    without_inputs(copied)
    status, _, err = atlas("build", copied / "atlas.toml", "--set", "scan.top_images=3")
    line = f"atlas: no sae at {copied / 'sae'}; put it there or change the configuration"
    assert (status, err) == (1, [line])


def test_frozen_refuses_a_stale_stage_and_says_what_to_run_elsewhere(copied):
    before = stamps(copied / "build")
    changed = ("--set", "scan.top_images=3", "--frozen")
    status, out, err = atlas("build", copied / "atlas.toml", *changed)
    line = (
        "atlas: scan is stale (settings.top_images changed from 64 to 3), and only catalog, site "
        "may run here; where its inputs are, run: atlas build CONFIG scan, then atlas bundle"
    )
    assert (status, out, err) == (1, [], [line])
    assert stamps(copied / "build") == before
    allowed = ("--allow", "scan,neighbors,families,concepts,catalog,site")
    assert built_stages(copied, *changed, *allowed)[0] == "scan"


def test_a_dry_run_says_what_would_run_and_writes_nothing(copied):
    before = stamps(copied)
    changed = ("--set", "catalog.title=Another", "--dry-run")
    status, out, _ = atlas("build", copied / "atlas.toml", *changed)
    assert (status, out) == (
        0,
        [
            "catalog: settings.title changed from SYNTHETIC planted atlas to Another",
            "site: waits for catalog",
        ],
    )
    assert stamps(copied) == before


def test_status_can_tell_scripts_by_its_exit_code(copied):
    config = copied / "atlas.toml"
    assert atlas("status", config, "--exit-code")[0] == 0
    assert atlas("status", config, "--exit-code", "--set", "catalog.title=Another")[0] == 1
    assert atlas("status", config, "--set", "catalog.title=Another")[0] == 0
