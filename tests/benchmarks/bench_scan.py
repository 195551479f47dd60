"""What a full exact scan costs, as a ratio to the float32 product alone, with each screen.

Run: make bench-scan, which also installs SAEDashboard and saev in an environment of its own, as
they pin others' versions, and times their own code on a slice of the features in the same run;
without them: python -m tests.benchmarks.bench_scan [IMAGES] [FEATURES]. One thread, CPU time, the
quickest of three in turn; set OMP_NUM_THREADS and OPENBLAS_NUM_THREADS to 1, and no OPENBLAS_CORETYPE. Prints; asserts
that all screens wrote the same bytes, and that the others found the same strongest activations.
A full scan reads shards, encodes, decodes, and writes all tables and the activations of every
feature.
"""

from __future__ import annotations

import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from atlas.base.files import digest_file, digest_json, list_files, write_json
from atlas.base.progress import Progress
from atlas.inputs.encoder import ensure_torchvision
from atlas.run.stage import Job
from atlas.sae.formats.own import write_own
from atlas.sae.model import SAE
from atlas.sae.screening import FEATURES_PER_BLOCK
from atlas.scan import scan
from atlas.settings.runtime import Runtime
from atlas.settings.scan import ScanSettings
from tests.benchmarks.synthetic import make_sae, make_world

BATCH = 1024
REPEATS = 3
SLICE_A_DIMENSION = 2
"""Features, for each dimension, that other libraries' code is timed on."""


def main(n_images: int, n_features: int) -> None:
    """Time the products and the scans, and print a table."""
    torch.set_num_threads(1)
    world = make_world(n_features)
    sae, x = make_sae(world), world.images(n_images, 1000)
    print(describe_machine())
    print(f"{n_images:,} images, {n_features:,} features of width {x.shape[1]}; 1 thread, CPU time")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_inputs(root, sae, x)
        screens = ["float32", "int8"]
        if torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2"):
            screens.append("bf16")
        runs: dict[str, Callable[[], None]] = {
            "float32 product, numpy": lambda: _numpy_product(sae, x),
            "float32 product, torch": lambda: _torch_product(sae, x),
        }
        for screen in screens:
            runs[f"full scan, {screen}"] = lambda screen=screen: _scan(root, screen)
        took: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(REPEATS):
            for name, do in runs.items():
                began = time.process_time()
                do()
                took[name].append(time.process_time() - began)
        quickest = _print(took)
        digests = {screen: _digest(root / screen) for screen in screens}
        assert len(set(digests.values())) == 1, digests
        print(f"the same bytes with {' and '.join(screens)}: yes")
        if find_spec("sae_dashboard") and find_spec("saev"):
            ours = min(quickest[f"full scan, {screen}"] for screen in screens)
            _print_peers(root, sae, x, ours)
        else:
            print("SAEDashboard and saev are not installed here; run make bench-scan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process, with two copies of the weights and inputs: {peak:.1f} GB")


def _print(took: dict[str, list[float]]) -> dict[str, float]:
    """Print and return the quickest of each; a product alone differs by a tenth on a shared machine."""
    quickest = {name: min(values) for name, values in took.items()}
    floor = min(value for name, value in quickest.items() if name.startswith("float32"))
    for name, value in quickest.items():
        print(f"{name:<26}{value:>9.2f} s{value / floor:>7.2f}   slowest {max(took[name]):.2f} s")
    return quickest


