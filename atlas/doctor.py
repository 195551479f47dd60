"""Checks of this machine that a build would rely on, each with what would mend it."""

from __future__ import annotations

import importlib
import platform
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.config import load_config
from atlas.errors import AtlasError
from atlas.fetch import hub_command
from atlas.paths import outside_files
from atlas.science import Finding, check_science

EXTRAS = {
    "torch": "scan",
    "faiss": "neighbors",
    "umap": "map",
    "open_clip": "embed",
    "diffusers": "icons",
}
CORE = ("duckdb", "pyarrow", "PIL", "jinja2", "pydantic")
TOLERANCE = 1e-6
"""Difference allowed between the device's activations and the processor's, over the largest."""
PLANTED_SHAPE = (2048, 4096, 256)
"""Images, features and dimensions of the scan that a device is tried on."""


def examine(config: Path | None, device: str) -> list[Finding]:
    """Look at Python, the packages, the device, and a configuration's inputs if one is named."""
    findings = [_python(), *(_package(name, "") for name in CORE)]
    findings += [_package(name, extra) for name, extra in EXTRAS.items()]
    findings.append(_one_faiss())
    findings.append(_device(device))
    if config is not None:
        findings += _inputs(config, device)
    return findings


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.machine()}"
    return Finding("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _package(name: str, extra: str) -> Finding:
    mend = f"pip install 'feature-atlas[{extra}]'" if extra else "pip install feature-atlas"
    try:
        if name in ("open_clip", "diffusers"):
            from atlas.clip import ensure_torchvision

            ensure_torchvision()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # umap's, of parts that are not needed here
            module = importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        return Finding(name, False, f"not importable ({str(error).splitlines()[0]})", mend)
    return Finding(name, True, str(getattr(module, "__version__", "installed")))


def _one_faiss() -> Finding:
    """Two FAISS packages overwrite each other's files without a word."""
    names = [name for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs") if _installed(name)]
    mend = f"pip uninstall {' '.join(names)}, then install one of them"
    return Finding("one FAISS package", len(names) < 2, ", ".join(names) or "none", mend)


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _device(device: str) -> Finding:
    """Compare what fires on the device, under the screen that a scan would take, with the CPU's.

    What fires on one only counts as a difference, too. The CPU's own is compared with float64.
    """
    what = f"exact scan on {device}"
    mend = "choose another device: atlas doctor --device cpu"
    try:
        from atlas.sae import SAE, Firings, fire, make_encoder
    except ImportError as error:
        return Finding(what, False, str(error), "pip install 'feature-atlas[scan]'")
    n_images, n_features, width = PLANTED_SHAPE
    random = np.random.default_rng(0)
    weights = random.standard_normal((n_features, width)).astype(np.float32) / np.float32(
        width**0.5
    )
    bias = np.full(n_features, -1.5, np.float32)
    zeros = np.zeros(width, np.float32)
    sae = SAE(W_enc=weights, b_enc=bias, W_dec=weights, b_dec=zeros, b_pre=zeros)
    images = random.standard_normal((n_images, width)).astype(np.float32)
    try:
        encoder = make_encoder(sae, device, "auto", images[:256])
        encoder.fire(images[:64])  # the first call pays for starting the device
        began = time.perf_counter()
        found = encoder.fire(images)
        took_s = time.perf_counter() - began
    except (RuntimeError, AssertionError) as error:
        return Finding(what, False, str(error).splitlines()[0], mend)

    def dense(firings: Firings) -> NDArray[np.float64]:
        table = np.zeros((n_images, n_features))
        table[firings.image, firings.feature] = firings.activation
        return table

    on_cpu = dense(fire(sae, images))
    true = np.maximum(images.astype(np.float64) @ weights.T.astype(np.float64) + bias, 0)
    from_cpu = float(np.abs(dense(found) - on_cpu).max() / true.max())
    from_true = float(np.abs(on_cpu - true).max() / true.max())
    said = (
        f"{n_images / took_s:,.0f} images/s at {n_features:,} features of width {width}; largest "
        f"difference from the CPU {from_cpu:.1e}, of the CPU from float64 {from_true:.1e} "
        f"(allowed {TOLERANCE:.0e})"
    )
    return Finding(what, max(from_cpu, from_true) <= TOLERANCE, said, mend)


def _inputs(path: Path, device: str) -> list[Finding]:
    try:
        config = load_config(path)
    except AtlasError as error:
        return [Finding("configuration", False, str(error), "mend the file")]
    findings = [Finding("configuration", True, str(path))]
    commands = {item.what: item.told() for item in config.downloads}
    if config.sae.repo is not None:
        commands["checkpoint"] = hub_command(config.sae)
    for name, (place, files) in outside_files(config).items():
        mend = commands.get(name, f"put {name} at {place}, or change the configuration")
        findings.append(Finding(name, bool(files), f"{len(files)} files at {place}", mend))
    return findings + check_science(config, device)
