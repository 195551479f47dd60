"""Several settings of training side by side, and which of them to take."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from planted import plant

from atlas.command.app import run
from atlas.prepare.sweep import Tried, choose
from atlas.training import train

TOML = """
out_dir = "build"
[embed]
vectors = "vectors/*.npy"
images = "images.parquet"
[train]
n_features = 32
steps = 60
batch_images = 64
learning_rate = 5e-3
warmup_steps = 5
decay_steps = 10
l1 = 1e-4
"""
TRIES = (
    "train.l1=1e-4",
    "train.l1=2e-3 train.l1_warmup_steps=0",
    "train.activation=topk train.k=4",
)


def sweep(folder: Path, *tries: str, least: float = 0.3) -> int:
    words = [word for one in tries for word in ("--try", one)]
    return run(
        ["sweep", str(folder / "one.toml"), *words, "--least-explained", f"{least}", "--json"]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("sweep")
    plant(place, n_images=300)
    (place / "one.toml").write_text(TOML)
    return place


def test_a_sweep_sets_sparsity_beside_explained_variance(folder, capsys, monkeypatch):
    assert sweep(folder, *TRIES) == 0
    told = json.loads(capsys.readouterr().out)
    rows = pq.read_table(folder / "build" / "sweep" / "sweep.parquet").to_pylist()
    assert [row["settings"] for row in rows] == list(TRIES)
    assert [row["l0"] for row in rows] == [row["l0"] for row in told["tried"]]
    assert rows[2]["l0"] <= 4 < rows[1]["l0"] < rows[0]["l0"]
    assert all(0 < row["null_explained_variance"] <= 1 and row["n_images"] == 75 for row in rows)
    assert [row["chosen"] for row in rows] == [i == told["chosen"] for i in range(3)]
    for row in rows:
        assert (folder / "build" / "sweep" / row["folder"] / "sae.safetensors").exists()
    page = (folder / "build" / "sweep" / "report.html").read_text()
    assert page.count("<circle") == 3
    assert f"Chosen: {TRIES[told['chosen']]}, the sparsest of" in page

    def trained(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "take_step", trained)
    assert sweep(folder, *TRIES) == 0
    assert json.loads(capsys.readouterr().out) == told


def test_a_stopped_sweep_goes_on_where_it_was(folder, capsys, monkeypatch):
    tries = ("train.seed=5", "train.seed=6")
    real, steps = train.take_step, []

    def counted(*args):
        steps.append(1)
        if len(steps) == 100:
            raise RuntimeError("stopped")
        real(*args)

    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 20)
    monkeypatch.setattr(train, "take_step", counted)
    with pytest.raises(RuntimeError, match="stopped"):
        sweep(folder, *tries)
    assert sweep(folder, *tries) == 0
    assert len(steps) == 100 + 60 - 20  # step 39 of the second was lost, and the 19 before it
    assert len(json.loads(capsys.readouterr().out)["tried"]) == 2


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (
            "scan.top_images=3",
            "--try takes settings of [train], as train.l1=9e-6, got 'scan.top_images=3'",
        ),
        ("train.l2=3", "unknown setting train.l2; did you mean train.l1?; see {}"),
    ],
)
def test_what_cannot_be_tried_is_told_before_anything_is_trained(folder, capsys, attempt, message):
    assert sweep(folder, "train.seed=9", attempt) == 1
    assert capsys.readouterr().err == f"atlas: {message.format(folder / 'one.toml')}\n"


def point(l0: float, explained: float) -> Tried:
    return Tried("x", Path("x"), l0, explained, 0.9, 10, 20, 100)


def test_the_sparsest_that_explains_enough_is_chosen():
    tried = (point(80, 0.8), point(50, 0.7), point(50, 0.72), point(20, 0.5))
    found = choose(tried, 0.65)
    assert found.chosen == 2
    assert found.why == (
        "the sparsest of 3 that explain at least 65% of the held-out variance, "
        "with 50.0 features an image"
    )
    none = choose(tried, 0.9)
    assert none.chosen == 0
    assert none.why == (
        "none of 4 explains 90% of the held-out variance; this one explains most, 80.0%"
    )
