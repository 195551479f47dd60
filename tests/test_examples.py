"""The changes that CONTRIBUTING.md shows as diffs, applied to a copy of the package and used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
LONGEST = 100


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    """A copy of the package with every example applied."""
    folder = tmp_path_factory.mktemp("patched")
    for name in ("atlas", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in sorted(EXAMPLES.glob("*.diff")):
        command = ["git", "apply", "--unsafe-paths", f"--directory={folder}", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        assert done.returncode == 0, f"{path.name} no longer applies: {done.stderr}"
    return folder


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=folder, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.diff")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_the_format_reads_its_file(patched, tmp_path):
    random = np.random.default_rng(0)
    enc = random.standard_normal((8, 16)).astype(np.float32)
    tensors = {
        "enc": enc,
        "enc_bias": np.zeros(16, np.float32),
        "dec": enc.T.copy(),
        "dec_bias": np.zeros(8, np.float32),
    }
    save_file(tensors, tmp_path / "sae.safetensors")
    code = (
        "import sys, json; from pathlib import Path; from atlas.sae.checkpoints import load_sae; "
        "sae = load_sae(Path(sys.argv[1])); print(json.dumps([sae.n_features, sae.width, sae.activation.kind]))"
    )
    found = json.loads(run(patched, "-c", code, str(tmp_path / "sae.safetensors")))
    assert found == [16, 8, "relu"]


def test_the_renderer_draws(patched, tmp_path):
    (tmp_path / "blots.json").write_text('{"contrast": 40, "width": 48}', encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; import numpy as np; from atlas.icons.decoder import open_renderer\n"
        "from atlas.icons.renderers.drawing import Drawing\n"
        "r = open_renderer('blots', Path(sys.argv[1]), 48, encoder='', device='cpu', dtype='float32')\n"
        "x = np.ones((2, 48), np.float32)\n"
        "print([p.size for p in r.draw(x, 0 * x[:1], Drawing(32, 1, 1.0, 0))])"
    )
    assert run(patched, "-c", code, str(tmp_path)).strip() == "[(32, 32), (32, 32)]"


def test_the_stage_is_built_with_the_others(patched, planted_atlas, tmp_path):
    shutil.copytree(planted_atlas.parent, tmp_path / "atlas")
    config = tmp_path / "atlas" / "atlas.toml"
    run(patched, "-m", "atlas", "build", str(config), "loners", "--set", "loners.cosine=1")
    found = json.loads((tmp_path / "atlas" / "build" / "loners" / "loners.json").read_text("utf-8"))
    assert len(found["features"]) > 0
    assert "loners" in run(patched, "-m", "atlas", "plan", str(config))
