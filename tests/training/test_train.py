from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from planted import QUICK, make_job, plant, write_embed

from atlas.base.errors import InputError
from atlas.base.files import list_files, read_json, write_json
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import decode, encode
from atlas.settings.sae import TrainSettings
from atlas.training import train


@pytest.fixture(scope="module")
def embed(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("train")
    return write_embed(plant(root / "in", n_images=600), root / "embed")


def run_train(folder: Path, embed: Path, settings: TrainSettings, **runtime: int) -> Path:
    train.run(make_job("train", settings, {"embed": embed}, folder, **runtime))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in list_files(folder)}


@pytest.fixture(scope="module")
def trained(embed, tmp_path_factory) -> Path:
    return run_train(tmp_path_factory.mktemp("trained") / "out", embed, QUICK)


def test_training_twice_gives_the_same_bytes_whatever_the_threads(trained, embed, tmp_path):
    again = run_train(tmp_path / "again", embed, QUICK, threads=2)
    assert files(again) == files(trained)
    assert sorted(files(again)) == [
        "curve.parquet",
        "figures.json",
        "report.html",
        "sae.json",
        "sae.safetensors",
        "sae_lens/cfg.json",
        "sae_lens/sae_weights.safetensors",
    ]


def stop_at(monkeypatch, killed_at: int) -> None:
    """Raise what Ctrl-C raises before a step, and write checkpoints often."""
    real, steps = train.take_step, []

    def killed(*args):
        if len(steps) == killed_at:
            raise KeyboardInterrupt
        steps.append(1)
        real(*args)

    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 50)
    monkeypatch.setattr(train, "take_step", killed)


@pytest.mark.parametrize("killed_at", [1, 60, 199])
def test_a_killed_run_resumes_to_the_same_bytes(trained, embed, tmp_path, monkeypatch, killed_at):
    real = train.take_step
    stop_at(monkeypatch, killed_at)
    with pytest.raises(KeyboardInterrupt):
        run_train(tmp_path / "out", embed, QUICK)
    resumed: list[int] = []
    monkeypatch.setattr(train, "take_step", lambda *args: (resumed.append(1), real(*args)))
    run_train(tmp_path / "out", embed, QUICK)
    assert len(resumed) == QUICK.steps - killed_at // 50 * 50
    assert files(tmp_path / "out") == files(trained)


@pytest.mark.parametrize("activation", ["relu", "topk", "batchtopk"])
def test_a_run_killed_inside_a_buffer_resumes_to_the_same_bytes(
    embed, tmp_path, monkeypatch, activation
):
    """With 450 training images, 100 a buffer and 64 a step, step 77 lies inside a buffer."""
    change = {"activation": activation, "k": 6, "aux_k": 4, "dead_after_images": 200}
    settings = QUICK.model_copy(update=change | {"steps": 110, "buffer_images": 100})
    whole = run_train(tmp_path / "whole", embed, settings)
    with monkeypatch.context() as patch:
        stop_at(patch, 77)
        with pytest.raises(KeyboardInterrupt):
            run_train(tmp_path / "out", embed, settings)
    assert (tmp_path / "out" / "parts").exists()
    run_train(tmp_path / "out", embed, settings)
    assert files(tmp_path / "out") == files(whole)
    assert (
        files(whole)["sae.safetensors"]
        != files(
            run_train(tmp_path / "other", embed, settings.model_copy(update={"buffer_images": 450}))
        )["sae.safetensors"]
    )


@pytest.mark.parametrize("activation", ["topk", "batchtopk"])
def test_as_many_features_fire_as_k_says(embed, tmp_path, activation):
    settings = QUICK.model_copy(update={"activation": activation, "k": 6, "resample_steps": ()})
    out = run_train(tmp_path / "out", embed, settings)
    sae = load_sae(out)
    assert np.linalg.norm(sae.W_dec, axis=1) == pytest.approx(np.ones(64), rel=1e-5)
    x = np.load(embed.parent / "in" / "vectors" / "0000.npy").astype(np.float32)
    codes = encode(sae, x)
    lens = load_sae(out / "sae_lens")
    assert encode(lens, x) == pytest.approx(codes, abs=1e-5)
    assert np.array_equal(decode(lens, codes), decode(sae, codes))
    figures = {row["name"]: row["value"] for row in read_json(out / "figures.json")["figures"]}
    if activation == "topk":
        assert (sae.activation.kind, sae.activation.k) == ("topk", 6)
        assert figures["sae_heldout_l0_mean"] == 6
    else:
        threshold = sae.activation.threshold
        assert sae.activation.kind == "batchtopk"
        assert threshold[0] > 0
        assert (threshold == threshold[0]).all()
        assert figures["sae_heldout_l0_mean"] == pytest.approx(6, abs=1)
    assert figures["sae_heldout_explained_variance"] > 0.4


