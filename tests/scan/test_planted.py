from __future__ import annotations

import io
import tomllib
from itertools import combinations

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from planted import HOSTILE, plant

from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import encode
from atlas.settings.load import load_config


def test_the_answers_are_what_the_sae_computes(tmp_path):
    planted = plant(tmp_path)
    assert np.array_equal(encode(load_sae(tmp_path / "sae"), planted.x), planted.activations())


def test_there_are_ties_copies_dead_features_and_twins(tmp_path):
    planted = plant(tmp_path)
    a = planted.activations()
    assert planted.dead.sum() == 9
    assert not a[:, planted.dead].any()
    assert len(np.unique(planted.x, axis=0)) < len(planted.x)
    feature = int(np.argmax((a > 0).sum(axis=0)))
    mine = a[a[:, feature] > 0, feature]
    assert len(np.unique(mine)) < len(mine)
    units = planted.sae.W_dec / np.linalg.norm(planted.sae.W_dec, axis=1, keepdims=True)
    cosine = units @ units.T
    for i, j in combinations(range(0, 96, 2), 2):
        assert cosine[i, i + 1] > 0.95 > cosine[i, j]


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        plant(tmp_path / name, n_images=30)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        twin = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == twin.read_bytes()


def test_a_planted_folder_is_a_configuration_that_says_synthetic(tmp_path):
    planted = plant(tmp_path)
    config = load_config(tmp_path / "atlas.toml")
    assert config.catalog.synthetic
    assert config.sae.path == tmp_path / "sae"
    assert tomllib.loads((tmp_path / "atlas.toml").read_text())["catalog"]["synthetic"]
    assert load_sae(tmp_path / "sae").provenance["synthetic"] is True
    table = pq.read_table(tmp_path / "images.parquet")
    assert table.num_rows == len(planted.x) == pq.read_table(tmp_path / "pictures.parquet").num_rows


def test_captions_are_hostile_but_hold_no_nul(tmp_path):
    plant(tmp_path)
    captions = pq.read_table(tmp_path / "images.parquet")["caption"].to_pylist()
    assert captions[: len(HOSTILE)] == list(HOSTILE)
    assert not any("\0" in caption for caption in captions)


def test_pictures_are_small_webp(tmp_path):
    plant(tmp_path, n_images=5)
    for data in pq.read_table(tmp_path / "pictures.parquet")["webp"].to_pylist():
        with Image.open(io.BytesIO(data)) as picture:
            assert (picture.format, picture.size) == ("WEBP", (96, 96))


@pytest.mark.parametrize(
    ("n_features", "width", "l0"), [(2, 3, 1.0), (4096, 128, 20.0), (496, 32, 30.0)]
)
def test_other_sizes_keep_their_answers(tmp_path, n_features, width, l0):
    planted = plant(tmp_path, n_features=n_features, width=width, n_images=40, n_shards=1, l0=l0)
    assert np.array_equal(encode(planted.sae, planted.x), planted.activations())
    assert (planted.activations() > 0).sum(axis=1).mean() > l0 / 3


def test_the_published_size_keeps_its_answers(tmp_path):
    planted = plant(tmp_path, n_features=81_920, width=1280, n_images=64, l0=60)
    assert np.array_equal(encode(planted.sae, planted.x), planted.activations())
