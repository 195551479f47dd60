"""A bundle goes to the Hub and comes from it; huggingface_hub itself runs, against a stand-in on this machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hub import hub


@pytest.fixture
def ask(tmp_path, planted_atlas):
    """Run a command line in a process of its own, as the Hub's address is read once; (status, out, err, hub)."""
    with hub() as (address, kept):

        def run(*arguments, endpoint=address):
            environment = os.environ | {
                "HF_ENDPOINT": endpoint,
                "HF_HOME": str(tmp_path / "hub"),
                "HF_TOKEN": "hf_x",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            }
            done = subprocess.run(
                [sys.executable, "-m", "atlas", *map(str, arguments)],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

        yield run, kept


def test_a_bundle_is_uploaded_asked_and_restored(ask, planted_atlas, tmp_path):
    run, kept = ask
    (tmp_path / "atlas").symlink_to(planted_atlas)
    kept.files["objects/00/old"] = b"of an earlier bundle"
    kept.files["README.md"] = b"a card"
    status, out, err = run("bundle", "--atlas", "atlas", "--out", "hf:me/atlas")
    assert status == 0, err
    assert out[1:] == [
        "uploaded to hf:me/atlas",
        "elsewhere: atlas build --from hf:me/atlas --out DIR",
    ]
    assert "manifest.json" in kept.files
    assert "objects/00/old" not in kept.files
    assert "README.md" in kept.files
    status, out, err = run("sql", "SELECT count(*) AS n FROM features", "--atlas", "hf:me/atlas")
    assert (status, out) == (0, ["n", "96"]), err
    status, out, err = run("build", "--from", "hf:me/atlas", "--out", "restored", "catalog")
    assert (status, out[0]) == (0, "restored is up to date: nothing to do"), err


def test_what_the_hub_refuses_is_a_line(ask, tmp_path):
    run, _ = ask
    away = "http://127.0.0.1:9"
    status, _, err = run("report", "--atlas", "hf:me/atlas", endpoint=away)
    assert (status, len(err)) == (1, 1)
    assert err[0].startswith("atlas: hf:me/atlas can't be fetched from the Hub (")
    status, _, err = run("report", "--atlas", "hf:no such name")
    assert (status, len(err)) == (1, 1), err
