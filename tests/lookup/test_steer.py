"""Knobs from the command line, on an atlas drawn by a pipeline of tiny random weights."""

import json

import numpy as np
import pytest
from PIL import Image

from atlas.base.errors import ConfigError
from atlas.command.app import run
from atlas.inputs.picture import KNOWN
from atlas.lookup.steer import Turn, read_turn, steer
from atlas.sae.checkpoints import load_sae
from atlas.settings.load import saved_config


@pytest.fixture(scope="module")
def atlas_dir(drawn_atlas):
    return drawn_atlas / "build"


def ask(atlas_dir, capsys, *arguments):
    code = run([*arguments, "--atlas", str(atlas_dir)])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_a_knob_is_read_as_people_write_it():
    assert read_turn("concept", "3=2.0") == Turn("concept", 3, "times", 2.0)
    assert read_turn("feature", "1234=+40") == Turn("feature", 1234, "plus", 40.0)
    assert read_turn("feature", "1234=-.5") == Turn("feature", 1234, "plus", -0.5)
    assert read_turn("feature", "1234=40") == Turn("feature", 1234, "to", 40.0)
    assert read_turn("feature", "1234=x0.5") == Turn("feature", 1234, "times", 0.5)
    with pytest.raises(ConfigError, match=r"--concept takes 3=2.0 \(times\), got '3=\+1'"):
        read_turn("concept", "3=+1")


def test_nothing_turned_draws_the_picture_as_it_is(atlas_dir):
    found = steer(saved_config(atlas_dir), "5", [])
    same = steer(saved_config(atlas_dir), "5", [Turn("concept", 0, "times", 1.0)])
    assert found.moved == same.moved == 0
    assert found.picture.tobytes() == same.picture.tobytes()
    (reading,) = same.readings
    assert reading.before == pytest.approx(reading.wanted)
    assert reading.drawn_before == pytest.approx(reading.drawn)


def test_a_feature_moves_the_embedding_by_its_direction(atlas_dir):
    config = saved_config(atlas_dir)
    sae = load_sae(config.sae.path)
    found = steer(config, "5", [Turn("feature", 3, "plus", 2.0)])
    (reading,) = found.readings
    assert reading.wanted == pytest.approx(reading.before + 2)
    assert found.moved == pytest.approx(2 * np.linalg.norm(sae.W_dec[3]), rel=1e-5)
    assert 0 <= found.norm_percentile <= 1


def test_an_activation_never_falls_below_zero(atlas_dir):
    found = steer(saved_config(atlas_dir), "5", [Turn("feature", 3, "plus", -1e6)])
    (reading,) = found.readings
    assert reading.wanted == 0


def test_the_command_writes_the_picture_and_says_what_it_measured(atlas_dir, tmp_path, capsys):
    out = tmp_path / "edit.png"
    arguments = ("steer", "5", "--concept", "0=2", "--out", str(out), "--json")
    code, printed, _ = ask(atlas_dir, capsys, *arguments)
    assert code == 0
    told = json.loads(printed)
    assert told["out"] == str(out)
    assert told["readings"][0]["wanted"] == pytest.approx(2 * told["readings"][0]["before"])
    with Image.open(out) as picture:
        assert (picture.format, picture.size) == ("PNG", (16, 16))


def test_a_file_can_be_turned_too(atlas_dir, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photo)
    out = tmp_path / "edit.webp"
    code, _, _ = ask(atlas_dir, capsys, "steer", str(photo), "--feature", "3=4", "--out", str(out))
    assert code == 0
    assert out.exists()


def wrong(atlas_dir, capsys, *arguments):
    code, _, told = ask(atlas_dir, capsys, *arguments)
    assert code == 1
    assert told.count("\n") == 1
    return told


def test_bad_input_is_one_line_and_leaves_nothing(atlas_dir, tmp_path, capsys):
    out = tmp_path / "edit.webp"
    end = ("--out", str(out))
    told = wrong(atlas_dir, capsys, "steer", "99999", *end)
    assert told.startswith("atlas: no image 99999; this atlas has images 0 to")
    told = wrong(atlas_dir, capsys, "steer", str(tmp_path / "no.jpg"), *end)
    assert told == f"atlas: no picture at {tmp_path / 'no.jpg'}; name a {KNOWN} file\n"
    told = wrong(atlas_dir, capsys, "steer", "5", "--concept", "40=2", *end)
    assert "no concept 40; this picture has concepts 0 to" in told
    told = wrong(atlas_dir, capsys, "steer", "5", "--feature", "99999=2", *end)
    assert "no feature 99999; this SAE has features 0 to" in told
    told = wrong(atlas_dir, capsys, "steer", "5", "--feature", "3=2", "--feature", "3=1", *end)
    assert "feature 3 is turned twice; leave one of the knobs out" in told
    told = wrong(atlas_dir, capsys, "steer", "5", "--out", str(tmp_path / "edit.gif"))
    assert "its name must end in .webp, .png or .jpg" in told
    assert list(tmp_path.iterdir()) == []


def test_directions_are_decoder_rows_in_the_order_asked_for(atlas_dir, tmp_path, capsys):
    sae = load_sae(saved_config(atlas_dir).sae.path)
    out = tmp_path / "directions.npy"
    assert ask(atlas_dir, capsys, "export", "directions", "9", "3", "--out", str(out))[0] == 0
    assert np.array_equal(np.load(out), sae.W_dec[[9, 3]].astype(np.float32))
    ask(atlas_dir, capsys, "export", "directions", "9", "--unit", "--out", str(out))
    assert np.linalg.norm(np.load(out)) == pytest.approx(1)
    told = wrong(atlas_dir, capsys, "export", "directions", "9", "--out", str(tmp_path / "d.txt"))
    assert "its name must end in .npy" in told


def test_an_atlas_that_was_only_copied_says_so(atlas_dir, tmp_path, capsys):
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "atlas.duckdb").write_bytes(b"")
    told = wrong(tmp_path, capsys, "steer", "5", "--out", str(tmp_path / "edit.webp"))
    assert "holds no .settings.json with its configuration; build it on this machine first" in told


def test_tune_lays_scales_and_strengths_side_by_side(drawn_atlas, tmp_path, capsys):
    out = tmp_path / "tune"
    arguments = ["icons", "tune", str(drawn_atlas / "atlas.toml"), "--out", str(out)]
    arguments += ["--scales", "0,0.2", "--strengths", "1,2,4", "--sample", "5", "--features", "3"]
    assert run(arguments) == 0
    points = json.loads((out / "tune.json").read_text())["points"]
    assert [(p["scale"], p["strength"]) for p in points] == [
        (scale, strength) for scale in (0, 0.2) for strength in (1, 2, 4)
    ]
    assert all(p["n"] in (5, 6) for p in points)
    assert all(0 <= p["strong"] <= p["fires"] <= 1 for p in points)
    assert points[2]["norm"] > points[0]["norm"]
    page = (out / "tune.html").read_text()
    assert "Feature 3" in page
    for picture in out.glob("pictures/*.webp"):
        assert f'src="pictures/{picture.name}"' in page
    assert len(list(out.glob("pictures/*.webp"))) == 6
    assert "template scale" in capsys.readouterr().out
