"""The icons stage on a planted atlas, with a real pipeline and encoder of tiny random weights."""

import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from planted import make_job
from tiny_decoder import save_tiny_decoder

from atlas.base.errors import ConfigError, InputError
from atlas.base.progress import Progress
from atlas.command.app import run
from atlas.icons import drawing, icons
from atlas.icons.subjects import GAINS
from atlas.icons.template import icon_embeddings
from atlas.pipeline import build_atlas
from atlas.run.receipt import read_receipt
from atlas.settings.icons import IconsSettings
from atlas.settings.load import load_config
from atlas.site.check import check_site


@pytest.fixture(scope="module")
def folder(drawn_atlas):
    return drawn_atlas


@pytest.fixture(scope="module")
def job(folder):
    build = folder / "build"
    inputs = {name: build / name for name in ("embed", "scan")}
    inputs |= {"sae": folder / "sae", "encoder": folder / "encoder", "decoder": folder / "decoder"}
    inputs["second_encoder"] = folder / "other-encoder"
    settings = load_config(folder / "atlas.toml").icons

    def make(out_dir, **changes):
        changed = settings.model_copy(update=changes)
        return make_job("icons", changed, dict(inputs), out_dir)

    return make


def table(folder):
    return pq.read_table(folder / "icons.parquet").to_pylist()


def test_every_live_feature_that_is_not_sensitive_has_an_icon(folder):
    with duckdb.connect(str(folder / "build/catalog/atlas.duckdb"), read_only=True) as db:
        wanted = db.execute(
            "SELECT feature FROM features WHERE alive AND NOT sensitive ORDER BY feature"
        ).fetchall()
        rendered = db.execute(
            "SELECT feature FROM icons WHERE source = 'rendered' AND image IS NULL ORDER BY feature"
        ).fetchall()
        stand_ins = db.execute(
            "SELECT count(*) FROM icons WHERE source = 'top image' AND verdict IS NULL"
        ).fetchone()
        sensitive = db.execute("SELECT count(*) FROM features WHERE alive AND sensitive").fetchone()
    rows = table(folder / "build" / "icons")
    assert [(row["feature"],) for row in rows] == wanted == rendered
    assert stand_ins == sensitive
    for row in rows:
        with Image.open(io.BytesIO(row["webp"])) as picture:
            assert (picture.format, picture.size) == ("WEBP", (16, 16))


def test_the_site_shows_each_icon_and_what_its_round_trip_gave(folder):
    site = folder / "build" / "site"
    check_site(site)
    row = table(folder / "build" / "icons")[0]
    feature = row["feature"]
    assert (site / f"icon/0/{feature}.webp").read_bytes() == row["webp"]
    page = (site / f"feature/0/{feature}.html").read_text()
    assert f'src="../../icon/0/{feature}.webp"' in page
    assert "The model recognizes this icon: <b>" in page
    record = json.loads((site / f"api/v1/features/{feature // 64}.json").read_text())[str(feature)]
    assert record["icon"] == f"icon/0/{feature}.webp"
    assert record["round_trip"]["verdict"] == row["verdict"]
    listed = (site / "assets/features/0.js").read_text()
    held = json.loads(listed[len("atlasRows(") : -3])
    assert set(held["icon"]) == {-2}


def test_the_report_has_the_round_trip_beside_its_baseline(folder):
    with duckdb.connect(str(folder / "build/catalog/atlas.duckdb"), read_only=True) as db:
        rows = db.execute(
            "SELECT name, n, null_value FROM metrics WHERE name LIKE 'icons%' ORDER BY name"
        ).fetchall()
    assert [row[0] for row in rows] == [
        "icons_auc",
        "icons_feature_among_ten_strongest",
        "icons_feature_fires",
        "icons_round_trip_shown",
        "icons_shown_in_every_seed",
        "icons_strong",
        "icons_two_choice",
    ]
    assert all(0 <= row[2] <= 1 for row in rows)
    counts = {row[0]: row[1] for row in rows}
    assert counts["icons_round_trip_shown"] > 60
    assert counts["icons_two_choice"] == 12


