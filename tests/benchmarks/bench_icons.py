"""Icons a second, where the time goes, and what 60,620 icons would take on a card.

Run: python -m tests.benchmarks.bench_icons [CONFIG]. Rates are ratios against a baseline in the
same run: the denoiser's bare forwards, one picture at a time. Asserts nothing.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from atlas.icons.drawing import DrawingModels, Sheet, draw, load_models
from atlas.run.workers import one_thread
from atlas.settings.load import load_config
from atlas.settings.outside import drawing_inputs

BATCHES = (1, 4, 16, 32)
PICTURES = 32
REPEATS = 3
ICONS = 60_620
"""Live features of the SAE that the seed published."""
UNET_TFLOP, DECODE_TFLOP = 0.856, 2.00
"""Of Kandinsky 2.2 at 512 px, counted from its published configurations: one forward, one decode."""
STEPS, FORWARDS_A_STEP = 12, 2
CARDS_TFLOPS = {"RTX 3090": (55, 97), "RTX 4090": (94, 188), "A100": (114, 151)}
"""Sustained, eager and compiled: SDXL's published rates times its counted work."""


def main(path: str) -> None:
    """Time the batches in turn and print the tables."""
    config = load_config(Path(path))
    models = load_models(config.icons, drawing_inputs(config), config.runtime.device)
    noise = np.random.default_rng(0).standard_normal((PICTURES, models.sae.width))
    wanted = (models.template.base + 0.3 * noise).astype(np.float32)
    took: dict[int, list[tuple[float, float]]] = {batch: [] for batch in BATCHES}
    bare: list[float] = []
    for _ in range(REPEATS):
        bare.append(bare_forwards(models))
        for batch in BATCHES:
            took[batch].append(one_pass(models, wanted, batch))
    floor = 1 / statistics.median(bare)
    print(
        f"{config.icons.px} px, {config.icons.steps} steps, {config.runtime.device}, one process; "
        f"{REPEATS} repeats in turn; baseline: the denoiser alone, batch 1: {floor:.2f} icons/s"
    )
    print(f"{'batch':>6}{'icons/s':>10}{'over baseline':>15}{'inside models':>15}")
    for batch, runs in took.items():
        took_s = statistics.median(run[0] for run in runs)
        share = statistics.median(run[1] / run[0] for run in runs)
        print(
            f"{batch:>6}{PICTURES / took_s:>10.2f}{PICTURES / took_s / floor:>15.2f}{share:>15.1%}"
        )
    print_projection()


def one_pass(models: DrawingModels, wanted: np.ndarray, batch: int) -> tuple[float, float]:
    """Return seconds for all pictures in batches, and those inside the models."""
    began, models_s = time.perf_counter(), 0.0
    for start in range(0, PICTURES, batch):
        some = wanted[start : start + batch]
        models_s += draw(models, Sheet("bench", some, ("bench",) * len(some))).models_s
    return time.perf_counter() - began, models_s


def bare_forwards(models: DrawingModels) -> float:
    """Return seconds that one icon's forwards of the denoiser take by themselves."""
    unet = models.renderer.pipeline.unet
    side = models.drawing.px // 4
    latents = torch.randn(2, unet.config.in_channels, side, side)
    given = {"image_embeds": torch.from_numpy(np.stack([models.template.base, models.negative]))}
    began = time.perf_counter()
    with torch.no_grad(), one_thread():
        for _ in range(models.drawing.steps):
            unet(latents, torch.tensor(500), encoder_hidden_states=None, added_cond_kwargs=given)
    return time.perf_counter() - began


def print_projection() -> None:
    """Print GPU hours for the real decoder, and what they are computed from."""
    tflop = STEPS * FORWARDS_A_STEP * UNET_TFLOP + DECODE_TFLOP
    print(
        f"\nprojected, not measured: {ICONS:,} icons of Kandinsky 2.2 at 512 px, {STEPS} steps with "
        f"guidance, {tflop:.1f} TFLOP each"
    )
    print(f"{'card':>10}{'sustained TFLOP/s':>20}{'icons/s':>14}{'hours':>14}")
    for card, speeds in CARDS_TFLOPS.items():
        rates = [speed / tflop for speed in speeds]
        hours = [ICONS / rate / 3600 for rate in rates]
        print(
            f"{card:>10}{speeds[0]:>12} to {speeds[1]:<5}{rates[0]:>8.1f} to {rates[1]:<4.1f}"
            f"{hours[1]:>8.1f} to {hours[0]:<4.1f}"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "data/demo/atlas.toml")
