from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planted import KINDS, exact_sae
from safetensors.numpy import load_file, save_file

from atlas.base.errors import AtlasError, InputError, MissingError
from atlas.base.files import read_json, write_json
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import decode, encode
from atlas.sae.formats.own import write_own
from atlas.sae.formats.saelens import write_saelens
from atlas.sae.model import SAE, Activation, InputConvention


@pytest.fixture
def sae() -> SAE:
    rng = np.random.default_rng(0)
    encoder, decoder = rng.normal(size=(2, 6, 3)).astype(np.float32)
    b_enc = rng.normal(size=6).astype(np.float32)
    b_dec, b_pre = rng.normal(size=(2, 3)).astype(np.float32)
    return SAE(encoder, b_enc, decoder, b_dec, b_pre, provenance={"name": "test", "n": 3})


def refusal(path) -> str:
    with pytest.raises(AtlasError) as caught:
        load_sae(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"activation": Activation("topk", 2)},
        {"activation": Activation("jumprelu", None, np.arange(6, dtype=np.float32))},
        {"activation": Activation("batchtopk", None, np.ones(6, np.float32)), "soft_cap": 30.0},
        {"input": InputConvention("affine", np.ones(3, np.float32), np.ones(3, np.float32))},
        {"input": InputConvention("layernorm")},
    ],
)
def test_what_is_written_is_read_again(tmp_path, sae, change):
    before = replace(sae, **change)
    write_own(tmp_path, before)
    after = load_sae(tmp_path)
    assert after.digest() == before.digest()
    assert after.provenance == before.provenance
    assert after.activation.kind == before.activation.kind


def test_a_tied_sae_holds_one_matrix(tmp_path, sae):
    before = replace(sae, W_dec=sae.W_enc, tied=True)
    write_own(tmp_path, before)
    assert "W_dec" not in load_file(tmp_path / "sae.safetensors")
    assert load_sae(tmp_path).digest() == before.digest()


def test_weights_are_mapped_and_never_written_to(tmp_path, sae):
    write_own(tmp_path, sae)
    before = (tmp_path / "sae.safetensors").read_bytes()
    read = load_sae(tmp_path)
    assert isinstance(read.W_enc.base, np.memmap)
    assert isinstance(read.W_dec.base, np.memmap)
    read.W_enc[:] = 0
    assert (tmp_path / "sae.safetensors").read_bytes() == before
    assert np.array_equal(load_sae(tmp_path).W_enc, sae.W_enc)


def test_float16_storage_returns_what_reading_gives(tmp_path, sae):
    written = write_own(tmp_path, sae, "float16")
    assert load_file(tmp_path / "sae.safetensors")["W_enc"].dtype == np.float16
    assert load_sae(tmp_path).digest() == written.digest()
    assert np.allclose(written.W_enc, sae.W_enc, rtol=2.0**-11, atol=1e-7)
    assert np.array_equal(written.b_enc, sae.b_enc)


def test_a_weight_beyond_float16_is_refused(tmp_path, sae):
    with pytest.raises(InputError, match="W_enc reaches 70000, float16 ends at 65504"):
        write_own(tmp_path, replace(sae, W_enc=np.full_like(sae.W_enc, 70_000)), "float16")


def test_equal_saes_give_equal_bytes(tmp_path, sae):
    for name in ("a", "b"):
        write_own(tmp_path / name, sae)
    for file in ("sae.json", "sae.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("cut", [-1, -40, 4, 0])
def test_truncated_weights_are_refused(tmp_path, sae, cut):
    write_own(tmp_path, sae)
    path = tmp_path / "sae.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    assert refusal(tmp_path).startswith(f"{path} is not a whole safetensors file (")


def test_oversized_weights_are_refused(tmp_path, sae):
    write_own(tmp_path, sae)
    path = tmp_path / "sae.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    assert refusal(tmp_path).startswith(f"{path} is not a whole safetensors file (")


def test_a_missing_key_is_named(tmp_path, sae):
    write_own(tmp_path, sae)
    path = tmp_path / "sae.safetensors"
    tensors = load_file(path)
    del tensors["b_enc"]
    save_file(tensors, path)
    assert refusal(tmp_path) == f"{path} lacks b_enc; it has W_dec, W_enc, b_dec, b_pre"


def test_another_dtype_is_refused(tmp_path, sae):
    write_own(tmp_path, sae)
    path = tmp_path / "sae.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"W_enc": tensors["W_enc"].astype(np.float64)}, path)
    assert (
        refusal(tmp_path) == f"{path}: W_enc holds F64, expected F16 or F32; convert the checkpoint"
    )


def test_a_decoder_row_of_zeros_is_named(tmp_path, sae):
    write_own(tmp_path, sae)
    path = tmp_path / "sae.safetensors"
    tensors = load_file(path)
    tensors["W_dec"][4] = 0
    save_file(tensors, path)
    assert "W_dec has length 0 at row 4" in refusal(tmp_path)
    assert str(tmp_path) in refusal(tmp_path)


def test_weights_of_another_checkpoint_are_refused(tmp_path, sae):
    write_own(tmp_path / "a", sae)
    write_own(tmp_path / "b", replace(sae, b_enc=sae.b_enc + 1))
    (tmp_path / "b" / "sae.safetensors").replace(tmp_path / "a" / "sae.safetensors")
    assert "the two files are not of one checkpoint" in refusal(tmp_path / "a")


def test_facts_of_another_kind_are_refused(tmp_path, sae):
    write_own(tmp_path, sae)
    path = tmp_path / "sae.json"
    facts = read_json(path)
    write_json(path, facts | {"version": 2})
    assert "has version 2, this program reads 1" in refusal(tmp_path)
    write_json(path, facts | {"format": "other"})
    assert "does not say format 'atlas-sae'" in refusal(tmp_path)
    write_json(path, {key: facts[key] for key in facts if key != "tied"})
    assert refusal(tmp_path) == f"{path} lacks or garbles 'tied'; restore the file"
    path.write_text("{", encoding="utf-8")
    assert "is not JSON" in refusal(tmp_path)


def test_missing_weights_and_missing_folders_are_named(tmp_path, sae):
    write_own(tmp_path, sae)
    (tmp_path / "sae.safetensors").unlink()
    assert refusal(tmp_path) == f"no weights at {tmp_path / 'sae.safetensors'}; restore the file"
    with pytest.raises(MissingError, match="no SAE at"):
        load_sae(tmp_path / "none")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_for_saelens_encodes_and_decodes_alike(tmp_path, kind):
    rng = np.random.default_rng(5)
    sae, x = exact_sae(rng, kind), rng.normal(size=(40, 4)).astype(np.float32)
    write_saelens(tmp_path, sae)
    read = load_sae(tmp_path)
    assert read.activation.kind == {"batchtopk": "jumprelu"}.get(kind, kind)
    assert read.activation.k == sae.activation.k
    codes = encode(sae, x)
    assert (codes > 0).any()
    assert encode(read, x) == pytest.approx(codes, abs=1e-6)
    assert np.array_equal(decode(read, codes), decode(sae, codes))


def test_what_saelens_cannot_say_is_not_written_for_it(tmp_path, sae):
    for change, what in (
        ({"soft_cap": 30.0}, "a soft cap"),
        ({"input": InputConvention("unit")}, "unit input"),
    ):
        with pytest.raises(InputError) as caught:
            write_saelens(tmp_path, replace(sae, **change))
        assert str(caught.value) == (
            f"SAELens has no {what}, this SAE has; keep it in our own format alone"
        )
    assert list(tmp_path.iterdir()) == []
