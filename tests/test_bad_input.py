"""Bad input: one clear line each, status 1, and the atlas that was there stays as it was."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atlas.base.files import digest_file, list_files
from atlas.command.app import run
from atlas.sae.formats.own import read_own, write_own


@pytest.fixture(scope="module")
def good(tmp_path_factory, planted_atlas):
    return planted_atlas.parent


def wrong_width(folder):
    path = sorted((folder / "vectors").glob("*.npy"))[1]
    np.save(path, np.ones((len(np.load(path)), 31), np.float16))


def not_a_number(folder):
    path = sorted((folder / "vectors").glob("*.npy"))[0]
    x = np.load(path)
    x[5, 3] = np.nan
    np.save(path, x)


def changed(folder, change):
    path = sorted((folder / "vectors").glob("*.npy"))[0]
    np.save(path, change(np.load(path)))


def infinite(folder):
    def change(x):
        x[6, 2] = -np.inf
        return x

    changed(folder, change)


def zero_row(folder):
    changed(folder, lambda x: x * (np.arange(len(x)) != 7)[:, None].astype(x.dtype))


def wrong_dtype(folder):
    changed(folder, lambda x: x.astype(np.int32))


def empty_shard(folder):
    changed(folder, lambda x: x[:0])


def repeated_id(folder):
    path = folder / "images.parquet"
    table = pq.read_table(path)
    numbers = pa.array([row - (row == 9) for row in range(len(table))])
    pq.write_table(table.append_column("uid", numbers), path)


def spoiled_sae(folder, name, value):
    sae = read_own(folder / "sae")
    array = getattr(sae, name).copy()
    array[3] = value
    # The record itself refuses such numbers: only another program writes them.
    object.__setattr__(sae, name, array)
    vars(sae).pop("_digest", None)
    write_own(folder / "sae", sae)


def nan_in_sae(folder):
    spoiled_sae(folder, "W_enc", np.nan)


def feature_without_direction(folder):
    spoiled_sae(folder, "W_dec", 0)


def normalized(folder):
    for path in (folder / "vectors").glob("*.npy"):
        x = np.load(path).astype(np.float32)
        np.save(path, x / np.linalg.norm(x, axis=1, keepdims=True))
    spoiled_sae(folder, "b_dec", 30)


def truncated_vectors(folder):
    path = sorted((folder / "vectors").glob("*.npy"))[0]
    path.write_bytes(path.read_bytes()[:-100])


def truncated_checkpoint(folder):
    path = folder / "sae" / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def too_few_rows(folder):
    path = folder / "images.parquet"
    pq.write_table(pq.read_table(path).slice(0, 299), path)


def no_captions(folder):
    path = folder / "images.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["caption"]), path)


def unknown_setting(folder):
    with (folder / "atlas.toml").open("a") as file:
        file.write("\n[scan]\ntop_image = 9\n")


def impossible_setting(folder):
    with (folder / "atlas.toml").open("a") as file:
        file.write("\n[scan]\ntop_images = 0\n")


def without(name):
    def remove(folder):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    return remove


BAD = {
    "wrong width": (wrong_width, "0001.npy"),
    "not a number": (not_a_number, "0000.npy"),
    "infinite": (infinite, "0000.npy: row 6 has -inf in column 2, expected a finite number"),
    "zero row": (zero_row, "0000.npy: row 7 has length 0, expected more"),
    "wrong dtype": (wrong_dtype, "0000.npy holds int32, expected float16 or float32"),
    "empty shard": (empty_shard, "0000.npy has 0 rows, expected at least 1"),
    "repeated id": (repeated_id, "row 9 has uid '8', which row 8 has, expected each once"),
    "nan in SAE": (nan_in_sae, "W_enc has nan at row 3, expected a finite number"),
    "no direction": (feature_without_direction, "W_dec has length 0 at row 3, expected a"),
    "normalized": (normalized, "all have length 1, the SAE's decoder bias alone has 32.8"),
    "truncated vectors": (truncated_vectors, "0000.npy"),
    "truncated checkpoint": (truncated_checkpoint, "sae.safetensors"),
    "too few rows": (too_few_rows, "has 299 rows, the vectors have 300"),
    "no captions": (no_captions, "has no column caption"),
    "unknown setting": (unknown_setting, "did you mean scan.top_images?"),
    "impossible setting": (impossible_setting, "scan.top_images"),
    "no vectors": (without("vectors"), "no vectors at"),
    "no images": (without("images.parquet"), "no images at"),
    "no pictures": (without("pictures.parquet"), "no pictures at"),
    "no checkpoint": (without("sae"), "no sae at"),
    "no configuration": (without("atlas.toml"), "no configuration at"),
}


def contents(folder):
    wanted = [path for path in list_files(folder) if ".work" not in path.parts]
    stages = [path for path in wanted if not path.relative_to(folder).as_posix().startswith(".")]
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in stages}


GONE = {"no vectors", "no images", "no pictures", "no checkpoint"}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_harms_nothing(good, tmp_path, capsys, what):
    folder = shutil.copytree(good, tmp_path / "planted", symlinks=True)
    before = contents(folder / "build")
    harm, said = BAD[what]
    harm(folder)
    # A finished build trusts its receipts for inputs that are gone; one that runs again needs them.
    again = ["--force"] if what in GONE else []
    assert run(["build", str(folder / "atlas.toml"), *again]) == 1
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith("atlas: ")]
    assert len(told) == 1
    assert said in told[0]
    assert told == lines[-1:]
    assert not any("Traceback" in line for line in lines)
    after = contents(folder / "build")
    damaged = {name for name in before if after.get(name) != before[name]}
    assert not {name for name in damaged if not name.startswith("embed/")}
