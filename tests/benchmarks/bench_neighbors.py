"""Stage neighbors at several numbers of images of 1,280 numbers: time and memory beside their bytes.

Run: python -m tests.benchmarks.bench_neighbors FOLDER IMAGES... [--features F].
Embeddings are drawn shard by shard into FOLDER and kept; each size is scanned first. The stage
runs in a process of its own; memory is its peak above one that only imports the same modules.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from atlas.base.files import read_parquet, remove_tree
from atlas.base.progress import Progress
from atlas.run.stage import Job
from atlas.sae.formats.own import write_own
from atlas.settings.runtime import Runtime
from atlas.settings.study import NeighborsSettings
from atlas.study import neighbors
from tests.benchmarks.bench_long import draw_shards, scan_folder
from tests.benchmarks.bench_scan import describe_machine
from tests.benchmarks.synthetic import make_sae, make_world

SETTINGS = NeighborsSettings()


def main(words: list[str]) -> None:
    """Draw and scan what is missing, run the stage at each size, and print a table."""
    parser = argparse.ArgumentParser(description="measure the stage neighbors")
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=int, nargs="+")
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument(
        "--stage", type=int, help="run it here for so many images, and say the cost"
    )
    asked = parser.parse_args(words)
    if asked.stage is not None:
        print(*run_here(asked.folder, asked.stage))
        return
    world = make_world(asked.features)
    if not (asked.folder / "sae").exists():
        write_own(asked.folder / "sae", make_sae(world))
    print(describe_machine())
    print(
        "| images | queries | wall s | ns a query and image | peak MB | over the vectors' bytes |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for n_images in asked.images:
        draw_shards(asked.folder, world, n_images, 65_536)
        remove_tree(asked.folder / "scan")
        scan_folder(asked.folder)
        command = [sys.executable, "-m", "tests.benchmarks.bench_neighbors", str(asked.folder), "0"]
        run = subprocess.run(
            [*command, "--stage", str(n_images)], check=True, capture_output=True, text=True
        )
        wall, queries, peak = (float(word) for word in run.stdout.split())
        each = 1e9 * wall / (queries * n_images)
        print(
            f"| {n_images:,} | {queries:,.0f} | {wall:.1f} | {each:.0f} | {peak / 1e6:,.0f} "
            f"| {peak / (n_images * 2560):.2f} |",
            flush=True,
        )


def run_here(folder: Path, n_images: int) -> tuple[float, int, float]:
    """Run the stage; return seconds, queries for near misses, and bytes of memory above the start."""
    neighbors.import_faiss()
    import torch

    torch.zeros(1)
    before = peak_kb()
    inputs = {name: folder / name for name in ("sae", "embed", "scan")}
    out_dir = folder / "neighbors"
    out_dir.mkdir(exist_ok=True)
    job = Job(
        name="neighbors",
        version=1,
        settings=SETTINGS,
        runtime=Runtime(),
        inputs=inputs,
        files={},
        digests=dict.fromkeys(inputs, "0" * 64),
        out_dir=out_dir,
        published_dir=folder / "nothing",
        published_home=out_dir,
        progress=Progress(silent=True),
    )
    began = time.perf_counter()
    neighbors.run(job)
    wall = time.perf_counter() - began
    tops = read_parquet(inputs["scan"] / "top_images.parquet", ["rank", "image"])
    first = tops["rank"].to_numpy() < SETTINGS.near_miss_top_images
    queries = len(np.unique(tops["image"].to_numpy()[first]))
    return wall, queries, (peak_kb() - before) * 1024.0


def peak_kb() -> int:
    """Return this process's peak of memory in kB; unlike getrusage's, without its parent's before exec."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(sys.argv[1:])
