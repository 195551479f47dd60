"""A long scan: time, memory and bytes at several numbers of images, all features of the seed's size.

Run: python -m tests.benchmarks.bench_long FOLDER IMAGES... [--features F] [--shard ROWS].
Embeddings are drawn shard by shard into FOLDER and kept there (2.6 kB an image: 12.8 GB for
5,000,000), each size is scanned afresh with a process a core, and a line is printed for it. CPU
time counts all processes; memory is the largest sum over them of what is theirs alone (RssAnon:
neither mapped weights nor the page cache), looked at five times a second.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.base.files import digest_file, list_files, read_parquet, remove_tree, write_json
from atlas.base.progress import Progress
from atlas.run.stage import Job
from atlas.sae.activations import BY_FEATURE, map_tensors
from atlas.sae.formats.own import write_own
from atlas.scan import scan
from atlas.scan.parts import SUFFIX
from atlas.settings.runtime import Runtime
from atlas.settings.scan import ScanSettings
from tests.benchmarks.bench_scan import describe_machine
from tests.benchmarks.synthetic import World, make_sae, make_world


def main(words: list[str]) -> None:
    """Draw what is missing, scan each size, and print a table."""
    parser = argparse.ArgumentParser(description="time scans of several lengths")
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=int, nargs="+")
    parser.add_argument("--features", type=int, default=81_920)
    parser.add_argument("--shard", type=int, default=65_536)
    asked = parser.parse_args(words)
    world = make_world(asked.features)
    if not (asked.folder / "sae").exists():
        write_own(asked.folder / "sae", make_sae(world))
    print(describe_machine())
    print(f"{asked.features:,} features of width {world.directions.shape[1]}")
    print(
        "   images  wall s   CPU s  CPU ms/image  images/s  peak GB  L0  bytes/firing", flush=True
    )
    for n_images in asked.images:
        draw_shards(asked.folder, world, n_images, asked.shard)
        print(_measure(asked.folder, n_images), flush=True)


def draw_shards(folder: Path, world: World, n_images: int, rows: int) -> None:
    """Write the shards that are missing, and what the embed stage would say of so many images."""
    embed = folder / "embed"
    embed.mkdir(parents=True, exist_ok=True)
    shards = []
    for first in range(0, n_images, rows):
        path = embed / f"{first // rows:05d}-{rows}.npy"
        if not path.exists():
            np.save(path, world.images(rows, 1000 + first))
        size = min(rows, n_images - first)
        if size < rows:
            whole, path = path, path.with_name(f"{path.stem}-{size}.npy")
            np.save(path, np.load(whole)[:size])
        facts = {"name": path.stem, "path": path.name, "rows": size, "first_image": first}
        shards.append(facts | {"sha256": digest_file(path)})
    width = world.directions.shape[1]
    index = {"width": width, "rows": n_images, "encoder": {}, "normalized": False}
    write_json(embed / "embeddings.json", index | {"shards": shards})
    table = pa.table({"image": np.arange(n_images), "split": [""] * n_images})
    pq.write_table(table, embed / "images.parquet")


def scan_folder(folder: Path) -> None:
    """Scan the embeddings in a folder as a build would."""
    out_dir = folder / "scan"
    out_dir.mkdir()
    inputs = {"embed": folder / "embed", "sae": folder / "sae"}
    job = Job(
        name="scan",
        version=1,
        settings=ScanSettings(),
        runtime=Runtime(),
        inputs=inputs,
        files={},
        digests=dict.fromkeys(inputs, "0" * 64),
        out_dir=out_dir,
        published_dir=folder / "nothing",
        published_home=out_dir,
        progress=Progress(),
    )
    scan.run(job)


def _measure(folder: Path, n_images: int) -> str:
    remove_tree(folder / "scan")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = f"from pathlib import Path; from {__spec__.name} import scan_folder; "
    child = subprocess.Popen([sys.executable, "-c", f"{command}scan_folder(Path({str(folder)!r}))"])
    peak = 0
    while child.poll() is None:
        peak = max(peak, sum(own_bytes(process) for process in family(child.pid)))
        time.sleep(0.2)
    assert child.returncode == 0
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    l0 = read_parquet(folder / "scan" / "images.parquet", ["l0"])["l0"].to_numpy()
    size = _packed_bytes(folder / "scan") / max(int(l0.sum()), 1)
    return (
        f"{n_images:9,} {wall:7.0f} {cpu:7.0f} {1000 * cpu / n_images:13.2f} "
        f"{n_images / wall:9.0f} {peak / 1e9:8.2f} {l0.mean():3.0f} {size:13.2f}"
    )


def _packed_bytes(scan_dir: Path) -> float:
    """Return the bytes of the matrix in the larger of its two orders."""
    parts = [path for path in list_files(scan_dir / "parts") if path.suffix == SUFFIX]
    by_image = [map_tensors(path) for path in parts]
    names = ("activation", "feature_low", "feature_overflow_at", "feature_overflow", "l0")
    by_feature = map_tensors(scan_dir / BY_FEATURE)
    sizes = [sum(one[name].nbytes for one in by_image for name in names)]
    sizes.append(sum(array.nbytes for array in by_feature.values()))
    return max(sizes)


def family(root: int) -> list[int]:
    """Return a process and all that it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    family = [root]
    for process in family:
        family += [child for child, parent in parents.items() if parent == process]
    return family


def own_bytes(process: int) -> int:
    """Return the bytes of memory that are a process's alone; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path.cwd()))
    main(sys.argv[1:])