def test_training_computes_on_one_thread_and_gives_the_others_back(embed, tmp_path, monkeypatch):
    real, threads = train.take_step, set()
    monkeypatch.setattr(
        train, "take_step", lambda *args: (threads.add(torch.get_num_threads()), real(*args))
    )
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_train(tmp_path / "out", embed, QUICK.model_copy(update={"steps": 3}))
        assert threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_other_settings_do_not_resume_from_this_run(embed, tmp_path, monkeypatch):
    real, steps = train.take_step, []
    monkeypatch.setattr(train, "take_step", lambda *args: (steps.append(1), real(*args)))
    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 20)
    monkeypatch.setattr(train, "remove_tree", lambda path: None)
    run_train(tmp_path / "out", embed, QUICK.model_copy(update={"steps": 40}))
    run_train(tmp_path / "out", embed, QUICK.model_copy(update={"steps": 40, "seed": 1}))
    assert len(steps) == 80


def test_images_that_are_not_in_the_training_split_change_no_weight(trained, embed, tmp_path):
    root = tmp_path / "in"
    planted = plant(root, n_images=600)
    table = pq.read_table(embed / "images.parquet", columns=["split"])
    held = np.array(table["split"].to_pylist()) != "train"
    changed = planted.x.copy()
    changed[held] = changed[held][:, ::-1]
    for path, rows in zip(
        sorted((root / "vectors").glob("*.npy")), np.array_split(changed, 3), strict=True
    ):
        np.save(path, rows)
    other = run_train(tmp_path / "out", write_embed(planted, tmp_path / "embed"), QUICK)
    assert files(other)["sae.safetensors"] == files(trained)["sae.safetensors"]
    assert files(other)["figures.json"] != files(trained)["figures.json"]


def test_training_learns_what_was_planted(trained):
    curve = pq.read_table(trained / "curve.parquet").to_pydict()
    assert curve["step"] == [50, 100, 150, 200]
    assert curve["explained_variance"][-1] > 0.8
    assert all(0 <= value <= 1 for value in curve["dead_frac"])
    figures = {row["name"]: row for row in read_json(trained / "figures.json")["figures"]}
    held_out = figures["sae_heldout_explained_variance"]
    assert 0.7 < held_out["value"] < 1
    assert held_out["n"] == 150
    assert 0 < held_out["null_value"] <= 1
    assert 1 < figures["sae_heldout_l0_mean"]["value"] < 64
    assert load_sae(trained).provenance["settings"] == QUICK.model_dump(mode="json")


def test_figures_are_of_evenly_spread_images_where_there_are_many():
    assert train._spread(np.arange(10), 4).tolist() == [0, 2, 5, 7]
    assert train._spread(np.arange(3), 4).tolist() == [0, 1, 2]
    assert train._spread(np.arange(0), 4).tolist() == []


def test_a_k_beyond_the_features_is_refused(embed, tmp_path):
    settings = QUICK.model_copy(update={"activation": "topk", "k": 65})
    with pytest.raises(InputError) as caught:
        run_train(tmp_path / "out", embed, settings)
    assert str(caught.value) == "train.k is 65, more than train.n_features, 64; lower it"


def test_bfloat16_is_refused_where_the_device_lacks_it(embed, tmp_path):
    settings = QUICK.model_copy(update={"precision": "bfloat16"})
    with pytest.raises(InputError, match=r"train\.precision is bfloat16, and cpu doesn't multiply"):
        run_train(tmp_path / "out", embed, settings)


