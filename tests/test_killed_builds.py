"""A build killed in any stage resumes to the same bytes."""

import pytest
from building import (
    MIDDLE,
    STAGE_NAMES,
    building,
    built_stages,
    contents,
    finished_parts,
    freeze,
)
from planted import plant


@pytest.mark.parametrize(
    "stages",
    [
        pytest.param(("embed", "scan", "catalog"), id="some"),
        pytest.param(STAGE_NAMES, id="every", marks=pytest.mark.slow),
    ],
)
def test_a_build_killed_in_any_stage_gives_the_same_bytes(tmp_path, stages):
    for name in ("whole", "killed"):
        plant(tmp_path / name)
        config = tmp_path / name / "atlas.toml"
        trained = "[train]\nn_features = 64\nsteps = 1200\nbatch_images = 64\n"
        config.write_text(config.read_text().replace('[sae]\npath = "sae"\n', trained))
    assert built_stages(tmp_path / "whole") == STAGE_NAMES
    root = tmp_path / "killed" / "build"
    killed, parts = [], {}
    for stage in stages:
        with building(tmp_path / "killed") as process:
            if freeze(process, tmp_path / "killed", stage, MIDDLE.get(stage, "")):
                killed.append(stage)
                parts |= finished_parts(root / ".work" / stage)
    left = STAGE_NAMES[STAGE_NAMES.index(stages[-1]) :]
    assert built_stages(tmp_path / "killed") == left
    assert contents(root) == contents(tmp_path / "whole/build")
    assert killed == list(stages)
    # What was finished before the kill was not made again; train's state is not kept at all.
    after = {**finished_parts(root / "embed"), **finished_parts(root / "scan")}
    after |= finished_parts(root / "catalog") | finished_parts(root / "concepts")
    kept = {name for name in parts if not name.startswith(("state-", "agreed", "."))}
    assert {name.split("-")[0] for name in kept} >= {"thumbnails", "0000", "map"}
    assert {name: parts[name] for name in kept}.items() <= after.items()
