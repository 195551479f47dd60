"""Tensors of an untrusted file: nothing in it is executed, and sizes are checked before memory is allocated.

A file of some kilobytes can declare terabytes. Every declared size is held against the size of
the file first, and errors are worded here: those of torch suggest turning its
protection off.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError

if TYPE_CHECKING:
    import torch

LARGEST_HEADER = 8_000_000
"""Bytes of a safetensors header, at most: hundreds for each of MOST_ITEMS tensors."""
LARGEST_LINE = 1_000_000
"""Bytes of a saev file's first line, at most."""
DEPTH = 4
"""Dictionaries within dictionaries, at most."""
LARGEST_NAME = 200
"""Characters of a tensor's name, at most."""
MOST_ITEMS = 10_000
"""Tensors and values in a file, at most: a small pickle can name one dictionary many times."""
SAFE_DTYPES = {
    **{"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1"},
}
"""Names that safetensors gives to what we read -> how numpy reads the bytes; weights are floats."""
TORCH_DTYPES = (
    *("float16", "bfloat16", "float32", "float64"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)
WRAPPERS = ("_orig_mod.", "module.")
"""What torch.compile and DistributedDataParallel put before every name."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file of weights holds."""

    path: Path
    """The file."""
    tensors: Mapping[str, NDArray[Any]]
    """Name, with the names of enclosing dictionaries before it and dots between -> values."""
    values: Mapping[str, Any]
    """Numbers, texts and lists of them beside the tensors, named in the same way."""
    header: Mapping[str, Any]
    """The JSON of the first line, where the file has one, as saev's do; else empty."""


def read_stored(path: Path) -> Stored:
    """Read a file of weights: safetensors, a torch zip, or a torch zip after a line of JSON.

    Raises:
        InputError: It is none of these, is damaged, or holds what we don't run or read.
    """
    if path.suffix == ".safetensors":
        return Stored(path, _read_safetensors(path), {}, {})
    with path.open("rb") as file:
        start = file.read(2)
        if start[:1] == b"{":
            file.seek(0)
            line = file.readline(LARGEST_LINE)
            return _read_zip(path, BytesIO(file.read()), _header(path, line))
    if start != b"PK":
        raise InputError(
            f"{path} is neither safetensors nor a zip that torch.save wrote; "
            "older pickles are not read: load it where you trust it, and save only its state dict again"
        )
    return _read_zip(path, path, {})


def read_sharded(index: Path) -> Stored:
    """Read safetensors shards by their index, as Hugging Face's libraries write it.

    Raises:
        InputError: The index or a shard is damaged, or a tensor is not where the index says.
    """
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index} is no index of shards; copy it again") from error
    tensors: dict[str, NDArray[Any]] = {}
    for name in files:
        if Path(str(name)).name != name or not (index.parent / name).is_file():
            raise InputError(f"{index} names {str(name)[:80]!r}, which is not beside it; copy it")
        tensors |= _read_safetensors(index.parent / name)
    missing = sorted(places.keys() - tensors.keys())
    if missing:
        raise InputError(f"{index}: no shard holds {missing[0][:80]}; copy them again")
    return Stored(index, tensors, {}, {})


def unwrapped(stored: Stored) -> Stored:
    """Return what a file holds without the prefix that a wrapper gave every tensor."""
    tensors = stored.tensors
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    return replace(stored, tensors=tensors)


def _header(path: Path, line: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} begins with a line that is not JSON; copy it again") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} begins with JSON that is no object; copy it again")
    return header


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise _broken(path, size, "its header is longer than the file")
        if length > LARGEST_HEADER:
            raise InputError(
                f"{path} has a header of {length:,} bytes, at most {LARGEST_HEADER:,} are read; "
                "save the SAE's weights alone"
            )
        try:
            declared = json.loads(file.read(length))
            _refuse_many(path, len(declared))
            items = {_name(path, k): v for k, v in declared.items() if k != "__metadata__"}
            spans = {k: _span(path, k, v, size - 8 - length) for k, v in items.items()}
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise _broken(path, size, "its header is garbled") from error
        _check_cover(path, size, sorted((s[0], s[1]) for s in spans.values()), 8 + length)
        found = {}
        for name, (begin, end, shape, kind) in spans.items():
            file.seek(8 + length + begin)
            raw = np.frombuffer(file.read(end - begin), SAFE_DTYPES[kind]).reshape(shape)
            found[name] = _widen_bfloat16(raw) if kind == "BF16" else raw
    return found


def _refuse_many(path: Path, n_tensors: int) -> None:
    """Refuse what would take minutes to look at and is no SAE: the largest has some dozens."""
    if n_tensors > MOST_ITEMS:
        raise InputError(
            f"{path} declares {n_tensors:,} tensors, at most {MOST_ITEMS:,} are read; "
            "save the SAE's weights alone"
        )