def test_a_tied_sae_stays_tied(embed, tmp_path):
    settings = QUICK.model_copy(update={"tied": True, "steps": 120, "storage": "float16"})
    sae = load_sae(run_train(tmp_path / "out", embed, settings))
    assert sae.tied
    assert np.array_equal(sae.W_enc, sae.W_dec)


def test_figures_are_of_the_sae_as_it_was_stored(embed, tmp_path):
    settings = QUICK.model_copy(update={"storage": "float16", "steps": 100})
    out = run_train(tmp_path / "out", embed, settings)
    table = pq.read_table(embed / "images.parquet", columns=["split"])
    held = np.array(table["split"].to_pylist()) != "train"
    x = np.concatenate([np.load(path) for path in sorted(embed.parent.glob("in/vectors/*.npy"))])
    codes = encode(load_sae(out), x[held])
    figures = {row["name"]: row["value"] for row in read_json(out / "figures.json")["figures"]}
    assert figures["sae_heldout_l0_mean"] == (codes > 0).sum(axis=1).mean()
    assert figures["sae_heldout_alive"] == (codes > 0).any(axis=0).sum()


def test_terms_are_counted_once_a_feature():
    firings = train.Firings(np.array([0, 1, 2, 3]), np.array([1, 1, 1, 0]), np.ones(4, np.float32))
    terms = [["cat", "dog"], ["dog"], [], ["cat"]]
    assert train._distinct_terms(firings, terms, 3).tolist() == [1, 2, 0]
    nothing = train.Firings(np.empty(0, int), np.empty(0, int), np.empty(0, np.float32))
    assert train._distinct_terms(nothing, [[], []], 2).tolist() == [0, 0]


def column(*names: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(names[:1], pa.string()), pa.array(names[1:], pa.string())])


def test_the_report_shows_the_curves_and_the_held_out_figures(trained):
    page = (trained / "report.html").read_text()
    assert page.count("<polyline") == 4
    curve = pq.read_table(trained / "curve.parquet").to_pylist()
    for row in curve:
        assert f"<td>{row['explained_variance']:.4g}</td>" in page
    for row in read_json(trained / "figures.json")["figures"]:
        assert f"<td>{row['value']:.4g}</td>" in page
    assert "<td>train.n_features</td><td>64</td>" in page


def test_every_tenth_image_is_held_out_where_nobody_says_which():
    chosen, held = train.split_images(column(*["", None] * 12, ""))
    assert np.flatnonzero(held).tolist() == [9, 19]
    assert np.array_equal(chosen, ~held)
    chosen, held = train.split_images(column("train", None, "heldout", "test"))
    assert (chosen.tolist(), held.tolist()) == (
        [True, False, False, False],
        [False, False, True, True],
    )


def test_the_sae_names_the_encoder_it_was_trained_on(embed, tmp_path):
    shutil.copytree(embed, embed.parent / "named")
    held = read_json(embed / "embeddings.json")
    write_json(embed.parent / "named" / "embeddings.json", held | {"encoder": {"id": "ours"}})
    brief = QUICK.model_copy(update={"steps": 1})
    out = run_train(tmp_path / "out", embed.parent / "named", brief)
    assert load_sae(out).provenance["encoder_id"] == "ours"


def test_a_set_without_training_images_is_refused(embed, tmp_path):
    copy = tmp_path / "embed"
    copy.mkdir()
    (copy / "embeddings.json").write_bytes((embed / "embeddings.json").read_bytes())
    table = pq.read_table(embed / "images.parquet")
    place = table.schema.get_field_index("split")
    nowhere = pa.array(["heldout"] * table.num_rows)
    pq.write_table(table.set_column(place, "split", nowhere), copy / "images.parquet")
    with pytest.raises(InputError, match="has no image of split 'train'"):
        run_train(tmp_path / "out", copy, QUICK)


def test_a_diverging_run_is_stopped(embed, tmp_path):
    settings = QUICK.model_copy(update={"learning_rate": 1e20, "steps": 60})
    with pytest.raises(
        InputError, match=r"training diverged at step 50 .*lower train\.learning_rate"
    ):
        run_train(tmp_path / "out", embed, settings)