def test_a_sample_is_rendered_in_every_seed_and_must_pass_in_each(folder):
    rows = {row["feature"]: row for row in table(folder / "build" / "icons")}
    replicates = pq.read_table(folder / "build/icons/replicates.parquet").to_pylist()
    sampled = sorted({row["feature"] for row in replicates})
    assert len(sampled) == 12
    assert {row["seed"] for row in replicates} == {2, 3}
    order = ["not shown", "partly", "shown"]
    for feature, row in rows.items():
        others = [r for r in replicates if r["feature"] == feature]
        assert row["seeds"] == 1 + len(others)
        assert all(order.index(row["verdict"]) <= order.index(r["verdict"]) for r in others)
        assert all(r["webp"] != row["webp"] for r in others)


def test_a_strip_goes_from_weak_to_strong_through_the_icon_itself(folder):
    rows = {row["feature"]: row for row in table(folder / "build" / "icons")}
    strips = pq.read_table(folder / "build/icons/strips.parquet").to_pylist()
    assert len(strips) == 5 * len(GAINS)
    for row in strips:
        icon = rows[row["feature"]]
        assert row["strength"] == pytest.approx(icon["strength"] * GAINS[row["step"]])
        if GAINS[row["step"]] == 1:
            assert row["on_icon"] == pytest.approx(icon["on_icon"], rel=0.05, abs=0.05)


def test_side_effects_are_what_changed_most_against_the_template(folder):
    parts = folder / "build/icons/parts"
    icon = table(folder / "build" / "icons")[3]
    (first,) = parts.glob("icons-000000-*.parquet")
    (bare,) = parts.glob("template-*.parquet")
    seen, before = (
        dict(zip(row["fired"], row["activation"], strict=True))
        for row in (pq.read_table(first).to_pylist()[3], pq.read_table(bare).to_pylist()[0])
    )
    effects = pq.read_table(folder / "build/icons/side_effects.parquet").to_pylist()
    mine = [row for row in effects if row["feature"] == icon["feature"]]
    assert len(mine) > 2
    assert [row["rank"] for row in mine] == list(range(len(mine)))
    assert all(row["other"] != icon["feature"] for row in mine)
    assert all(row["on_icon"] == seen.get(row["other"], 0) for row in mine)
    assert all(row["on_template"] == before.get(row["other"], 0) for row in mine)
    assert all(row["on_icon"] != row["on_template"] for row in mine)


def _opened(made):
    return made.settings, made.inputs, made.runtime.device


def test_threads_and_what_was_kept_of_a_killed_run_change_no_byte(folder, job, tmp_path):
    done = folder / "build" / "icons"
    again = job(tmp_path / "icons")
    names = sorted(path.name for path in (done / "parts").glob("*.parquet"))
    (tmp_path / "icons" / "parts").mkdir(parents=True)
    for name in names[::2]:  # what a killed run had finished
        shutil.copy2(done / "parts" / name, tmp_path / "icons" / "parts" / name)
    kept = {name: (tmp_path / "icons/parts" / name).stat().st_mtime_ns for name in names[::2]}
    icons.run(replace(again, **_keys(done)))
    found = sorted(path.name for path in (tmp_path / "icons/parts").glob("*.parquet"))
    assert found == names
    assert kept == {n: (tmp_path / "icons/parts" / n).stat().st_mtime_ns for n in kept}
    assert (tmp_path / "icons/icons.parquet").read_bytes() == (done / "icons.parquet").read_bytes()


@pytest.fixture
def undrawn(folder, tmp_path):
    """A copy of the drawn atlas before anything was drawn."""
    later = ("icons", "where", "concepts", "catalog", "site", ".work")
    copied = tmp_path / "in"
    shutil.copytree(folder, copied, ignore=lambda at, _: later if at.endswith("build") else ())
    return copied


def _same_icons(folder, undrawn):
    made, drawn = (read_receipt(root / "build" / "icons") for root in (undrawn, folder))
    assert made["files"] == drawn["files"]


@pytest.mark.slow
def test_processes_started_by_torchrun_share_the_icons(folder, undrawn):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    build = ["-m", "atlas", "build", str(undrawn / "atlas.toml"), "icons", "--engine", "ranks"]
    subprocess.run(torchrun + build, check=True, timeout=300)
    _same_icons(folder, undrawn)


