"""What killed builds leave is gone after the next build, but for parts that another build goes on from."""

from __future__ import annotations

import pytest
from building import MIDDLE, building, built_stages, freeze
from planted import plant


@pytest.mark.parametrize("stage", ["scan", pytest.param("catalog", marks=pytest.mark.slow)])
def test_a_forced_build_that_was_killed_leaves_nothing_behind(tmp_path, stage):
    plant(tmp_path)
    built_stages(tmp_path)
    with building(tmp_path, stage, "--force") as process:
        assert freeze(process, tmp_path, stage, MIDDLE[stage])
    work = tmp_path / "build/.work"
    assert any(work.iterdir())
    assert built_stages(tmp_path) == []
    assert not list(work.iterdir())


def test_parts_of_other_settings_are_kept_for_the_build_that_asks_for_them(tmp_path):
    plant(tmp_path)
    built_stages(tmp_path)
    change = ("--set", "scan.top_images=9")
    with building(tmp_path, "scan", *change) as process:
        assert freeze(process, tmp_path, "scan", MIDDLE["scan"])
    parts = {path.name for path in (tmp_path / "build/.work/scan/parts").glob("0000-*s")}
    assert parts
    assert built_stages(tmp_path) == []
    assert parts <= {path.name for path in (tmp_path / "build/.work/scan/parts").iterdir()}
