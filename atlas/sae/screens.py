"""Choosing a screen: the fast product that is quickest here, timed on a sample of the images.

A screen names every feature that could fire, and some that don't; whatever it names is computed
again exactly. See screening.py for what every screen promises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.sae.float_screens import make_bf16, make_float32
from atlas.sae.int8_screen import make_int8
from atlas.sae.screening import Needs, Screen
from atlas.settings.runtime import ScreenKind

if TYPE_CHECKING:
    pass

TRIAL_IMAGES, TRIAL_FEATURES = 256, 1024
WORTH_TRYING = 5e10
"""Multiplications in a scan below which it is not worth trying which screen is fastest."""
MANY_IMAGES = 1 << 40
"""Images to come where nobody says how many: fitting a screen then costs nothing beside them."""


def make_screen(
    needs: Needs,
    device: str,
    kind: ScreenKind,
    sample: NDArray[np.float32] | None = None,
    n_images: int = MANY_IMAGES,
) -> Screen:
    """Return a screen of the given kind.

    Args:
        needs: What is to be found.
        device: Torch device.
        kind: auto tries all that can run and takes the fastest.
        sample: (row, dimension) inputs like those to come; for auto and int8.
        n_images: How many are to come, for auto: a few are not worth fitting a screen.

    Raises:
        ConfigError: int8 was asked for on a device that is no CPU.
    """
    on_cpu = device.startswith("cpu")
    if kind == "int8" and not on_cpu:
        raise ConfigError(f"runtime.screen int8 runs on the CPU only, not on {device}; use bf16")
    if kind == "auto":
        kind = "float32" if sample is None else choose_screen(needs, device, sample, n_images)
    if kind == "bf16":
        return make_bf16(needs, device)
    if kind == "int8":
        assert sample is not None
        return make_int8(needs, sample)
    return make_float32(needs, device, numpy=on_cpu and _numpy_is_faster(needs, sample))


def choose_screen(
    needs: Needs, device: str, sample: NDArray[np.float32], n_images: int = MANY_IMAGES
) -> ScreenKind:
    """Return the kind that takes least time, its fitting included, for so many such inputs.

    Tried are some of the features with some of the sample; both costs grow with the features.
    """
    import torch

    if not device.startswith("cpu"):
        return "bf16"
    n_features = len(needs.weights)
    few = needs.some(np.arange(0, n_features, max(1, n_features // TRIAL_FEATURES)))
    makers: dict[ScreenKind, Callable[[], Screen]] = {
        "float32": partial(make_float32, few, device, numpy=_numpy_is_faster(few, sample)),
        "int8": lambda: make_int8(few, sample),
    }
    if torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2"):
        makers["bf16"] = lambda: make_bf16(few, device)
    rows = sample[:TRIAL_IMAGES]
    took = {kind: _time_scan(make, rows, n_images) for kind, make in makers.items()}
    return min(took, key=lambda kind: took[kind])


def _time_scan(make: Callable[[], Screen], rows: NDArray[np.float32], n_images: int) -> float:
    """Return the seconds to make a screen and to search so many images with it."""
    began = time.perf_counter()
    screen = make()
    fitting = time.perf_counter() - began
    return fitting + _time_search(screen, rows) * n_images / max(len(rows), 1)


def _time_search(screen: Screen, rows: NDArray[np.float32]) -> float:
    """Return the least of some times, in seconds, that a search takes."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        for _pair in screen.search(rows):
            pass
        took.append(time.perf_counter() - began)
    return min(took)


def _numpy_is_faster(needs: Needs, sample: NDArray[np.float32] | None) -> bool:
    if sample is None:
        return False
    few = needs.some(np.arange(min(TRIAL_FEATURES, len(needs.weights))))
    took = [
        _time_search(make_float32(few, "cpu", numpy=numpy), sample[:TRIAL_IMAGES])
        for numpy in (False, True)
    ]
    return took[1] < took[0]
