from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted import plant, write_embed

from atlas.base.errors import InputError, MissingError
from atlas.base.files import read_json, write_json
from atlas.inputs.embeddings import check_vectors, read_embeddings


def good(rows: int = 3, width: int = 4) -> np.ndarray:
    return np.arange(1, rows * width + 1, dtype=np.float32).reshape(rows, width)


def saved(folder: Path, array: np.ndarray) -> Path:
    path = folder / "0000.npy"
    np.save(path, array)
    return path


def changed(row: int, column: int, value: float) -> np.ndarray:
    array = good()
    array[row, column] = value
    return array


def refusal(path: Path, width: int | None = 4, rows: int | None = 3) -> str:
    with pytest.raises(InputError) as caught:
        check_vectors(path, width, rows)
    message = str(caught.value)
    assert "\n" not in message
    assert "pickle" not in message
    return message


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_good_vectors_are_mapped_as_they_are(tmp_path, dtype):
    path = saved(tmp_path, good().astype(dtype))
    found = check_vectors(path, 4, 3)
    assert isinstance(found, np.memmap)
    assert found.dtype == dtype
    assert np.array_equal(found, good())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (good().astype(np.float64), "holds float64, expected float16 or float32; convert the file"),
        (good().astype(np.int32), "holds int32, expected float16 or float32; convert the file"),
        (good().ravel(), "has shape (12,), expected (rows, dimensions); convert the file"),
        (
            good(3, 5),
            "has 5 columns, expected 4; use embeddings of the encoder that the SAE was trained on",
        ),
        (good(0), "has 0 rows, expected 3; restore it or build embed again"),
        (good(2), "has 2 rows, expected 3; restore it or build embed again"),
    ],
)
def test_an_array_of_another_kind_or_size_is_refused(tmp_path, array, message):
    path = saved(tmp_path, array)
    assert refusal(path) == f"{path} {message}"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            changed(1, 2, np.nan),
            "row 1 has nan in column 2, expected a finite number; embed that image again or drop it",
        ),
        (
            changed(2, 0, -np.inf),
            "row 2 has -inf in column 0, expected a finite number; embed that image again or drop it",
        ),
        (
            good() * np.array([[1], [0], [1]], np.float32),
            "row 1 has length 0, expected more; embed that image again or drop it",
        ),
    ],
)
def test_a_bad_row_is_named(tmp_path, array, message):
    path = saved(tmp_path, array)
    assert refusal(path) == f"{path}: {message}"


def test_a_bad_row_far_into_a_file_is_numbered_from_its_start(tmp_path):
    array = np.ones((20_000, 2), np.float32)
    array[17_003, 1] = np.nan
    path = saved(tmp_path, array)
    assert "row 17003 has nan in column 1" in refusal(path, 2, 20_000)


def test_a_shard_without_a_row_is_refused(tmp_path):
    path = saved(tmp_path, good(0))
    assert refusal(path, 4, None) == f"{path} has 0 rows, expected at least 1; leave the file out"


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"not a numpy file at all"])
def test_a_file_of_another_format_is_refused_without_advice_to_unpickle_it(tmp_path, content):
    path = tmp_path / "0000.npy"
    path.write_bytes(content)
    assert refusal(path) == (
        f"{path} is not a whole .npy file of numbers ({len(content)} bytes); replace the file"
    )


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "0000.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert "is not a whole .npy file of numbers" in refusal(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = saved(tmp_path, good())
    path.write_bytes(path.read_bytes()[:-1])
    assert "is not a whole .npy file of numbers" in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    missing = tmp_path / "none.npy"
    assert refusal(missing) == f"no embeddings at {missing}; restore the file"
    assert refusal(tmp_path) == f"{tmp_path} is a folder, expected a .npy file"


def test_images_are_numbered_on_through_the_shards(tmp_path):
    planted = plant(tmp_path / "in", n_images=50, n_shards=4)
    embeddings = read_embeddings(write_embed(planted, tmp_path / "embed"))
    assert [shard.first_image for shard in embeddings.shards] == [0, 13, 26, 38]
    assert np.array_equal(embeddings.read_all(), planted.x)
    blocks = list(embeddings.blocks(5))
    assert np.array_equal(np.concatenate([block for _, block in blocks]), planted.x)


def test_an_index_that_contradicts_itself_is_refused(tmp_path):
    planted = plant(tmp_path / "in", n_images=20, n_shards=2)
    folder = write_embed(planted, tmp_path / "embed")
    path = folder / "embeddings.json"
    index = read_json(path)
    write_json(path, index | {"rows": 21})
    with pytest.raises(InputError, match="the shards hold 20 rows, the index says 21"):
        read_embeddings(folder)
    index["shards"][1]["first_image"] = 9
    write_json(path, index)
    with pytest.raises(InputError, match="shard 0001 starts at image 9, expected 10"):
        read_embeddings(folder)
    del index["width"]
    write_json(path, index)
    with pytest.raises(InputError, match="lacks or garbles 'width'"):
        read_embeddings(folder)
    path.unlink()
    with pytest.raises(MissingError):
        read_embeddings(folder)