def test_what_a_killed_rank_had_begun_is_drawn_by_the_next_run(folder, undrawn):
    words = [str(undrawn / "atlas.toml"), "icons", "--engine", "ranks"]
    parts = undrawn / "build" / ".work" / "icons" / "parts"
    helper = subprocess.Popen(
        [sys.executable, "-m", "atlas", "build", *words],
        env=os.environ | {"RANK": "1", "WORLD_SIZE": "2"},
    )
    deadline = time.monotonic() + 240
    while not list(parts.glob("*.parquet")):
        assert helper.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    helper.kill()
    helper.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    config = load_config(undrawn / "atlas.toml", ["runtime.engine=ranks"])
    build_atlas(config, ("icons",), progress=Progress(silent=True))
    done = undrawn / "build" / "icons" / "parts"
    assert len(kept) < len(list(done.iterdir()))
    assert kept == {name: (done / name).stat().st_mtime_ns for name in kept}
    _same_icons(folder, undrawn)


def test_force_is_refused_where_other_processes_write(folder, capsys):
    words = ["build", str(folder / "atlas.toml"), "icons", "--force", "--engine", "ranks"]
    assert run(words) == 1
    assert capsys.readouterr().err == (
        "atlas: --force would delete what other processes are writing; leave out --engine ranks\n"
    )


def _keys(done):
    """What the finished run keyed its parts by."""
    plan = json.loads((done / "receipt.json").read_text())["plan"]
    return {"digests": plan["inputs"], "version": plan["version"]}


def test_an_icon_alone_is_the_icon_in_its_block_up_to_rounding(folder, job, tmp_path):
    rows = {row["feature"]: row for row in table(folder / "build" / "icons")}
    feature = sorted(rows)[25]
    models = drawing.load_models(*_opened(job(tmp_path / "a")))
    wanted = icon_embeddings(
        models.sae,
        models.template,
        np.array([feature]),
        np.array([rows[feature]["strength"]], np.float32),
    )
    (alone,) = models.renderer.draw(wanted, models.negative, models.drawing)
    data = io.BytesIO()
    alone.save(data, "WEBP", quality=85, method=4)
    with (
        Image.open(io.BytesIO(rows[feature]["webp"])) as before,
        Image.open(data) as after,
    ):
        off = np.abs(np.asarray(before).astype(int) - np.asarray(after))
    assert off.max() <= 8  # WebP amplifies a last bit a little


@pytest.mark.slow
def test_other_strength_another_icon_other_quality_the_same_statistics(folder, job, tmp_path):
    before = table(folder / "build" / "icons")
    icons.run(job(tmp_path / "strong", strength=6.0))
    after = table(tmp_path / "strong")
    assert all(
        b["strength"] * 3 == pytest.approx(a["strength"])
        for b, a in zip(before, after, strict=True)
    )
    assert sum(b["webp"] != a["webp"] for b, a in zip(before, after, strict=True)) > len(before) / 2


def test_wrong_width_no_encoder_and_flat_icons_are_one_line_each(folder, job, tmp_path):
    save_tiny_decoder(tmp_path / "narrow", 12)
    narrow = job(tmp_path / "a")
    narrow = replace(narrow, inputs={**narrow.inputs, "decoder": tmp_path / "narrow"})
    with pytest.raises(ConfigError, match="takes embeddings of 12 dimensions, the SAE writes 32"):
        icons.run(narrow)
    blind = job(tmp_path / "b")
    blind = replace(
        blind, inputs={name: path for name, path in blind.inputs.items() if name != "encoder"}
    )
    with pytest.raises(ConfigError, match=r"set embed.encoder"):
        icons.run(blind)
    with pytest.raises(InputError, match="feature 7 is drawn as one flat color"):
        drawing._refuse_flat("feature 7", Image.new("RGB", (16, 16), (0, 0, 0)))


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = (copy / "build/icons/icons.parquet").read_bytes()
    again = ["build", str(copy / "atlas.toml"), "icons", "--force"]
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        status = run(again)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert status == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"atlas: icons: no room to write in {copy / 'build'} (")
    assert (copy / "build/icons/icons.parquet").read_bytes() == before
    assert run(again) == 0
    assert (copy / "build/icons/icons.parquet").read_bytes() == before


def test_without_a_decoder_there_is_no_such_stage(planted_atlas, capsys):
    assert IconsSettings().decoder is None
    assert run(["build", str(planted_atlas.parent / "atlas.toml"), "icons"]) == 1
    assert "no stage icons" in capsys.readouterr().err


def test_a_missing_decoder_is_named_before_anything_runs(folder, tmp_path, capsys):
    copy = tmp_path / "atlas.toml"
    text = (folder / "atlas.toml").read_text().replace('"decoder"', '"nowhere"')
    copy.write_text(text)
    assert run(["plan", str(copy)]) == 1
    assert "no decoder at" in capsys.readouterr().err
