"""One shard scanned by the processor's path or the card's, and how the two parts must agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from planted import make_job

from atlas.base.files import digest_file, write_json
from atlas.sae.activations import map_tensors
from atlas.sae.encoding import make_encoder
from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE
from atlas.scan import scanner
from atlas.scan.card import make_card
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


def part_of(root: Path, sae: SAE, x: np.ndarray, screen: str, card: str = "") -> dict:
    """Scan images as one shard, as a card on a torch device if one is named; return its tensors."""
    inputs = {"embed": root / "embed", "sae": root / "sae"}
    if not inputs["sae"].exists():
        write_inputs(root, sae, x)
    job = make_job(
        "scan",
        ScanSettings(top_images=3),
        inputs,
        root / "scan",
        batch_images=min(1024, 16 * -(-len(x) // 256)),
    )
    found = scanner.open_scanner(job)
    found.encoder = make_encoder(sae, card or "cpu", screen, x[:1024])
    if card:
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
