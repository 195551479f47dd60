"""A bit that flips after a stage is done is never believed: file, stage and the command that mends it are named."""

from __future__ import annotations

import shutil

import pytest
from building import atlas, built_stages, contents
from faults.flipping import flip, silent_flips
from planted import plant

from atlas.pipeline import RECORDS

FLIPS = [300, pytest.param(1500, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips") / "planted"
    plant(folder)
    built_stages(folder)
    return folder


@pytest.fixture
def copied(built, tmp_path):
    return shutil.copytree(built, tmp_path / "planted", symlinks=True)


@pytest.mark.parametrize("n_flips", FLIPS)
def test_no_flip_is_silent(copied, n_flips):
    assert silent_flips(copied / "build", n_flips) == []


@pytest.mark.parametrize(
    "name",
    ["scan/top_images.parquet", "families/clusters.parquet", "neighbors/image_index.faiss",
     "catalog/atlas.duckdb", "catalog/search/prototypes.npy", "embed/embeddings.json",
     "concepts/examples.parquet"],
)  # fmt: skip
def test_a_stage_that_reads_a_damaged_file_names_it_its_stage_and_what_mends_it(
    built, copied, name
):
    stage, _, file = name.partition("/")
    path = copied / "build" / name
    if not path.exists():
        pytest.skip("not in this atlas")
    flip(path, 4 * path.stat().st_size)
    reader = {"catalog": "site", "embed": "scan"}.get(stage, "catalog")
    status, _, err = atlas("build", copied / "atlas.toml", reader, "--force")
    assert status == 1
    assert err[-1] == (
        f"atlas: {reader}: {path} is damaged: it is not what the stage {stage} wrote; "
        f"mend it with: atlas build CONFIG {stage} --force"
    )
    _, out, _ = atlas("status", copied / "atlas.toml", "--verify")
    assert f"{stage}: {file} is damaged" in out
    assert stage in built_stages(copied, stage, "--force")
    built_stages(copied)
    assert contents(copied / "build") == contents(built / "build")


def test_a_damaged_part_is_not_used_again(built, copied, tmp_path):
    change = ("--set", "scan.quantile_images=3")
    built_stages(copied, *change)
    whole = contents(copied / "build")
    shutil.rmtree(copied)
    shutil.copytree(built, copied, symlinks=True)
    part = next((copied / "build/scan/parts").glob("*.safetensors"))
    flip(part, 8 * (part.stat().st_size - 1))
    page = copied / "build/site/about.html"
    flip(page, 8 * 200)
    built_stages(copied, *change)
    assert contents(copied / "build") == whole


@pytest.mark.parametrize("name", RECORDS)
def test_verifying_covers_the_records(copied, name):
    flip(copied / "build" / name, 800)
    _, out, _ = atlas("status", copied / "atlas.toml", "--verify")
    assert out[-1] == f"records: {name} is damaged; delete it and build again"
    if name != ".settings.json":
        assert built_stages(copied) == []
