"""What is said of a machine and of a build before anything runs."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import plant

from atlas.command.app import run
from atlas.pipeline import STAGES
from atlas.prepare import doctor
from atlas.prepare.doctor import examine
from atlas.prepare.estimates import ESTIMATES
from atlas.prepare.machine import Card, Machine, card_tflops, look_at_machine
from atlas.prepare.plan import make_plan
from atlas.sae.encoding import Encoder
from atlas.settings.load import load_config

PRESETS = sorted((Path(__file__).parents[2] / "data" / "presets").glob("*.toml"))
BARE = Machine(2, 200.0, ())
CARDED = Machine(8, 800.0, (Card("NVIDIA A100-SXM4-80GB", 80 * 10**9, 120.0),))
SMALL = Machine(8, 800.0, (Card("NVIDIA GeForce RTX 3060", 12 * 10**9, 40.0),))


def test_a_machine_that_can_build_is_told_so_line_by_line(tmp_path, capsys):
    plant(tmp_path)
    findings = examine(tmp_path / "atlas.toml", "cpu")
    assert all(finding.ok for finding in findings), findings
    scan = [f for f in findings if f.what.startswith("exact scan")]
    assert len(scan) == 1
    assert re.fullmatch(
        r"[\d,]+ images/s at 4,096 features of width 256; "
        r"[\d,]+ firings, 0 unlike float64's; largest difference from the CPU 0\.0e\+00, "
        r"of the CPU from float64 \d\.\de-\d\d \(allowed 1e-06\)",
        scan[0].found,
    )
    assert run(["doctor", str(tmp_path / "atlas.toml")]) == 0
    assert all(line.startswith("ok") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("wrong", ["nothing", "missing", "off", "too much"])
@pytest.mark.parametrize("screen", ["bf16", "float32"])  # what a card is tried with
def test_a_device_that_computes_something_else_is_found_out(monkeypatch, wrong, screen):
    real, calls = Encoder.fire_prepared, []
    factor = {"nothing": 1, "missing": 0, "off": 1 + 1e-4, "too much": 1}[wrong]

    def spoil(encoder, inputs):
        found = real(encoder, inputs)
        calls.append(len(inputs))
        if len(calls) != 2:  # the second call is the device's
            return found
        activation, feature = found.activation.copy(), found.feature.copy()
        activation[len(activation) // 2] *= np.float32(factor)
        if wrong == "too much":  # one firing of the first image in a place where nothing fires
            feature[0] = np.setdiff1d(np.arange(512), feature[found.image == 0])[0]
        return replace(found, activation=activation, feature=feature)

    monkeypatch.setattr(Encoder, "fire_prepared", spoil)
    monkeypatch.setattr(doctor, "PLANTED_SHAPE", (64, 512, 64))
    assert doctor.screens_of("cuda:0") == ("bf16", "float32")
    finding = doctor._device("cpu", screen)
    assert calls == [64, 64, 64]
    assert finding.ok == (wrong == "nothing")
    assert finding.fix


def test_a_screen_without_its_margin_is_found_out(monkeypatch):
    """What a wrong bound, or partial sums in bfloat16 on a card, would do."""
    monkeypatch.setattr("atlas.sae.float_screens.HALF", -0.5)
    finding = doctor._device("cpu", "bf16")
    assert not finding.ok
    assert " 0 unlike" not in finding.found


def test_what_is_wrong_comes_with_what_mends_it(tmp_path, capsys):
    plant(tmp_path)
    (tmp_path / "images.parquet").unlink()
    assert run(["doctor", str(tmp_path / "atlas.toml")]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("ok")]
    assert len(bad) == 1
    assert "images" in bad[0]
    assert ";" in bad[0]


def test_a_device_that_is_not_there_is_a_finding_not_a_traceback(capsys):
    assert run(["doctor", "--device", "cuda:7"]) == 1
    assert any("cuda:7" in line for line in capsys.readouterr().out.splitlines())


def test_the_doctor_looks_at_the_device_that_a_configuration_names(tmp_path):
    path = tmp_path / "atlas.toml"
    path.write_text('[runtime]\ndevice = "cuda:7"\n')
    assert doctor._device_named(path) == "cuda:7"
    assert doctor._device_named(None) == doctor._device_named(tmp_path / "none.toml") == "cpu"


def test_the_plan_grows_with_the_images_and_knows_its_stages(tmp_path):
    small = plant(tmp_path / "small", n_images=200)
    large = plant(tmp_path / "large", n_images=2000)
    plans = [make_plan(load_config(p.folder / "atlas.toml"), BARE) for p in (small, large)]
    for before, after in zip(plans[0].stages, plans[1].stages, strict=True):
        assert before.stage == after.stage
        assert before.time_s <= after.time_s
        assert before.disk_bytes <= after.disk_bytes
    assert [e.stage for e in plans[0].stages] == [
        "embed",
        "scan",
        "neighbors",
        "families",
        "concepts",
        "catalog",
        "site",
    ]
    assert plans[0].missing == ()


def test_the_plan_names_what_is_missing_and_runs_nothing(tmp_path, capsys):
    plant(tmp_path)
    (tmp_path / "pictures.parquet").unlink()
    assert run(["plan", str(tmp_path / "atlas.toml")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("atlas: no pictures at ")
    assert not (tmp_path / "build").exists()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A cache of the Hub that holds nothing."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


def test_every_stage_has_an_estimate():
    assert set(ESTIMATES) == {stage.name for stage in STAGES}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_says_what_to_fetch_with_sizes_and_what_is_missing(path, nowhere, capsys):
    config = load_config(path)
    plan = make_plan(config, BARE)
    fetched = [fetch.what for fetch in plan.fetches]
    assert fetched[0] == "encoder"
    assert fetched[-1] == "pictures"
    assert all(fetch.size_bytes > 0 and fetch.license for fetch in plan.fetches)
    assert "{to}" not in str(plan.fetches)
    for name in ("encoder", "pictures", "CUDA card"):
        assert any(f"no {name}" in line for line in plan.missing), plan.missing
    assert all("; " in line for line in plan.missing)
    assert run(["plan", str(path)]) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("atlas: no pictures at ")
    assert "to fetch\tsize\tlicense\tcommand" in said.out
    assert not config.out_dir.exists()


def test_the_presets_are_the_documented_ones():
    page = (Path(__file__).parents[2] / "docs" / "real-models.md").read_text()
    assert len(PRESETS) == 5
    for path in PRESETS:
        assert f"data/presets/{path.name}" in page


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_the_site_of_a_preset_fits_a_free_host(path, nowhere):
    assert "cloudflare-free: fits." in make_plan(load_config(path), BARE).notes


def test_near_misses_among_millions_are_found_by_an_index(nowhere):
    path = next(path for path in PRESETS if path.stem == "kandinsky22")

    def took(images: int):
        config = load_config(path, [f"expected.images={images}"])
        return next(s for s in make_plan(config, BARE).stages if s.stage == "neighbors")

    few, more, many = took(100_000), took(100_001), took(5_000_000)
    assert "all images" in few.basis
    assert "1/32" in more.basis
    assert few.memory_bytes > more.memory_bytes
    assert many.memory_bytes < 4e9
    scan = next(s for s in make_plan(load_config(path), BARE).stages if s.stage == "scan")
    assert many.time_s < 2 * scan.time_s


def test_a_card_takes_the_time_from_the_stages_that_it_runs(nowhere):
    config = load_config(next(path for path in PRESETS if path.stem == "kandinsky22"))
    bare, carded = (
        {stage.stage: stage.time_s for stage in make_plan(config, machine).stages}
        for machine in (BARE, CARDED)
    )
    assert carded["icons"] == pytest.approx(62_296 * 22_500 / 120_000)
    assert bare["icons"] == pytest.approx(62_296 * 22_500 / 200)
    assert carded["catalog"] == bare["catalog"]
    missing = make_plan(config, SMALL).missing
    assert any("a card of 12 GB, about 16 GB are wanted" in line for line in missing)
    assert not any("a card of" in line for line in make_plan(config, CARDED).missing)


def test_training_is_reckoned_by_what_a_step_multiplies_and_what_is_held(nowhere):
    path = next(path for path in PRESETS if path.stem == "from_scratch")

    def trained(*changes: str):
        stages = make_plan(load_config(path, changes), BARE).stages
        return next(stage for stage in stages if stage.stage == "train")

    relu = trained()
    assert relu.time_s == pytest.approx(2 * 6 * 40_000 * 2048 * 49_152 * 768 / 200e9)
    assert trained("train.activation=topk").time_s == pytest.approx(relu.time_s / 6)
    saved = relu.memory_bytes - trained("train.buffer_images=100_000").memory_bytes
    assert saved == 4 * (262_144 - 100_000) * 768


def test_what_is_there_is_not_fetched_again(tmp_path, nowhere):
    planted = plant(tmp_path / "it")
    path = planted.folder / "atlas.toml"
    listed = '\n[[downloads]]\nwhat = "pictures"\nto = "x"\ncommand = "get {to}"\nsize_gb = 2\n'
    path.write_text(path.read_text() + listed)
    assert make_plan(load_config(path), BARE).fetches == ()
    (planted.folder / "pictures.parquet").unlink()
    plan = make_plan(load_config(path), BARE)
    assert [(f.what, f.size_bytes) for f in plan.fetches] == [("pictures", 2e9)]
    assert plan.missing == (
        f"no pictures at {planted.folder / 'pictures.parquet'}; "
        f"fetch it: get {planted.folder / 'x'}",
    )


def test_a_full_disk_is_told_before_it_is_full(tmp_path, nowhere):
    planted = plant(tmp_path)
    path = planted.folder / "atlas.toml"
    (planted.folder / "pictures.parquet").unlink()
    listed = '\n[[downloads]]\nwhat = "pictures"\nto = "x"\ncommand = "get"\nsize_gb = 1e9\n'
    path.write_text(path.read_text() + listed)
    assert any(
        "are wanted; make room" in line for line in make_plan(load_config(path), BARE).missing
    )


def test_a_machine_is_looked_at_and_its_cards_are_known_by_name():
    machine = look_at_machine()
    assert machine.cores >= 1
    assert 1 < machine.gflops < 1e6
    assert f"{machine.cores} cores" in machine.describe()
    assert (card_tflops("NVIDIA H100 PCIe"), card_tflops("Something")) == (300.0, 40.0)
    assert "A100-SXM4-80GB (80 GB)" in CARDED.describe()