def _print_peers(root: Path, sae: SAE, x: np.ndarray, ours: float) -> None:
    """Time others' code, and our own scan, on some of the features, and carry on to all.

    Args:
        root: Where all features' scans were written.
        sae: The whole.
        x: (image, dimension).
        ours: CPU seconds of our scan of all features.
    """
    ensure_torchvision()  # they import it, and beside a CPU torch there may be another one's
    from tests.benchmarks import peers

    width, n_features = x.shape[1], sae.n_features
    features = np.arange(0, n_features, n_features // (SLICE_A_DIMENSION * width))
    features = features[: SLICE_A_DIMENSION * width]
    few = replace(
        sae, W_enc=sae.W_enc[features], b_enc=sae.b_enc[features], W_dec=sae.W_dec[features]
    )
    (root / "slice").mkdir()
    write_inputs(root / "slice", few, x)
    largest = pq.read_table(root / "float32" / "features.parquet")["max"].to_numpy()[features]
    largest = np.nan_to_num(largest)
    print(
        f"{len(features):,} of the features; then all, in proportion, over our scan of all, {ours:.1f} s; "
        f"sae-dashboard {version('sae-dashboard')}, saev {version('saev')}"
    )
    began = time.process_time()
    _scan(root / "slice", "float32")
    print(f"{'full scan, float32':<26}{time.process_time() - began:>9.2f} s")
    for name, find in (("SAEDashboard", peers.saedashboard), ("saev", peers.saev)):
        began = time.process_time()
        found = find(few, x)
        took = time.process_time() - began
        assert np.allclose(found.reshape(len(features), -1)[:, 0], largest, atol=1e-3), name
        whole = took * n_features / len(features)
        print(f"{name:<26}{took:>9.2f} s{whole:>10.1f} s{whole / ours:>7.1f}")


def describe_machine() -> str:
    """Return the processors, what torch can use of them, and torch's version."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{len(names)} x {names[0]}" if names else platform.processor()
    return f"{processor}; {torch.backends.cpu.get_cpu_capability()}; torch {torch.__version__}"


def write_inputs(root: Path, sae: SAE, x: np.ndarray) -> None:
    """Write the SAE, one shard, and what the embed stage would say of it."""
    write_own(root / "sae", sae)
    embed = root / "embed"
    embed.mkdir()
    np.save(embed / "0000.npy", x)
    shard = {
        "name": "0000",
        "path": "0000.npy",
        "rows": len(x),
        "first_image": 0,
        "sha256": digest_file(embed / "0000.npy"),
    }
    index = {"width": x.shape[1], "rows": len(x), "encoder": {}, "normalized": False}
    write_json(embed / "embeddings.json", index | {"shards": [shard]})
    table = pa.table({"image": np.arange(len(x)), "split": [""] * len(x)})
    pq.write_table(table, embed / "images.parquet")


def _scan(root: Path, screen: str) -> None:
    out_dir = root / screen
    for path in list_files(out_dir):
        path.unlink()
    out_dir.mkdir(exist_ok=True)
    inputs = {"embed": root / "embed", "sae": root / "sae"}
    job = Job(
        name="scan",
        version=1,
        settings=ScanSettings(),
        runtime=Runtime.model_validate({"screen": screen, "batch_images": BATCH, "threads": 1}),
        inputs=inputs,
        files={},
        digests=dict.fromkeys(inputs, "0" * 64),
        out_dir=out_dir,
        published_dir=root / "nothing",
        published_home=out_dir,
        progress=Progress(),
    )
    scan.run(job)


def _digest(folder: Path) -> str:
    files = [
        path
        for path in list_files(folder)
        if path.suffix != ".lock" and path.name not in ("used", "agreed")
    ]
    return digest_json({path.relative_to(folder).as_posix(): digest_file(path) for path in files})


def _numpy_product(sae: SAE, x: np.ndarray) -> None:
    out = np.empty((BATCH, FEATURES_PER_BLOCK), np.float32)
    for start in range(0, len(x), BATCH):
        rows = x[start : start + BATCH].astype(np.float32)
        for first in range(0, sae.n_features, FEATURES_PER_BLOCK):
            weights = sae.W_enc[first : first + FEATURES_PER_BLOCK]
            np.matmul(rows, weights.T, out=out[: len(rows), : len(weights)])


def _torch_product(sae: SAE, x: np.ndarray) -> None:
    for start in range(0, len(x), BATCH):
        rows = torch.from_numpy(x[start : start + BATCH].astype(np.float32))
        for first in range(0, sae.n_features, FEATURES_PER_BLOCK):
            rows @ torch.from_numpy(sae.W_enc[first : first + FEATURES_PER_BLOCK]).T


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [2048, 16_384][len(numbers) :]))
