"""Folders called as people call them: a path is no pattern, no SQL and no TOML."""

import json

import duckdb
import pytest
from building import atlas
from planted import plant

from atlas.base.errors import ConfigError
from atlas.prepare.new_atlas import toml_text
from atlas.settings.load import load_config
from atlas.settings.outside import files_of

NAME = """John's [v2] "100% #1" \U0001f3d6 caf\u00e9"""


def test_an_atlas_is_built_and_asked_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / NAME
    plant(folder, n_images=60)
    status, _, err = atlas("build", folder / "atlas.toml")
    assert status == 0, err
    built = folder / "build"
    query = "SELECT 0.0 / 0.0 AS nothing, count(*) AS n FROM images"
    status, out, err = atlas("sql", query, "--atlas", built, "--json")
    assert (status, err) == (0, [])
    assert json.loads("\n".join(out)) == [{"nothing": None, "n": 60}]
    (folder / "a[1].npy").touch()
    assert files_of(folder / "a[1].npy") == (folder / "a[1].npy",)
    assert files_of(folder / "a*.npy") == (folder / "a[1].npy",)


def test_what_duckdb_takes_for_a_folder_is_refused_before_a_build(tmp_path):
    folder = tmp_path / "back\\slash"
    folder.mkdir()
    (folder / "atlas.toml").write_text('out_dir = "out"\n')
    with pytest.raises(ConfigError, match="has a backslash"):
        load_config(folder / "atlas.toml")


@pytest.mark.parametrize("text", [NAME, "tab\t", "\x7f", 'a "quote" \\ b'])
def test_any_text_comes_back_from_our_toml(text):
    import tomllib

    assert tomllib.loads(f"x = {toml_text(text)}") == {"x": text}


def test_a_catalog_that_another_program_writes_to_is_not_to_be_built_again(planted_atlas, tmp_path):
    import shutil
    import subprocess
    import sys

    shutil.copytree(planted_atlas / "catalog", tmp_path / "catalog")
    path = tmp_path / "catalog" / "atlas.duckdb"
    script = (
        "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('open', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writer:  # fmt: skip
        assert writer.stdout.readline() == "open\n"
        status, _, err = atlas("feature", "1", "--atlas", tmp_path)
        writer.stdin.close()
    assert status == 1
    (line,) = err
    assert "is open for writing in another program" in line
    assert "build it again" not in line
    path.write_bytes(path.read_bytes()[:5000])
    status, _, err = atlas("feature", "1", "--atlas", tmp_path)
    assert (status, len(err)) == (1, 1)
    assert "build it again" in err[0]
    assert duckdb.__version__
