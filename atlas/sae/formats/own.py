"""This project's own SAE format: a folder with sae.json and sae.safetensors.

sae.json says what the numbers mean, sae.safetensors holds them: W_enc and W_dec (feature,
dimension) as float16 or float32, the vectors as float32. A tied SAE holds W_enc alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from atlas.base.errors import InputError, MissingError
from atlas.base.files import read_json, write_bytes, write_json
from atlas.sae.model import SAE, Activation, InputConvention
from atlas.settings.outside import OWN_FACTS

FORMAT = "atlas-sae"
VERSION = 1
FACTS = OWN_FACTS
WEIGHTS = "sae.safetensors"
MATRICES = ("W_enc", "W_dec")
DTYPES = ("F16", "F32")
"""Names that safetensors gives to float16 and float32."""


def is_own(path: Path) -> bool:
    """Return whether a path is a folder in this format."""
    return (path / FACTS).is_file()


def read_own(path: Path) -> SAE:
    """Read a checkpoint folder.

    Raises:
        MissingError: A file is missing.
        InputError: A file is damaged, or is not what it says.
    """
    facts = read_json(path / FACTS)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise InputError(f"{path / FACTS} does not say format {FORMAT!r}; it is no SAE of ours")
    if facts.get("version") != VERSION:
        raise InputError(
            f"{path / FACTS} has version {facts.get('version')}, this program reads {VERSION}; "
            "use the program that wrote it"
        )
    try:
        tied = bool(facts["tied"])
        activation, convention = facts["activation"], facts["input"]
        needed = ["W_enc", "b_enc", "b_dec", "b_pre"] + ([] if tied else ["W_dec"])
        needed += ["threshold"] if activation["kind"] in ("jumprelu", "batchtopk") else []
        needed += ["input_mean", "input_scale"] if convention["kind"] == "affine" else []
        arrays = _read_arrays(path / WEIGHTS, needed)
        sae = _assemble(facts, arrays)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path / FACTS} lacks or garbles {error}; restore the file") from error
    except InputError as error:
        where = "" if str(path) in str(error) else f" ({path})"
        raise InputError(f"{error}{where}") from error
    if facts.get("digest") != sae.digest():
        raise InputError(
            f"{path / WEIGHTS} has digest {sae.digest()[:12]}, {FACTS} says "
            f"{str(facts.get('digest'))[:12]}; the two files are not of one checkpoint"
        )
    return sae


def _assemble(facts: dict[str, Any], arrays: dict[str, NDArray[np.float32]]) -> SAE:
    activation = facts["activation"]
    return SAE(
        W_enc=arrays["W_enc"],
        b_enc=arrays["b_enc"],
        W_dec=arrays.get("W_dec", arrays["W_enc"]),
        b_dec=arrays["b_dec"],
        b_pre=arrays["b_pre"],
        activation=Activation(activation["kind"], activation["k"], arrays.get("threshold")),
        soft_cap=facts["soft_cap"],
        input=InputConvention(
            facts["input"]["kind"], arrays.get("input_mean"), arrays.get("input_scale")
        ),
        tied=bool(facts["tied"]),
        provenance=dict(facts["provenance"]),
    )


def _read_arrays(path: Path, needed: list[str]) -> dict[str, NDArray[np.float32]]:
    if not path.is_file():
        raise MissingError(f"no weights at {path}; restore the file")
    try:
        with safe_open(path, framework="np") as file:
            names = set(file.keys())
            for name in needed:
                if name not in names:
                    raise InputError(f"{path} lacks {name}; it has {', '.join(sorted(names))}")
                kind = file.get_slice(name).get_dtype()
                if kind not in DTYPES:
                    raise InputError(
                        f"{path}: {name} holds {kind}, expected F16 or F32; convert the checkpoint"
                    )
            return {name: _read_array(file, path, name) for name in needed}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a whole safetensors file ({path.stat().st_size} bytes: {error}); "
            "copy it again"
        ) from error


def _read_array(file: Any, path: Path, name: str) -> NDArray[np.float32]:
    """Return one array, mapped where it is stored as float32.

    Processes that scan beside one another then share one copy of the weights. Writing to the
    array changes that process's memory only.
    """
    part = file.get_slice(name)
    if part.get_dtype() != "F32":
        wide: NDArray[np.float32] = file.get_tensor(name).astype(np.float32)
        return wide
    with path.open("rb") as raw:
        header_bytes = int.from_bytes(raw.read(8), "little")
        entry = json.loads(raw.read(header_bytes))[name]
    start = 8 + header_bytes + int(entry["data_offsets"][0])
    shape = tuple(part.get_shape())
    return np.asarray(np.memmap(path, np.float32, mode="c", offset=start, shape=shape))


def write_own(path: Path, sae: SAE, storage: Literal["float16", "float32"] = "float32") -> SAE:
    """Write a checkpoint folder and return the SAE as reading it will give it.

    Args:
        path: The folder.
        sae: What to write.
        storage: Precision of the two matrices; float16 keeps 11 significant bits.

    Raises:
        InputError: A weight does not fit in float16.
    """
    if storage == "float16":
        sae = _rounded(sae)
    arrays: dict[str, NDArray[Any] | None] = {
        "W_enc": sae.W_enc.astype(storage),
        "W_dec": None if sae.tied else sae.W_dec.astype(storage),
        "b_enc": sae.b_enc,
        "b_dec": sae.b_dec,
        "b_pre": sae.b_pre,
        "threshold": sae.activation.threshold,
        "input_mean": sae.input.mean,
        "input_scale": sae.input.scale,
    }
    present = {
        name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None
    }
    write_bytes(path / WEIGHTS, save(present))
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "n_features": sae.n_features,
        "width": sae.width,
        "activation": {"kind": sae.activation.kind, "k": sae.activation.k},
        "soft_cap": sae.soft_cap,
        "input": {"kind": sae.input.kind},
        "tied": sae.tied,
        "storage": storage,
        "provenance": dict(sae.provenance),
        "digest": sae.digest(),
    }
    write_json(path / FACTS, facts)
    return sae


def _rounded(sae: SAE) -> SAE:
    """Return the SAE with its matrices rounded to float16."""
    from dataclasses import replace

    rounded = {}
    for name in MATRICES:
        matrix: NDArray[np.float32] = getattr(sae, name)
        with np.errstate(over="ignore"):
            half = matrix.astype(np.float16)
        if not np.isfinite(half).all():
            raise InputError(
                f"{name} reaches {np.abs(matrix).max():.0f}, float16 ends at 65504; "
                "store it as float32"
            )
        rounded[name] = half.astype(np.float32)
    return replace(sae, W_enc=rounded["W_enc"], W_dec=rounded["W_dec"])
