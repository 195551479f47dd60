"""How time and memory of every stage grow with the images, beside what `atlas plan` says.

Run: python -m tests.benchmarks.bench_growth FOLDER IMAGES... [--features F].
Embeddings of 1,280 numbers, with captions and links as LAION has them, are drawn shard by shard into
FOLDER and kept. Each size is built by the command line, a stage after the other; memory is the
largest sum over its processes of what is theirs alone (RssAnon), looked at five times a second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.base.files import read_json, remove_tree
from atlas.sae.formats.own import write_own
from tests.benchmarks.bench_long import family, own_bytes
from tests.benchmarks.bench_scan import describe_machine
from tests.benchmarks.synthetic import World, make_sae, make_world

STAGES = ("embed", "scan", "neighbors", "families", "names", "concepts", "catalog", "site")
ROWS = 65_536
N_WORDS = 4000
WORDS_OF_CAPTION = 8


def main(words: list[str]) -> None:
    """Draw what is missing, build each size, and print a table."""
    parser = argparse.ArgumentParser(description="measure how the stages grow")
    parser.add_argument("folder", type=Path)
    parser.add_argument("images", type=int, nargs="+")
    parser.add_argument("--features", type=int, default=2048)
    asked = parser.parse_args(words)
    world = make_world(asked.features)
    _write_models(asked.folder, world)
    print(describe_machine())
    print(f"{asked.features:,} features")
    print("| stage | images | wall s | CPU s | planned s | GB | planned GB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for n_images in asked.images:
        _draw(asked.folder, world, n_images)
        config = _write_config(asked.folder, n_images)
        remove_tree(asked.folder / f"build-{n_images}")
        planned = _plan(config)
        for stage in STAGES:
            took = run_stage(config, stage)
            plan = planned.get(stage, {"time_s": float("nan"), "memory_bytes": float("nan")})
            print(
                f"| {stage} | {n_images:,} | {took.wall_s:.1f} | {took.cpu_s:.1f} | {plan['time_s']:.1f} "
                f"| {took.peak_bytes / 1e9:.2f} | {plan['memory_bytes'] / 1e9:.2f} |",
                flush=True,
            )
        facts = read_json(asked.folder / f"build-{n_images}" / "neighbors" / "neighbors.json")
        print(f"recall of near misses among {n_images:,}: {facts.get('recall_at_8', 'exact')}")


def _write_models(folder: Path, world: World) -> None:
    """Write the SAE, and a vocabulary of words that lie where features do."""
    if not (folder / "sae").exists():
        write_own(folder / "sae", make_sae(world))
    words = folder / "words"
    words.mkdir(exist_ok=True)
    (words / "words.txt").write_text("".join(f"{word}\n" for word in _vocabulary()))
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(world.directions), N_WORDS)
    vectors = world.directions.numpy()[chosen] + rng.normal(0, 0.02, (N_WORDS, 1280))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(words / "vectors.npy", unit.astype(np.float16))


def _vocabulary() -> list[str]:
    letters = "bcdfghjklmnpqrstvwz"
    return [
        f"{letters[i % 19]}a{letters[i // 19 % 19]}o{letters[i // 361 % 19]}e"
        for i in range(N_WORDS)
    ]


def _draw(folder: Path, world: World, n_images: int) -> None:
    """Write the shards and tables that are missing."""
    (folder / "vectors").mkdir(parents=True, exist_ok=True)
    (folder / "tables").mkdir(exist_ok=True)
    vocabulary = np.array(_vocabulary())
    for number, first in enumerate(range(0, n_images, ROWS)):
        rows = min(ROWS, n_images - first)
        vectors = folder / "vectors" / f"{n_images}-{number:05d}.npy"
        if not vectors.exists():
            np.save(vectors, world.images(ROWS, 1000 + first)[:rows])
        rng = np.random.default_rng(first)
        captions = [" ".join(row) for row in rng.choice(vocabulary, (rows, WORDS_OF_CAPTION))]
        table = pa.table(
            {
                "caption": captions,
                "url": [
                    f"https://pictures.example/{first + i:012d}/original.jpg" for i in range(rows)
                ],
            }
        )
        pq.write_table(table, folder / "tables" / f"{n_images}-{number:05d}.parquet")


def _write_config(folder: Path, n_images: int) -> Path:
    path = folder / f"{n_images}.toml"
    path.write_text(
        f"""out_dir = "build-{n_images}"
[embed]
vectors = "vectors/{n_images}-*.npy"
images = "tables/{n_images}-*.parquet"
[sae]
path = "sae"
[catalog]
vocabulary = "words"
[site]
layout = "groups"
images = "links"
""",
        encoding="utf-8",
    )
    return path


def _plan(config: Path) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "atlas", "plan", str(config), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {stage["stage"]: stage for stage in json.loads(done.stdout)["stages"]}


@dataclass(frozen=True)
class Took:
    """What a stage took."""

    wall_s: float
    cpu_s: float
    """Of all its processes; on a shared machine this says more than the wall clock."""
    peak_bytes: int


def run_stage(config: Path, stage: str) -> Took:
    """Build one stage, those before it being current."""
    command = [sys.executable, "-m", "atlas", "build", str(config), stage]
    began, peak = time.perf_counter(), 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (config.parent / "build.log").open("a") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log)
        while child.poll() is None:
            peak = max(peak, sum(own_bytes(process) for process in family(child.pid)))
            time.sleep(0.2)
    if child.returncode:
        raise SystemExit(f"stage {stage} failed; see {config.parent / 'build.log'}")
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, cpu, peak)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path.cwd()))
    main(sys.argv[1:])
