"""The doctor's figures: an SAE on the embeddings it is for, and on embeddings that went wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_encoder import save_tiny_encoder

from atlas.command.app import run
from atlas.inputs.encoder import load_encoder
from atlas.prepare.selfcheck import check_science, measure
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import prepare
from atlas.settings.load import load_config

LENGTH = 35.0


def plant_sae(folder: Path, *, bias: float) -> np.ndarray:
    """Write an SAE in the seed's format and return the embeddings (image, 48) that it is for."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(64, 48)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    center = np.full(48, bias, np.float32)
    codes = rng.exponential(size=(400, 64)) * (rng.random((400, 64)) < 0.04)
    x = codes @ directions + 0.1 * rng.normal(size=(400, 48))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True) * LENGTH + center).astype(np.float32)
    tensors = {
        "enc_bias": np.full(64, -0.3 * LENGTH, np.float32),
        "encoder.weight": directions,
        "dec_bias": center,
        "decoder.weight": directions.T,
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({k: torch.from_numpy(v.copy()) for k, v in tensors.items()}, folder / "sae.pth")
    return x


def found(folder: Path, x: np.ndarray, figures, *lines: str):
    """Write an atlas of embeddings with the figures expected of it, and return what is said."""
    (folder / "vectors").mkdir(exist_ok=True)
    half = len(x) // 2
    np.save(folder / "vectors" / "0.npy", x[:half])
    np.save(folder / "vectors" / "1.npy", x[half:])
    text = (
        '[embed]\nvectors = "vectors/*.npy"\n'
        f"[expected]\nl0 = {figures.l0}\nexplained_percent = {figures.explained_percent}\n"
        f'gray_norm = {LENGTH}\n[sae]\npath = "sae.pth"\n' + "\n".join(lines)
    )
    (folder / "atlas.toml").write_text(text)
    return {f.what: f for f in check_science(load_config(folder / "atlas.toml"), "cpu")}


@pytest.fixture
def planted(tmp_path):
    """A folder with an SAE, its embeddings, and its figures on them."""
    x = plant_sae(tmp_path, bias=0.0)
    figures = measure(load_sae(tmp_path / "sae.pth"), x, "cpu")
    assert 1 < figures.l0 < 20
    assert 40 < figures.explained_percent < 100
    return tmp_path, x, figures


def test_figures_as_expected_are_well(planted):
    folder, x, figures = planted
    said = found(folder, x, figures)
    assert all(finding.ok for finding in said.values())
    line = said["SAE on embeddings"].found
    assert f"L0 {figures.l0:.1f} (" in line
    assert line.endswith(f"median length {LENGTH:.2f}; n = 400")


def test_the_figures_are_the_formula_s(planted):
    folder, x, figures = planted
    sae = load_sae(folder / "sae.pth")
    codes = np.maximum(prepare(sae, x) @ sae.W_enc.T.astype(np.float64) + sae.b_enc, 0)
    errors = ((x - codes @ sae.W_dec - sae.b_dec) ** 2).sum()
    assert figures.l0 == (codes > 0).sum() / len(x)
    explained = 100 * (1 - errors / ((x - x.mean(axis=0)) ** 2).sum())
    assert figures.explained_percent == pytest.approx(explained, abs=1e-3)


def test_normalized_embeddings_are_recognized(planted):
    folder, x, figures = planted
    finding = found(folder, x / LENGTH, figures)["SAE on embeddings"]
    assert not finding.ok
    assert finding.fix.startswith("most likely the embeddings were normalized")
    assert f"L0 {figures.l0:.1f}, {figures.explained_percent:.1f} %)" in finding.fix


def test_a_bias_that_is_to_be_subtracted_is_recognized(tmp_path):
    x = plant_sae(tmp_path, bias=12.0)
    sae = load_sae(tmp_path / "sae.pth")
    figures = measure(replace(sae, b_pre=sae.b_dec), x, "cpu")
    finding = found(tmp_path, x, figures)["SAE on embeddings"]
    assert not finding.ok
    assert "sae.pre_bias = true" in finding.fix
    assert found(tmp_path, x, figures, "pre_bias = true")["SAE on embeddings"].ok


def test_another_encoder_s_embeddings_are_recognized(planted):
    folder, x, figures = planted
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(48, 48)))[0]
    finding = found(folder, (x @ turn).astype(np.float32), figures)["SAE on embeddings"]
    assert not finding.ok
    assert finding.fix.startswith("most likely another encoder")


