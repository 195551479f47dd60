"""Files that lie: each is refused in one line of our own, runs nothing and allocates nothing."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save as save_safetensors

from atlas.base.errors import AtlasError
from atlas.sae.checkpoints import load_sae
from atlas.settings.sae import SaeSettings

GOOD = {
    "enc_bias": torch.randn(7),
    "encoder.weight": torch.randn(7, 4),
    "dec_bias": torch.randn(4),
    "decoder.weight": torch.randn(4, 7),
}
HUGE = 10**12
SAME = torch.zeros(4000)
RAN = []


class Evil:
    def __reduce__(self):
        return RAN.append, (1,)


class Claim:
    """A storage of so many floats, of which the file holds four bytes."""

    def __init__(self, numel):
        self.numel = numel


class Liar(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Claim):
            return ("storage", torch.FloatStorage, "0", "cpu", obj.numel)
        return None


class Declared:
    """A tensor of any shape over any claimed storage."""

    def __init__(self, shape, numel, stride=None):
        self.arguments = (Claim(numel), 0, shape, stride or (shape[1], 1), False, {})

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


def lying_zip(value) -> bytes:
    pickled = io.BytesIO()
    Liar(pickled, 2).dump(value)
    out = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(out)
    for name, data in (
        ("data.pkl", pickled.getvalue()),
        ("byteorder", b"little"),
        ("data/0", b"1234"),
    ):
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return out.getvalue()


def torch_bytes(value, **how) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **how)
    return out.getvalue()


def safetensors(header, data=b"", length=None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def spanning(shape, begin, end, kind="F32"):
    return {"W_enc": {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}}


def packed() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    return out.getvalue()


def laughs():
    inner = {"x": 1}
    for _ in range(4):
        inner = {str(number): inner for number in range(200)}
    return inner


def with_itself():
    value = {}
    value["a"] = value
    return value


BROKEN = "is not a whole safetensors file"
PTH = {
    "code": (pickle.dumps(Evil()), "is neither safetensors nor a zip that torch.save wrote"),
    "code in a zip": (torch_bytes({"cfg": Evil(), **GOOD}), "Python objects, which are never run"),
    "an old pickle": (
        torch_bytes(GOOD, _use_new_zipfile_serialization=False),
        "older pickles are not read",
    ),
    "nothing": (b"", "is neither safetensors nor a zip"),
    "half a zip": (torch_bytes(GOOD)[:-300], "is not a whole zip"),
    "a packed zip": (packed(), "holds packed entries"),
    "another zip": (packed()[:2] + b"\0" * 100, "is not a whole zip"),
    "a storage of 4 TB": (
        lying_zip({"W_enc": Declared((1_000_000, 1_000_000), HUGE)}),
        "W_enc of shape (1000000, 1000000) declares 4000000000000 bytes, the file has ",
    ),
    "a tensor beyond its storage": (
        lying_zip({"W_enc": Declared((1_000_000, 1_000_000), 1)}),
        "copy it again",
    ),
    "a tensor of one number, repeated": (
        torch_bytes({"W_enc": torch.zeros(1).expand(1_000_000, 1_000_000)}),
        "W_enc of shape (1000000, 1000000) declares 4000000000000 bytes, the file has 4 for it",
    ),
    "a tensor without data": (
        torch_bytes({"W_enc": torch.empty(1_000_000, 1_000_000, device="meta")}),
        "W_enc of shape (1000000, 1000000) declares 4000000000000 bytes",
    ),
    "one tensor, a thousand times": (
        torch_bytes({f"t{number}": SAME for number in range(1000)}),
        " bytes in a file of ",
    ),
    "a sparse tensor": (
        torch_bytes({"W_enc": torch.eye(3).to_sparse()}),
        "convert the checkpoint",
    ),
    "complex numbers": (
        torch_bytes({"W_enc": torch.zeros(3, 3, dtype=torch.complex64)}),
        "W_enc holds complex64, expected one of float16",
    ),
    "a list": (torch_bytes([1, 2]), "holds a list, expected a dictionary of tensors"),
    "a dictionary in itself": (torch_bytes(with_itself()), "nests dictionaries more than 4 deep"),
    "a billion laughs": (torch_bytes(laughs()), "holds more than 10000 things"),
    "a name of two lines": (torch_bytes({"a\nb": torch.zeros(2)}), "no short line of text"),
    "a name that is no text": (torch_bytes({(1, 2): torch.zeros(2)}), "no short line of text"),
    "no tensors": (torch_bytes({"a": 1}), "no known format has these tensors: no tensors"),
    "other tensors": (torch_bytes({"a": torch.zeros(2)}), "no known format has these tensors: a"),
    "an endless first line": (b"{" + b" " * 2_000_000, "begins with a line that is not JSON"),
    "a nested first line": (b"{" + b'"a":[' * 300_000, "begins with a line that is not JSON"),
    "not a number": (
        torch_bytes(GOOD | {"dec_bias": torch.full((4,), float("nan"))}),
        "b_dec has nan at row 0",
    ),
    "beyond float32": (
        torch_bytes(GOOD | {"dec_bias": torch.full((4,), 1e300, dtype=torch.float64)}),
        "b_dec has inf at row 0",
    ),
    "a direction of zeros": (
        torch_bytes(GOOD | {"decoder.weight": torch.zeros(4, 7)}),
        "W_dec has length 0 at row 0",
    ),
    "whole numbers": (
        torch_bytes(GOOD | {"dec_bias": torch.zeros(4, dtype=torch.int64)}),
        "dec_bias holds int64, expected floats",
    ),
    "shapes that don't fit": (
        torch_bytes(GOOD | {"decoder.weight": torch.ones(5, 7)}),
        "have shapes (7, 4), (7,), (7, 5), (4,), which don't fit",
    ),
    "a vector for a matrix": (
        torch_bytes(GOOD | {"encoder.weight": torch.ones(28)}),
        "which don't fit",
    ),
}
SAFETENSORS = {
    "nothing": (b"", BROKEN),
    "a header longer than the file": (safetensors({}, length=10**15), BROKEN),
    "a header that is no JSON": (safetensors(b"{nope"), BROKEN),
    "a header that is a list": (safetensors([1]), BROKEN),
    "a header nested without end": (safetensors(b'{"a":' * 200_000), BROKEN),
    "a tensor without a shape": (safetensors({"a": {"dtype": "F32"}}), BROKEN),
    "a negative length": (safetensors(spanning([-1, -1], 0, 4), b"1234"), BROKEN),
    "true for a length": (safetensors(spanning([True], 0, 4), b"1234"), BROKEN),
    "4 TB": (
        safetensors(spanning([10**6, 10**6], 0, 4 * HUGE), b"1234"),
        "W_enc of shape (1000000, 1000000) declares 4000000000000 bytes, the file has 4 for it",
    ),
    "a shape beyond its bytes": (
        safetensors(spanning([9, 9], 0, 4), b"1234"),
        "declares 324 bytes",
    ),
    "bytes that nobody owns": (safetensors(spanning([1], 0, 4), b"12345678"), BROKEN),
    "a gap": (safetensors(spanning([1], 4, 8), b"12345678"), "overlap or leave gaps"),
    "one place twice": (
        safetensors(spanning([1], 0, 4) | {"b": spanning([1], 0, 4)["W_enc"]}, b"1234"),
        "overlap or leave gaps",
    ),
    "another dtype": (safetensors(spanning([1], 0, 1, "F8_E4M3"), b"1"), "W_enc holds F8_E4M3"),
    "half a file": (save_safetensors({"a": np.ones(99)})[:-9], "declares 792 bytes"),
    "other tensors": (save_safetensors({"a": np.ones(9)}), "no known format has these tensors: a"),
}
EVERY = [(f"{name}.pth", *case) for name, case in PTH.items()]
EVERY += [(f"{name}.safetensors", *case) for name, case in SAFETENSORS.items()]


@pytest.mark.parametrize(("name", "data", "message"), EVERY, ids=[case[0] for case in EVERY])
def test_a_hostile_file_is_refused_in_one_line(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(AtlasError) as caught:
        load_sae(path)
    said = str(caught.value)
    assert message in said
    assert str(path) in said
    assert "\n" not in said
    assert "weights_only" not in said
    assert len(said) < 500
    assert RAN == []


@pytest.mark.parametrize(
    "text",
    ["[]", "{", "[" * 200_000, '{"d_in": ' + "9" * 10_000 + "}", "\udcff"],
    ids=["a list", "half", "nested", "a number without end", "no text"],
)
def test_a_hostile_configuration_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "sae.safetensors").write_bytes(save_safetensors({"a": np.ones(9)}))
    (tmp_path / "cfg.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(AtlasError) as caught:
        load_sae(tmp_path)
    assert str(tmp_path / "cfg.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], {}, "x" * 1000, -1, 1.5, True, 10**30])
@pytest.mark.parametrize("key", ["architecture", "activation_fn_str", "k", "normalize_activations"])
def test_no_value_of_a_configuration_is_trusted(tmp_path, key, value):
    tensors = {
        "W_enc": np.ones((4, 7)),
        "b_enc": np.ones(7),
        "W_dec": np.ones((7, 4)),
        "b_dec": np.ones(4),
    }
    config = {"architecture": "topk", "k": 3, "activation_fn_str": "topk", key: value}
    data = save_safetensors({k: v.astype(np.float32) for k, v in tensors.items()})
    (tmp_path / "sae_weights.safetensors").write_bytes(data)
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    for name in ("saelens", "prisma"):
        said, k = outcome(tmp_path, name)
        assert "\n" not in said
        assert len(said) < 500
        assert said or k in (3, None)


def outcome(path, name):
    """Return what was said when a checkpoint was refused, or nothing, and its k."""
    try:
        return "", load_sae(path, SaeSettings(format=name)).activation.k
    except AtlasError as error:
        return str(error), None
