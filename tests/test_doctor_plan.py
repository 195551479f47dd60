"""What is said of a machine and of a build before anything runs."""

from planted import plant

from atlas.cli import run
from atlas.config import load_config
from atlas.doctor import examine
from atlas.plan import make_plan


def test_a_machine_that_can_build_is_told_so_line_by_line(tmp_path, capsys):
    plant(tmp_path)
    findings = examine(tmp_path / "atlas.toml", "cpu")
    assert all(finding.ok for finding in findings), findings
    scan = [f for f in findings if f.what.startswith("exact scan")]
    assert len(scan) == 1
    assert "largest difference from float64" in scan[0].found
    assert run(["doctor", str(tmp_path / "atlas.toml")]) == 0
    assert all(line.startswith("ok") for line in capsys.readouterr().out.splitlines())


def test_what_is_wrong_comes_with_what_mends_it(tmp_path, capsys):
    plant(tmp_path)
    (tmp_path / "images.parquet").unlink()
    assert run(["doctor", str(tmp_path / "atlas.toml")]) == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("ok")]
    assert len(bad) == 1
    assert "images" in bad[0]
    assert ";" in bad[0]


def test_a_device_that_is_not_there_is_a_finding_not_a_traceback(capsys):
    assert run(["doctor", "--device", "cuda:7"]) == 1
    assert any("cuda:7" in line for line in capsys.readouterr().out.splitlines())


def test_the_plan_grows_with_the_images_and_knows_its_stages(tmp_path):
    small = plant(tmp_path / "small", n_images=200)
    large = plant(tmp_path / "large", n_images=2000)
    plans = [make_plan(load_config(p.folder / "atlas.toml")) for p in (small, large)]
    for before, after in zip(plans[0].stages, plans[1].stages, strict=True):
        assert before.stage == after.stage
        assert before.time_s <= after.time_s
        assert before.disk_bytes <= after.disk_bytes
    assert [e.stage for e in plans[0].stages] == [
        "embed",
        "scan",
        "neighbors",
        "families",
        "concepts",
        "catalog",
        "site",
    ]
    assert plans[0].missing == ()


def test_the_plan_names_what_is_missing_and_runs_nothing(tmp_path, capsys):
    plant(tmp_path)
    (tmp_path / "pictures.parquet").unlink()
    assert run(["plan", str(tmp_path / "atlas.toml")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("atlas: no pictures at ")
    assert not (tmp_path / "build").exists()