def test_embeddings_of_another_width_and_their_absence_are_findings(planted):
    folder, x, figures = planted
    finding = found(folder, x[:, :8], figures)["SAE on embeddings"]
    assert finding.found == "8 dimensions, the SAE reads 48"
    for path in (folder / "vectors").iterdir():
        path.unlink()
    config = load_config(folder / "atlas.toml")
    (finding,) = [f for f in check_science(config, "cpu") if f.what == "SAE on embeddings"]
    assert "no embeddings yet" in finding.found


def test_a_damaged_or_unexpected_sae_is_a_finding(planted):
    folder, x, figures = planted
    said = found(folder, x, figures)
    path = folder / "atlas.toml"
    path.write_text(path.read_text().replace("[expected]\n", "[expected]\nfeatures = 81920\n"))
    (finding,) = [f for f in check_science(load_config(path), "cpu") if f.what == "SAE"]
    assert (finding.ok, finding.found) == (False, said["SAE"].found)
    assert "81,920 of width 48 are expected" in finding.fix
    (folder / "sae.pth").write_bytes(b"PK")
    (finding,) = check_science(load_config(path), "cpu")
    assert (finding.ok, finding.what) == (False, "SAE")
    assert "is not a whole zip" in finding.found


def lengths(folder: Path, gray: float, template: float):
    """Return what is said of an encoder of which these lengths are expected."""
    path = folder / "atlas.toml"
    path.write_text(
        '[embed]\nencoder = "encoder"\n[sae]\npath = "sae.pth"\n[icons]\ntemplate = "white.png"\n'
        f"[expected]\ngray_norm = {gray}\ntemplate_norm = {template}\n"
    )
    return {f.what: f for f in check_science(load_config(path), "cpu")}


def test_an_encoder_shows_itself_by_two_lengths(planted):
    folder, _, _ = planted
    save_tiny_encoder(folder / "encoder", 48)
    Image.new("RGB", (32, 32), "white").save(folder / "white.png")
    gray, template = (f"length of the {name}'s embedding" for name in ("gray picture", "template"))
    first = lengths(folder, 100.0, 100.0)
    assert (first["encoder"].ok, first[gray].ok, first[template].ok) == (True, False, False)
    assert "another encoder, or other weights" in first[gray].fix
    encoder = load_encoder(folder / "encoder")
    zeros = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        true = float(encoder.model.encode_image(zeros).norm())
    measured = float(first[gray].found.split(",")[0])
    assert measured == pytest.approx(true, rel=0.02)
    again = lengths(folder, true, float(first[template].found.split(",")[0]))
    assert again[gray].ok
    assert again[template].ok
    save_tiny_encoder(folder / "other", 12)
    path = folder / "atlas.toml"
    path.write_text(path.read_text().replace('"encoder"', '"other"'))
    finding = {f.what: f for f in check_science(load_config(path), "cpu")}["encoder"]
    assert (finding.ok, finding.found) == (False, "12 dimensions")


def test_the_doctor_says_all_of_it_and_ends_with_one(planted, capsys):
    folder, x, figures = planted
    found(folder, x / LENGTH, figures)
    assert run(["doctor", str(folder / "atlas.toml")]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("ok")]
    assert len(bad) == 1
    assert "; most likely the embeddings were normalized" in bad[0]
