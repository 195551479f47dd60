"""Speed and memory of this machine, measured in about a second, for plan and doctor."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PRODUCT = 1536
"""Side of the matrices whose product is timed."""
REPEATS = 5
CARD_TFLOPS = {"H200": 300.0, "H100": 300.0, "A100": 120.0, "4090": 100.0, "3090": 55.0}
"""Cards -> operations a second that diffusion has been seen to reach in half precision, in
trillions; H100's and H200's are assumed to be twice and a half an A100's."""
OTHER_CARD_TFLOPS = 40.0
REFERENCE_CARD = "A100"


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU."""

    name: str
    memory_bytes: int
    tflops: float
    """Trillions of operations a second, in half precision; by its name, not measured."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a build can use."""

    cores: int
    gflops: float
    """Billions of float32 operations a second of all cores, if nobody else uses them."""
    cards: tuple[Card, ...]

    def describe(self) -> str:
        """Return a line for people."""
        cards = ", ".join(f"{c.name} ({c.memory_bytes / 1e9:.0f} GB)" for c in self.cards)
        return (
            f"{self.cores} cores, {self.gflops:.0f} GFLOP/s in float32; {cards or 'no CUDA card'}"
        )


def look_at_machine() -> Machine:
    """Time a product and list the cards; takes a fraction of a second, and torch's import."""
    return Machine(os.cpu_count() or 1, _time_product(), _find_cards())


def free_bytes(folder: Path) -> int:
    """Return the free space where a folder is or would be."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _time_product() -> float:
    matrix = np.ones((PRODUCT, PRODUCT), np.float32)
    matrix @ matrix  # the first one starts the threads
    took_s = []
    for _ in range(REPEATS):
        # Of processors, not of the clock: others may be using them at the moment.
        began = time.process_time()
        matrix @ matrix
        took_s.append(time.process_time() - began)
    return 2.0 * PRODUCT**3 * (os.cpu_count() or 1) / max(min(took_s), 1e-9) / 1e9


def _find_cards() -> tuple[Card, ...]:
    try:
        import torch
    except ImportError:
        return ()
    found = []
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        found.append(Card(facts.name, int(facts.total_memory), card_tflops(facts.name)))
    return tuple(found)


def card_tflops(name: str) -> float:
    """Return what a card of this name reaches, in trillions of operations a second."""
    known = [rate for part, rate in CARD_TFLOPS.items() if part in name]
    return known[0] if known else OTHER_CARD_TFLOPS
