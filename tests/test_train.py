from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from planted import make_job, plant, write_embed

from atlas import train
from atlas.checkpoints import load_sae
from atlas.config import TrainSettings
from atlas.errors import InputError
from atlas.files import list_files, read_json, write_json
from atlas.sae import encode

QUICK = TrainSettings(
    n_features=64,
    steps=240,
    batch_images=64,
    learning_rate=5e-3,
    warmup_steps=20,
    decay_steps=50,
    l1=1e-4,
    l1_warmup_steps=20,
    resample_steps=(100,),
)


@pytest.fixture(scope="module")
def embed(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("train")
    return write_embed(plant(root / "in", n_images=600), root / "embed")


def run_train(folder: Path, embed: Path, settings: TrainSettings, **runtime: int) -> Path:
    train.run(make_job("train", settings, {"embed": embed}, folder, **runtime))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in list_files(folder)}


@pytest.fixture(scope="module")
def trained(embed, tmp_path_factory) -> Path:
    return run_train(tmp_path_factory.mktemp("trained") / "out", embed, QUICK)


def test_training_twice_gives_the_same_bytes_whatever_the_threads(trained, embed, tmp_path):
    again = run_train(tmp_path / "again", embed, QUICK, threads=2)
    assert files(again) == files(trained)
    assert sorted(files(again)) == ["curve.parquet", "figures.json", "sae.json", "sae.safetensors"]


@pytest.mark.parametrize("killed_at", [1, 60, 199])
def test_a_killed_run_resumes_to_the_same_bytes(trained, embed, tmp_path, monkeypatch, killed_at):
    real, steps = train._step, []

    def killed(*args):
        if len(steps) == killed_at:
            raise KeyboardInterrupt
        steps.append(1)
        real(*args)

    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 50)
    monkeypatch.setattr(train, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run_train(tmp_path / "out", embed, QUICK)
    resumed: list[int] = []
    monkeypatch.setattr(train, "_step", lambda *args: (resumed.append(1), real(*args)))
    run_train(tmp_path / "out", embed, QUICK)
    assert len(resumed) == QUICK.steps - killed_at // 50 * 50
    assert files(tmp_path / "out") == files(trained)


def test_a_checkpoint_holds_all_that_a_step_reads(tmp_path):
    x = np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32)
    data = torch.from_numpy(x)
    state = train._start(QUICK, x, torch.device("cpu"))
    for _ in range(60):
        train._step(state, QUICK, data)
    assert not state.idle.all()
    path = tmp_path / "state.safetensors"
    train.write_tensors(path, train._state_tensors(state))
    other = train._start(QUICK, x, torch.device("cpu"))
    train._restore(other, path)
    for _ in range(2):
        before, after = train._state_tensors(state), train._state_tensors(other)
        assert list(before) == list(after)
        assert {"W_dec.exp_avg_sq", "idle", "fired"} < set(before)
        for name, array in before.items():
            assert np.array_equal(array, after[name]), name
        train._step(state, QUICK, data)
        train._step(other, QUICK, data)


def test_training_computes_on_one_thread_and_gives_the_others_back(embed, tmp_path, monkeypatch):
    real, threads = train._step, set()
    monkeypatch.setattr(
        train, "_step", lambda *args: (threads.add(torch.get_num_threads()), real(*args))
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
    real, steps = train._step, []
    monkeypatch.setattr(train, "_step", lambda *args: (steps.append(1), real(*args)))
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


def test_the_loss_is_the_published_recipe(embed):
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    settings = QUICK.model_copy(update={"n_features": 3, "l1_warmup_steps": 0, "warmup_steps": 0})
    state = train._start(settings, x, torch.device("cpu"))
    weights = {name: p.detach().numpy().copy() for name, p in state.parameters.items()}
    norms = np.linalg.norm(weights["W_dec"], axis=1)
    assert np.array_equal(weights["W_enc"], weights["W_dec"])
    assert (norms >= 0.05).all()
    assert (norms <= 1).all()
    losses: list[float] = []
    real = train._watch
    train._watch = lambda s, x, c, squared, loss: losses.append(float(loss))
    try:
        train._step(state, settings, torch.from_numpy(x))
    finally:
        train._watch = real
    codes = np.maximum(x @ weights["W_enc"].T + weights["b_enc"], 0)
    squared = ((codes @ weights["W_dec"] + weights["b_dec"] - x) ** 2).mean()
    assert losses == [pytest.approx(squared + settings.l1 * (codes * norms).sum(), rel=1e-5)]


def test_every_pass_shows_each_image_once():
    settings = QUICK.model_copy(update={"batch_images": 7})
    rows = torch.cat([train.batch_rows(10, settings, step) for step in range(10)])
    for start in range(0, 70, 10):
        assert sorted(rows[start : start + 10].tolist()) == list(range(10))
    assert rows[:10].tolist() != rows[10:20].tolist()
    large = QUICK.model_copy(update={"batch_images": 25})
    assert sorted(torch.cat([train.batch_rows(10, large, s) for s in (0, 1)]).tolist()) == sorted(
        list(range(10)) * 5
    )


def test_resampling_revives_features(embed):
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    settings = QUICK.model_copy(update={"n_features": 8})
    data = torch.from_numpy(x)
    state = train._start(settings, x, torch.device("cpu"))
    with torch.no_grad():
        state.parameters["b_enc"][:3] = -100
    for _ in range(5):
        train._step(state, settings, data)
    assert state.idle.tolist() == [True] * 3 + [False] * 5
    before = state.parameters["W_enc"].detach().clone()
    with torch.no_grad():
        train._resample(state, settings, data)
    after = state.parameters["W_enc"].detach()
    assert (after[:3] != before[:3]).any(dim=1).all()
    assert torch.equal(after[3:], before[3:])
    codes = torch.relu(data @ after.T + state.parameters["b_enc"].detach())
    assert ((codes > 0).sum(dim=0) > 0).all()
    moments = state.optimizer.state[state.parameters["W_dec"]]
    assert not moments["exp_avg"][:3].any()


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


def test_every_tenth_image_is_held_out_where_nobody_says_which():
    chosen, held = train.split_images([""] * 25)
    assert np.flatnonzero(held).tolist() == [9, 19]
    assert np.array_equal(chosen, ~held)
    chosen, held = train.split_images(["train", "", "heldout", "test"])
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
