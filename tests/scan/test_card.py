"""The scan that runs on a card, on the CPU: the same part as the processor's own scan writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import exact_sae, make_job

from atlas.base.errors import InputError
from atlas.base.files import digest_file, write_json
from atlas.sae import candidates
from atlas.sae.activations import map_tensors
from atlas.sae.encoding import make_encoder
from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE, InputConvention
from atlas.scan import card, scanner
from atlas.scan.card import CardScan, make_card
from atlas.settings.scan import ScanSettings

EXACT = (
    *("count", "histogram_cell", "histogram_count", "top_key", "l0", "norm", "activation"),
    *("feature_low", "feature_overflow_at", "feature_overflow"),
)
CLOSE = ("sum", "sum_squares", "mass", "squared_error", "cosine")


def write_inputs(root: Path, sae: SAE, x: np.ndarray) -> None:
    """Write the SAE, and images as the embed stage would leave them in one shard."""
    write_own(root / "sae", sae)
    (root / "embed").mkdir()
    np.save(root / "embed" / "0000.npy", x)
    shard = {"name": "0000", "path": "0000.npy", "rows": len(x), "first_image": 0}
    shard["sha256"] = digest_file(root / "embed" / "0000.npy")
    index = {"width": x.shape[1], "rows": len(x), "encoder": {}, "normalized": False}
    write_json(root / "embed" / "embeddings.json", index | {"shards": [shard]})
    images = pa.table({"image": np.arange(len(x)), "split": [""] * len(x)})
    pq.write_table(images, root / "embed" / "images.parquet")


def part_of(root: Path, sae: SAE, x: np.ndarray, screen: str, **on_card: bool) -> dict:
    """Scan images as one shard, on a card if told so; return the part's tensors."""
    inputs = {"embed": root / "embed", "sae": root / "sae"}
    if not inputs["sae"].exists():
        write_inputs(root, sae, x)
    job = make_job("scan", ScanSettings(top_images=3), inputs, root / "scan", batch_images=16)
    found = scanner.open_scanner(job)
    found.encoder = make_encoder(sae, "cpu", screen, x)
    if on_card:
        found.card = make_card(found.encoder)
    path = root / "part"
    found.write(0, lambda counts: None, path)
    return {name: np.array(tensor) for name, tensor in map_tensors(path).items()}


def compare(found: dict, expected: dict) -> None:
    assert set(found) == {*EXACT, *CLOSE} == set(expected)
    for name in EXACT:
        assert found[name].dtype == expected[name].dtype, name
        assert found[name].tobytes() == expected[name].tobytes(), name
    for name in CLOSE:
        assert np.allclose(found[name], expected[name], rtol=1e-5, atol=1e-9), name


@pytest.mark.parametrize("screen", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "jumprelu", "batchtopk"])
def test_a_card_writes_the_processors_part(tmp_path, monkeypatch, kind, screen):
    monkeypatch.setattr(card, "TALLIED_AT_ONCE", 2)
    for module in (card, scanner):
        monkeypatch.setattr(module, "CHUNK_IMAGES", 50)
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, kind, n_features=90, width=8)
    x = (rng.integers(-8, 9, (280, 8)) / 4).astype(np.float16)
    x[~x.any(axis=1)] = 1
    expected = part_of(tmp_path, sae, x, screen)
    assert expected["count"].max() > 6
    compare(part_of(tmp_path, sae, x, screen, on_card=True), expected)


@pytest.mark.parametrize("convention", ["unit", "layernorm"])
def test_a_card_reads_what_the_sae_reads(tmp_path, convention):
    rng = np.random.default_rng(5)
    sae = replace(exact_sae(rng, "relu", n_features=40, width=8), input=InputConvention(convention))
    x = rng.normal(size=(60, 8)).astype(np.float32)
    expected = part_of(tmp_path, sae, x, "bf16")
    assert expected["l0"].sum() > 0
    compare(part_of(tmp_path, sae, x, "bf16", on_card=True), expected)


def test_a_list_that_was_too_short_is_made_again(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "relu", n_features=90, width=8)
    x = (rng.integers(1, 9, (70, 8)) / 4).astype(np.float16)
    expected = part_of(tmp_path, sae, x, "bf16")
    asked, really = [], candidates.name_candidates

    def counted(encoder, inputs, batch_images, *room):
        asked.append(room)
        return really(encoder, inputs, batch_images, *(room or (1, 64)))

    for module in (card, candidates):
        monkeypatch.setattr(module, "name_candidates", counted)
    compare(part_of(tmp_path, sae, x, "bf16", on_card=True), expected)
    assert asked[:3] == [(), (4, 16), (16, 4)]


def test_an_activation_beyond_float32_is_refused_on_a_card(tmp_path):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "relu", n_features=9, width=8)
    sae = replace(sae, W_enc=np.abs(sae.W_enc) * np.float32(1e37) + np.float32(1e37))
    scan = CardScan(make_card(make_encoder(sae)), np.full((3, 8), 60, np.float32), 3)
    with pytest.raises(InputError, match=r"feature 0 activates beyond float32"):
        list(scan.chunks(8))
