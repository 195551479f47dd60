"""Choosing a screen: the fast product that takes least CPU time here, tried on a sample of the images.

A screen names every feature that could fire, and some that don't; whatever it names is computed
again exactly. See screening.py for what every screen promises.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import ConfigError
from atlas.run.workers import one_thread
from atlas.sae.float_screens import make_bf16, make_float32
from atlas.sae.int8_screen import has_int8, make_int8
from atlas.sae.screening import Needs, Screen
from atlas.settings.runtime import ScreenKind

TRIAL_IMAGES, TRIAL_FEATURES = 256, 1024
WORTH_TRYING = 5e10
"""Multiplications in a scan below which it is not worth trying which screen is fastest."""
MANY_IMAGES = 1 << 40
"""Images to come where nobody says how many: fitting a screen then costs nothing beside them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A screen that was chosen for many processes at once."""

    kind: ScreenKind
    """Never auto."""
    numpy: bool
    """Whether float32 products are numpy's; see Float32Screen."""
    why: str
    """The reason, for the log."""


def make_screen(
    needs: Needs,
    device: str,
    kind: ScreenKind | Choice,
    sample: NDArray[np.float32] | None = None,
    n_images: int = MANY_IMAGES,
) -> Screen:
    """Return a screen of the given kind.

    Args:
        needs: What is to be found.
        device: Torch device.
        kind: auto tries all that can run and takes the one that takes least CPU time.
        sample: (row, dimension) inputs like those to come; for auto and int8.
        n_images: How many are to come, for auto: a few are not worth fitting a screen.

    Raises:
        ConfigError: int8 was asked for on a device that is no CPU.
    """
    chosen = (
        kind if isinstance(kind, Choice) else choose_screen(needs, device, kind, sample, n_images)
    )
    if chosen.kind == "bf16":
        return make_bf16(needs, device)
    if chosen.kind == "int8":
        assert sample is not None
        return make_int8(needs, sample)
    return make_float32(needs, device, numpy=chosen.numpy)


def choose_screen(
    needs: Needs,
    device: str,
    kind: ScreenKind,
    sample: NDArray[np.float32] | None,
    n_images: int = MANY_IMAGES,
) -> Choice:
    """Return the screen that the settings name or, for auto, the one that takes least CPU time.

    CPU time and not time passed: what else the machine does must not decide. Fitting counts,
    too. Tried are some of the features with some of the sample; both costs grow with the features.

    Raises:
        ConfigError: int8 was asked for on a device that is no CPU, or by a torch without oneDNN.
    """
    if not device.startswith("cpu"):
        if kind == "int8":
            raise ConfigError(
                f"runtime.screen int8 runs on the CPU only, not on {device}; use bf16"
            )
        return Choice(
            "bf16" if kind == "auto" else kind, numpy=False, why=f"the device is {device}"
        )
    if kind == "int8" and not has_int8():
        raise ConfigError("runtime.screen int8 needs a torch with oneDNN; use float32")
    with one_thread():
        numpy = sample is not None and _numpy_is_faster(needs, sample)
        if kind != "auto":
            return Choice(kind, numpy, "as runtime.screen says")
        if sample is None or n_images * needs.weights.size < WORTH_TRYING:
            return Choice("float32", numpy, "the scan is too short to try which is fastest")
        return _least(_try_screens(needs, numpy, sample, n_images), numpy)


def _try_screens(
    needs: Needs, numpy: bool, sample: NDArray[np.float32], n_images: int
) -> dict[ScreenKind, float]:
    """Return the CPU seconds that each screen is going to take, with a part of the features."""
    import torch

    n_features = len(needs.weights)
    few = needs.some(np.arange(0, n_features, max(1, n_features // TRIAL_FEATURES)))
    makers: dict[ScreenKind, Callable[[], Screen]] = {
        "float32": partial(make_float32, few, "cpu", numpy=numpy)
    }
    if has_int8():
        makers["int8"] = lambda: make_int8(few, sample)
    if torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2"):
        makers["bf16"] = lambda: make_bf16(few, "cpu")
    rows = sample[:TRIAL_IMAGES]
    return {kind: _time_scan(make, rows, n_images) for kind, make in makers.items()}


def _least(took: dict[ScreenKind, float], numpy: bool) -> Choice:
    """Return the kind that took least, with the others as the reason."""
    kind = min(took, key=lambda one: took[one])
    ratios = [f"{other} {took[other] / took[kind]:.2f}" for other in took if other != kind]
    return Choice(kind, numpy, f"least CPU time on a sample; of its time took {', '.join(ratios)}")


def _time_scan(make: Callable[[], Screen], rows: NDArray[np.float32], n_images: int) -> float:
    """Return the CPU seconds to make a screen and to search so many images with it."""
    began = time.process_time()
    screen = make()
    fitting = time.process_time() - began
    return fitting + _time_search(screen, rows) * n_images / max(len(rows), 1)


def _time_search(screen: Screen, rows: NDArray[np.float32]) -> float:
    """Return the least of some times, in seconds of CPU time, that a search takes."""
    took = []
    for _ in range(3):
        began = time.process_time()
        for _pair in screen.search(rows):
            pass
        took.append(time.process_time() - began)
    return min(took)


def _numpy_is_faster(needs: Needs, sample: NDArray[np.float32]) -> bool:
    few = needs.some(np.arange(min(TRIAL_FEATURES, len(needs.weights))))
    took = [
        _time_search(make_float32(few, "cpu", numpy=numpy), sample[:TRIAL_IMAGES])
        for numpy in (False, True)
    ]
    return took[1] < took[0]
