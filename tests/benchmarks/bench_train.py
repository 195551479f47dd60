"""One training step of ours beside SAELens' and sparsify's own, on the same batch in the same run.

Run: make bench-train. It installs both libraries in an environment of its own (some minutes),
as they pin others' versions; where they are there already: python -m tests.benchmarks.bench_train
[BATCH] [WIDTH] [FEATURES] [K]. One thread, in turn, the median of CPU seconds; set
OMP_NUM_THREADS to 1. Ratios are ours over theirs: below 1 we are faster.

A step is all of it: forward, backward, Adam, the schedule, what is counted and watched. Theirs is
SAETrainer.step of SAELens, and of sparsify what its Trainer does with one batch (its optimizer set
to Adam, as ours and SAELens').
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version

import torch

from atlas.settings.sae import TrainSettings
from atlas.training import recipe
from tests.benchmarks.bench_scan import describe_machine
from tests.benchmarks.synthetic import make_world

try:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer
    from sparsify import SparseCoder, SparseCoderConfig
except ImportError as error:
    sys.exit(f"bench_train: {error}; run make bench-train, which installs what it compares with")

ROUNDS = 7
WARM_ROUNDS = 2
LEARNING_RATE = 1e-3
Step = Callable[[torch.Tensor], None]


def main(batch: int, width: int, n_features: int, k: int) -> None:
    """Time all steps in turn and print a table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(describe_machine())
    print(f"sae-lens {version('sae-lens')}, eai-sparsify {version('eai-sparsify')}")
    print(
        f"batches of {batch:,} images, width {width:,}, {n_features:,} features, k {k}; 1 thread, "
        f"CPU seconds of a step, median of {ROUNDS}"
    )
    world = make_world(4 * width, width)
    x = torch.from_numpy(world.images(batch * (ROUNDS + WARM_ROUNDS), 1)).float()
    steps: dict[str, dict[str, Step]] = {
        kind: {"ours": ours(kind, x, n_features, k), "SAELens": saelens(kind, width, n_features, k)}
        for kind in ("relu", "topk", "batchtopk")
    }
    steps["topk"]["sparsify"] = sparsify(width, n_features, k)
    took: dict[tuple[str, str], list[float]] = {}
    for part in x.split(batch):
        for kind, makers in steps.items():
            for name, step in makers.items():
                began = time.process_time()
                step(part)
                took.setdefault((kind, name), []).append(time.process_time() - began)
    medians = {key: statistics.median(times[WARM_ROUNDS:]) for key, times in took.items()}
    for (kind, name), seconds in medians.items():
        ratio = "" if name == "ours" else f"  ours / theirs {medians[kind, 'ours'] / seconds:.2f}"
        print(f"{kind:<10}{name:<10}{seconds:>8.3f} s{ratio}")


def ours(kind: str, x: torch.Tensor, n_features: int, k: int) -> Step:
    """Return this project's step."""
    settings = TrainSettings.model_validate(
        {"n_features": n_features, "activation": kind, "k": k, "learning_rate": LEARNING_RATE}
    )
    state = recipe.begin(settings, x.double().mean(dim=0).numpy(), torch.device("cpu"))
    return lambda batch: recipe.take_step(state, settings, batch)


def saelens(kind: str, width: int, n_features: int, k: int) -> Step:
    """Return SAELens' step."""
    size = {"d_in": width, "d_sae": n_features}
    sae = {
        "relu": lambda: StandardTrainingSAE(StandardTrainingSAEConfig(**size, l1_coefficient=1.0)),
        "topk": lambda: TopKTrainingSAE(TopKTrainingSAEConfig(**size, k=k)),
        "batchtopk": lambda: BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**size, k=k)),
    }[kind]()
    config = SAETrainerConfig(
        total_training_samples=10**9, train_batch_size_samples=512, lr=LEARNING_RATE, lr_end=0.0
    )
    trainer = SAETrainer(config, sae, iter(()))

    def step(batch: torch.Tensor) -> None:
        trainer.step(batch)
        trainer.n_training_steps += 1

    return step


def sparsify(width: int, n_features: int, k: int) -> Step:
    """Return what sparsify's Trainer does with one batch."""
    coder = SparseCoder(width, SparseCoderConfig(num_latents=n_features, k=k))
    optimizer = torch.optim.Adam(coder.parameters(), lr=LEARNING_RATE)
    fired = torch.zeros(n_features, dtype=torch.bool)
    since_fired = torch.zeros(n_features, dtype=torch.long)

    def step(batch: torch.Tensor) -> None:
        coder.set_decoder_norm_to_unit_norm()
        out = coder(batch, dead_mask=None)
        out.fvu.backward()
        fired[out.latent_indices.flatten()] = True
        coder.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        since_fired.add_(len(batch))
        since_fired[fired] = 0
        fired.zero_()

    return step


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [512, 512, 4096, 32][len(numbers) :]))
