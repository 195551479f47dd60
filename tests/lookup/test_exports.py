"""An atlas for other tools, read back by what reads it."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import atlas
from atlas.base.errors import ConfigError
from atlas.lookup.exports import _harmless, export_features, export_images
from atlas.sae.checkpoints import load_sae
from atlas.sae.formats.saelens import write_saelens


@pytest.fixture(scope="module")
def opened(planted_atlas):
    return atlas.open(planted_atlas)


def test_a_table_has_every_live_feature_that_is_not_sensitive_with_its_neighbors(opened, tmp_path):
    n = export_features(opened, tmp_path / "features.parquet")
    rows = pq.read_table(tmp_path / "features.parquet").to_pylist()
    (wanted,) = opened.rows("SELECT list(feature ORDER BY feature) FROM features WHERE alive AND NOT sensitive")[0]  # fmt: skip
    assert [row["feature"] for row in rows] == wanted
    assert n == len(wanted)
    first = opened.neighbors(wanted[0], 100)
    assert rows[0]["neighbors"]["ids"] == [one.feature for one in first]
    assert rows[0]["neighbors"]["distances"] == pytest.approx([1 - one.cosine for one in first])
    assert all(0 <= row["x"] <= 1 and 0 <= row["y"] <= 1 for row in rows)


def test_a_spreadsheet_gets_the_same_features_and_no_formula(opened, tmp_path):
    n = export_features(opened, tmp_path / "features.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "features.csv").read_text("utf-8"))))
    assert len(rows) == n
    assert "neighbors" not in rows[0]
    assert float(rows[0]["density"]) == opened.feature(int(rows[0]["feature"])).density
    assert [_harmless(cell) for cell in ("=1+1", "@a", "-2", "a=b", -2.5)] == ["'=1+1", "'@a", "'-2", "a=b", -2.5]  # fmt: skip
    with pytest.raises(ConfigError, match=r"must end in \.parquet or \.csv"):
        export_features(opened, tmp_path / "features.xlsx")


def test_a_dataset_of_images_has_its_card_its_schema_and_pictures(opened, tmp_path):
    n = export_images(opened, tmp_path, 3)
    table = pq.read_table(tmp_path / "data" / "train.parquet")
    info = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert set(info) == set(table.column_names)
    assert info["image"] == {"_type": "Image"}
    rows = table.to_pylist()
    assert len(rows) == n
    assert max(row["rank"] for row in rows) == 2
    hidden = {i for (i,) in opened.rows("SELECT image FROM images WHERE sensitive")}
    assert hidden
    assert not hidden & {row["number"] for row in rows}
    Image.open(io.BytesIO(rows[0]["image"]["bytes"])).verify()
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "data_files: data/train.parquet" in card
    assert opened.id in card


def test_an_sae_written_for_saelens_is_read_as_the_same(planted_atlas, tmp_path):
    sae = load_sae(planted_atlas.parent / "sae")
    write_saelens(tmp_path / "out", sae)
    again = load_sae(tmp_path / "out")
    np.testing.assert_allclose(again.W_dec, sae.W_dec, rtol=1e-6)
    assert again.n_features == sae.n_features
