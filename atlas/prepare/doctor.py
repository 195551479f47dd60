"""Checks of machine, packages and inputs that a build relies on, each with its remedy."""

from __future__ import annotations

import importlib
import platform
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import AtlasError, MissingError
from atlas.base.extras import explain_missing_package
from atlas.base.files import read_json
from atlas.inputs.text_tower import has_text_tower
from atlas.prepare.selfcheck import Finding, check_science
from atlas.sae.activations import SCAN
from atlas.sae.fetch import hub_command
from atlas.settings.load import Config, load_config
from atlas.settings.outside import outside_files
from atlas.settings.runtime import ScreenKind

if TYPE_CHECKING:
    from atlas.sae.model import SAE

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


def examine(config: Path | None, device: str | None) -> list[Finding]:
    """Look at Python, the packages, the device, and a configuration's inputs if one is named.

    Without a device the configuration's is looked at, or the processor.
    """
    device = device or _device_named(config)
    findings = [] if config is None else _built_fit(config)
    findings += [_python(), *(_package(name, "") for name in CORE)]
    findings += [_package(name, extra) for name, extra in EXTRAS.items()]
    findings.append(_one_faiss())
    findings += [_device(device, screen) for screen in screens_of(device)]
    if config is not None:
        findings += _inputs(config, device)
    return findings


def _device_named(config: Path | None) -> str:
    """Return runtime.device of a configuration; cpu where none can be read, which is said elsewhere."""
    try:
        return "cpu" if config is None else load_config(config).runtime.device
    except AtlasError:
        return "cpu"


def screens_of(device: str) -> tuple[ScreenKind, ...]:
    """Return the screens to try: the one that a scan would take, on a card each that runs there."""
    return ("auto",) if device.startswith("cpu") else ("bf16", "float32")


def _built_fit(path: Path) -> list[Finding]:
    """Return how the SAE fits the images of an atlas that is built; nothing where none is."""
    try:
        scan = read_json(load_config(path).out_dir / "scan" / SCAN)
        why, explained = str(scan["fit"]["why"]), scan["explained_variance"]
    except (AtlasError, KeyError):
        return []  # not built, or by an older version; a broken configuration is reported below
    said = f"L0 {scan['l0_mean']:.1f}, explained variance " + (
        "unknown, all images being equal" if explained is None else f"{explained:.2f}"
    )
    what, _, fix = why.partition(". ")
    return [Finding("SAE on this atlas's images", not why, what or said, fix.rstrip("."))]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.machine()}"
    return Finding("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _package(name: str, extra: str) -> Finding:
    fix = f"pip install 'feature-atlas[{extra}]'" if extra else "pip install feature-atlas"
    try:
        if name in ("open_clip", "diffusers"):
            from atlas.inputs.encoder import ensure_torchvision

            ensure_torchvision()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # umap's, of parts that are not needed here
            module = importlib.import_module(name)
    except (ImportError, RuntimeError, MissingError) as error:
        return Finding(name, False, f"not importable ({str(error).splitlines()[0]})", fix)
    return Finding(name, True, str(getattr(module, "__version__", "installed")))


def _one_faiss() -> Finding:
    """Two FAISS packages overwrite each other's files without a word."""
    names = [name for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs") if _installed(name)]
    fix = f"pip uninstall {' '.join(names)}, then install one of them"
    return Finding("one FAISS package", len(names) < 2, ", ".join(names) or "none", fix)


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _device(device: str, screen: ScreenKind) -> Finding:
    """Compare what fires on the device, under one screen, with the processor's answer.

    What fires on one only counts as a difference, too. The processor's own is compared with
    float64. Many products lie so near to what fires that a screen without its margin misses some.
    """
    what = f"exact scan on {device}, screen {screen}"
    fix = "choose another device: atlas doctor --device cpu"
    if find_spec("torch") is None:
        return Finding(what, False, "torch is not installed", "pip install 'feature-atlas[scan]'")
    from atlas.sae.encoding import Firings, fire, make_encoder

    sae, images = _plant()
    try:
        encoder = make_encoder(sae, device, screen, images[:256])
        encoder.fire(images)  # the first call pays for starting the device and for compiling
        began = time.perf_counter()
        found = encoder.fire(images)
        took_s = time.perf_counter() - began
    except (RuntimeError, AssertionError) as error:
        return Finding(what, False, str(error).splitlines()[0], fix)

    def dense(firings: Firings) -> NDArray[np.float64]:
        table = np.zeros((len(images), sae.n_features))
        table[firings.image, firings.feature] = firings.activation
        return table

    on_cpu = dense(fire(sae, images))
    true = np.maximum(images.astype(np.float64) @ sae.W_enc.T.astype(np.float64) + sae.b_enc, 0)
    from_cpu = float(np.abs(dense(found) - on_cpu).max() / true.max())
    from_true = float(np.abs(on_cpu - true).max() / true.max())
    only_one = int(((dense(found) > 0) != (true > 0)).sum())
    said = (
        f"{len(images) / took_s:,.0f} images/s at {sae.n_features:,} features of width "
        f"{sae.width}; {len(found.image):,} firings, {only_one} unlike float64's; "
        f"largest difference from the CPU {from_cpu:.1e}, of the CPU from float64 "
        f"{from_true:.1e} (allowed {TOLERANCE:.0e})"
    )
    return Finding(what, only_one == 0 and max(from_cpu, from_true) <= TOLERANCE, said, fix)


def _plant() -> tuple[SAE, NDArray[np.float32]]:
    """Return an SAE and images (image, dimension) for it; about 7 % of the features fire on each."""
    from atlas.sae.model import SAE

    n_images, n_features, width = PLANTED_SHAPE
    random = np.random.default_rng(0)
    weights = random.standard_normal((n_features, width)).astype(np.float32) / np.float32(
        width**0.5
    )
    zeros = np.zeros(width, np.float32)
    bias = np.full(n_features, -1.5, np.float32)
    sae = SAE(W_enc=weights, b_enc=bias, W_dec=weights, b_dec=zeros, b_pre=zeros)
    return sae, random.standard_normal((n_images, width)).astype(np.float32)


def _inputs(path: Path, device: str) -> list[Finding]:
    try:
        config = load_config(path)
    except AtlasError as error:
        return [Finding("configuration", False, str(error), "fix the file")]
    findings = [Finding("configuration", True, str(path))]
    commands = {item.what: item.shell_command() for item in config.downloads}
    if config.sae.repo is not None:
        commands["checkpoint"] = hub_command(config.sae)
    for name, (place, files) in outside_files(config).items():
        fix = commands.get(name, f"put {name} at {place}, or change the configuration")
        findings.append(Finding(name, bool(files), f"{len(files)} files at {place}", fix))
    if config.catalog.vocabulary is None and config.embed.encoder is not None:
        findings.append(Finding("vocabulary", True, _without_words(config.embed.encoder)))
    return findings + _science(config, device)


def _science(config: Config, device: str) -> list[Finding]:
    """Check how the models fit together, or say which package that needs."""
    try:
        with explain_missing_package("the check"):
            return check_science(config, device)
    except MissingError as error:
        return [Finding("SAE and encoder together", False, str(error), "then ask again")]


def _without_words(encoder: Path) -> str:
    """Return what an atlas without a vocabulary lacks, and how to make one."""
    lacks = "none is named: no names by meaning, and search finds captions only"
    if not has_text_tower(encoder):
        return f"{lacks}; this encoder has no text tower to make one with"
    return f"{lacks}; make one with: atlas vocabulary WORDS --encoder {encoder} --out DIR"