def _span(
    path: Path, name: str, item: Mapping[str, Any], available: int
) -> tuple[int, int, tuple[int, ...], str]:
    """Return (begin, end, shape, dtype) of one tensor, held against the bytes there are."""
    kind, shape = item["dtype"], tuple(item["shape"])
    begin, end = item["data_offsets"]
    if kind not in SAFE_DTYPES:
        raise InputError(
            f"{path}: {name} holds {kind}, expected one of {', '.join(SAFE_DTYPES)}; "
            "convert the checkpoint"
        )
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError(name)
    needed = math.prod(shape) * np.dtype(SAFE_DTYPES[kind]).itemsize
    if not begin <= end <= available or needed != end - begin:
        raise InputError(
            f"{path}: {name} of shape {shape} declares {needed} bytes, "
            f"the file has {max(0, min(end, available) - begin)} for it; copy it again"
        )
    return begin, end, shape, kind


def _check_cover(path: Path, size: int, spans: list[tuple[int, int]], offset: int) -> None:
    """Refuse tensors that overlap, and bytes that belong to none."""
    at = 0
    for begin, end in spans:
        if begin != at:
            raise _broken(path, size, "its tensors overlap or leave gaps")
        at = end
    if offset + at != size:
        raise _broken(path, size, f"its header accounts for {offset + at}")


def _broken(path: Path, size: int, why: str) -> InputError:
    return InputError(
        f"{path} is not a whole safetensors file ({size} bytes: {why}); copy it again"
    )


def _widen_bfloat16(halves: NDArray[Any]) -> NDArray[np.float32]:
    """Return (any shape) bfloat16, given as uint16, as float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _read_zip(path: Path, source: Path | BytesIO, header: Mapping[str, Any]) -> Stored:
    size = path.stat().st_size
    _check_zip(path, source, size)
    # On the device "meta" torch reads shapes and allocates nothing.
    sketch = _load(path, source, "meta")
    tensors, values = _flatten(path, sketch)
    _check_sizes(path, tensors, size)
    whole = _flatten(path, _load(path, source, "cpu"))[0]
    return Stored(path, {name: _to_numpy(tensor) for name, tensor in whole.items()}, values, header)


def _check_zip(path: Path, source: Path | BytesIO, size: int) -> None:
    """Refuse a zip whose entries are packed or add up to more than the file."""
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise InputError(f"{path} is not a whole zip ({size} bytes); copy it again") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise InputError(f"{path} holds packed entries, which torch.save never writes; not read")
    declared = sum(entry.file_size for entry in entries)
    if declared > size:
        raise InputError(
            f"{path} declares {declared} bytes of entries in a file of {size}; copy it again"
        )


def _load(path: Path, source: Path | BytesIO, device: str) -> Any:
    import torch

    if isinstance(source, BytesIO):
        source.seek(0)
    try:
        return torch.load(source, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds Python objects, which are never run here; load it where you trust it, "
            "and save only its state dict: torch.save(found['state_dict'], 'weights.pt')"
        ) from error
    except (
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        OSError,
        AttributeError,
        AssertionError,
        IndexError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{path} is not what torch.save writes ({type(error).__name__}); copy it again"
        ) from error


def _flatten(path: Path, found: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors and the plain values of nested dictionaries, by dotted name."""
    import torch

    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, expected a dictionary of tensors")
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    waiting: list[tuple[str, Any, int]] = [("", found, 0)]
    seen = 0
    while waiting:
        prefix, mapping, depth = waiting.pop()
        seen += len(mapping)
        if depth > DEPTH or seen > MOST_ITEMS:
            raise InputError(
                f"{path} nests dictionaries more than {DEPTH} deep or holds more than "
                f"{MOST_ITEMS} things; it is no SAE"
            )
        for key, item in mapping.items():
            name = prefix + _name(path, key)
            if isinstance(item, torch.Tensor):
                tensors[name] = item
            elif isinstance(item, dict):
                waiting.append((f"{name}.", item, depth + 1))
            else:
                values[name] = item
    return tensors, values


def _name(path: Path, key: Any) -> str:
    """Return a tensor's name, fit to be shown in one line."""
    text = str(key) if isinstance(key, str | int) else ""
    if not text or len(text) > LARGEST_NAME or not text.isprintable():
        raise InputError(
            f"{path} gives a tensor a name that is no short line of text; it is no SAE"
        )
    return text


def _check_sizes(path: Path, tensors: Mapping[str, torch.Tensor], size: int) -> None:
    """Hold what tensors declare against the file, before a byte is allocated."""
    total = 0
    for name, tensor in tensors.items():
        kind = str(tensor.dtype).removeprefix("torch.")
        if kind not in TORCH_DTYPES or str(tensor.layout) != "torch.strided":
            raise InputError(
                f"{path}: {name} holds {kind}, expected one of {', '.join(TORCH_DTYPES)}; "
                "convert the checkpoint"
            )
        needed = tensor.numel() * tensor.element_size()
        there = tensor.untyped_storage().nbytes()
        # A stride of 0 makes a large tensor of a few bytes.
        if needed > there or there > size:
            raise InputError(
                f"{path}: {name} of shape {tuple(tensor.shape)} declares {max(needed, there)} bytes, "
                f"the file has {min(there, size)} for it; copy it again"
            )
        total += needed
    if total > 2 * size:  # tied weights may be named twice
        raise InputError(f"{path} declares {total} bytes in a file of {size}; copy it again")


def _to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    import torch

    plain = tensor.detach().contiguous()
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    array: NDArray[Any] = plain.numpy()
    return array
