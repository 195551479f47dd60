"""Other people's checkpoints: what is read, and what is refused, each in one line."""

import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from atlas.base.errors import AtlasError
from atlas.sae.checkpoints import FORMATS, load_sae
from atlas.sae.encoding import decode, encode
from atlas.settings.sae import CheckpointFormat, SaeSettings

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "fixtures" / "checkpoints"
CASES = sorted(path.name for path in RECORDED.iterdir() if path.is_dir())
LONGER = {"saelens_rescaled": math.sqrt(8), "saelens_layer_norm": math.sqrt(7 / 8)}
"""Where the input's length is folded into the weights: theirs over ours."""
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(6, 4)).astype(np.float32) * 3
W, V = RANDOM.normal(size=(2, 7, 4)).astype(np.float32)
B, G, M = RANDOM.normal(size=(3, 7)).astype(np.float32)
C = RANDOM.normal(size=4).astype(np.float32)


def load(path, **told):
    return load_sae(path, SaeSettings(**told))


def refusal(path, **told):
    with pytest.raises(AtlasError) as caught:
        load(path, **told)
    said = str(caught.value)
    assert "\n" not in said
    assert "weights_only" not in said
    assert str(path) in said
    return said.removeprefix(f"{path}")


def save(path, values, config=None):
    """Write a torch file of numpy arrays, and the JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(to_torch(values), path)
    if config is not None:
        (path.parent / "config.json").write_text(json.dumps(config))
    return path


def to_torch(value):
    if isinstance(value, dict):
        return {key: to_torch(item) for key, item in value.items()}
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def save_saev(path, values, header):
    buffer = io.BytesIO()
    torch.save(to_torch(values), buffer)
    path.write_bytes(json.dumps(header).encode() + b"\n" + buffer.getvalue())
    return path


def agrees(sae, codes, decoded, x=X):
    found = encode(sae, x)
    assert np.allclose(found, codes, rtol=1e-5, atol=1e-5)
    assert np.allclose(decode(sae, found), decoded, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_those_of_the_family_s_own_library(case):
    told = json.loads((RECORDED / case / "told.json").read_text())
    sae = load(RECORDED / case / "checkpoint", **told)
    with np.load(RECORDED / case / "answers.npz") as answers:
        x, codes, decoded = (answers[name] for name in ("x", "codes", "decoded"))
    found = encode(sae, x)
    assert np.array_equal(found > 0, codes > 0)
    assert np.abs(found - codes).max() <= 1e-5 * np.abs(codes).max()
    ours = decode(sae, found) * LONGER.get(case, 1)
    assert np.abs(ours - decoded).max() <= 1e-5 * np.abs(decoded).max()


def test_every_library_of_the_fixtures_is_named_in_the_table():
    versions = json.loads((RECORDED / "versions.json").read_text())
    checked = " ".join(kind.checked for kind in FORMATS)
    for name, version in versions.items():
        assert name == "torch" or f"{name} {version}" in checked, name


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_seed_s_release_is_relu_on_raw_embeddings(tmp_path, dtype):
    w, b, v, c = (array.astype(dtype) for array in (W, B, V.T, C))
    keys = {"enc_bias": b, "encoder.weight": w, "dec_bias": c, "decoder.weight": v}
    sae = load(save(tmp_path / "sparse_autoencoder_128.pth", keys))
    codes = np.maximum(X @ w.astype(np.float32).T + b.astype(np.float32), 0)
    agrees(sae, codes, codes @ v.astype(np.float32).T + c.astype(np.float32))
    assert (sae.input.kind, sae.b_pre.any(), sae.tied) == ("raw", False, False)
    keys["decoder.weight"] = w.T
    assert load(save(tmp_path / "tied.pth", keys)).tied


@pytest.mark.parametrize(
    ("header", "told", "subtracts"),
    [
        ({"d_vit": 4, "exp_factor": 2}, {}, True),
        ({"schema": 2, "cfg": {"activation": {"cls": "Relu", "params": {}}}}, {}, False),
        ({"schema": 1, "cls": "Relu", "cfg": {}}, {"pre_bias": True}, True),
        ({"schema": 1, "cls": "Relu", "cfg": {}}, {"pre_bias": False}, False),
    ],
)
def test_both_conventions_of_saev_are_read(tmp_path, header, told, subtracts):
    values = {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C}
    np.save(tmp_path / "mean.npy", C)
    path = save_saev(tmp_path / "sae.pt", values, header)
    sae = load(path, input_scale=0.5, input_mean=tmp_path / "mean.npy", **told)
    inputs = (X - C) * 0.5
    codes = np.maximum((inputs - C if subtracts else inputs) @ W.T + B, 0)
    agrees(sae, codes, codes @ V + C)


@pytest.mark.parametrize(
    ("activation", "more", "rule"),
    [
        ({"cls": "TopK", "params": {"top_k": 2}}, {}, lambda z: top(z, 2)),
        ({"cls": "BatchTopK", "params": {"top_k": 3}}, {}, lambda z: top(z, 3)),
        (
            {"cls": "BatchTopK", "params": {"top_k": 3}},
            {"activation.threshold": np.float32([0.8])},
            lambda z: np.where(z > 0.8, z, 0),
        ),
    ],
)
def test_activations_of_saev_are_read(tmp_path, activation, more, rule):
    values = {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C} | more
    header = {"schema": 4, "cfg": {"activation": activation}}
    sae = load(save_saev(tmp_path / "sae.pt", values, header), input_scale=1.0)
    codes = rule(X @ W.T + B)
    agrees(sae, codes, codes @ V + C)


def top(z, k):
    kept = np.sort(z, axis=1)[:, [-k]]
    return np.maximum(np.where(z >= kept, z, 0), 0)


def test_saev_without_what_it_keeps_elsewhere_is_asked_for(tmp_path):
    values = {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C}
    path = save_saev(tmp_path / "sae.pt", values, {"schema": 1, "cfg": {}})
    assert "set sae.pre_bias to true for a file of before September 2025" in refusal(path)
    assert "set sae.input_scale (1 if nothing was scaled)" in refusal(path, pre_bias=True)


def test_vit_prisma_subtracts_after_its_layer_norm(tmp_path):
    values = {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C}
    config = {"normalize_activations": "layer_norm", "activation_fn_str": "relu"}
    sae = load(save(tmp_path / "n_images_5.pt", values, config).parent)
    x = X * 10  # their 1e-5, added to the deviation, is left out here
    centered = x - x.mean(axis=1, keepdims=True)
    inputs = centered / (centered.std(axis=1, ddof=1, keepdims=True) + 1e-5)
    codes = np.maximum((inputs - C) @ W.T + B, 0)
    agrees(sae, codes, (codes @ V + C) / math.sqrt(3 / 4), x)
    config |= {"normalize_activations": "none", "activation_fn_kwargs": {"k": 2}}
    config["activation_fn_str"] = "topk"
    codes = top((X - C) @ W.T + B, 2)
    agrees(load(save(tmp_path / "b" / "a.pt", values, config)), codes, codes @ V + C)


def test_msae_centers_scales_and_caps(tmp_path):
    model = {"pre_bias": C, "encoder": W, "latent_bias": B, "decoder": V}
    values = {"model": model, "mean_center": C, "scaling_factor": 0.5, "target_norm": 2.0}
    z = ((X - C) * 0.5 - C) @ W.T + B
    z = 30 * np.tanh(z / 30)
    for name, codes in (("ReLU_7", np.maximum(z, 0)), ("TopKReLU_2_7", top(z, 2))):
        agrees(load(save(tmp_path / f"{name}.pt", values)), codes, codes @ V + C)
    model["activation.log_threshold"] = np.full(7, np.log(0.7), np.float32)
    sae = load(save(tmp_path / "JumpReLU_7.pt", values))
    codes = np.where(z > 0.7, z, 0)
    agrees(sae, codes, codes @ V + C)
    del model["activation.log_threshold"]
    assert "set sae.k or sae.threshold" in refusal(save(tmp_path / "TopK_2_7.pt", values))


def test_patchsae_is_read_where_it_is_named(tmp_path):
    values = {"state_dict": {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C}}
    path = save(tmp_path / "sae.pt", values)
    codes = np.maximum((X - C) @ W.T + B, 0)
    agrees(load(path, format="patchsae"), codes, codes @ V + C)
    gate = {"b_gate": G, "r_mag": M, "b_mag": B}
    path = save(tmp_path / "gated.pt", {"W_enc": W.T, "W_dec": V, "b_dec": C} | gate)
    p = (X - C) @ W.T
    codes = np.where(p + G > 0, np.maximum(np.exp(M) * p + B, 0), 0)
    agrees(load(path, format="patchsae"), codes, codes @ V + C)


def test_names_that_four_families_share_are_not_guessed_at(tmp_path):
    path = save(tmp_path / "sae.pt", {"W_enc": W.T, "b_enc": B, "W_dec": V, "b_dec": C})
    assert "PatchSAE, ViT-Prisma, SAELens and saev alike" in refusal(path)
    assert "put it beside the weights" in refusal(path, format="prisma")


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        (
            "saelens_standard",
            {"architecture": "crosscoder"},
            "architecture 'crosscoder' is not read",
        ),
        ("saelens_standard", {"normalize_activations": "covariance_whitening"}, "covariance_whit"),
        ("saelens_standard", {"normalize_activations": "expected_average_only_in"}, "input_scale"),
        ("saelens_standard", {"finetuning_scaling_factor": True}, "after fine-tuning"),
        ("saelens_standard", {"reshape_activations": "hook_z"}, "attention heads (hook_z)"),
        ("saelens_topk", {"k": "five"}, "k is 'five', expected a whole number; set sae.k"),
        ("saelens_topk", {"k": 99}, "k is 99, expected 1 to 24, its features"),
        ("sparsify_topk", {"activation": "groupmax"}, "activation 'groupmax' is not read"),
        ("sparsify_topk", {"transcode": True}, "it is a transcoder or has a skip connection"),
        (
            "dictionary_learning_topk",
            {"trainer": {}},
            "top-k and batch top-k hold the same tensors",
        ),
    ],
)
def test_what_cannot_be_honored_is_refused_by_name(tmp_path, case, change, message):
    shutil.copytree(RECORDED / case / "checkpoint", tmp_path / "it")
    path = next(path for path in (tmp_path / "it").iterdir() if path.suffix == ".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert message in refusal(tmp_path / "it")


@pytest.mark.parametrize(("case", "asked"), [("topk", "sae.k"), ("batchtopk", "sae.threshold")])
def test_what_overcomplete_does_not_keep_is_asked_for(case, asked):
    said = refusal(RECORDED / f"overcomplete_{case}" / "checkpoint")
    assert "does not say how activations are chosen" in said
    assert asked in said


def test_a_scale_that_saelens_does_not_keep_is_honored_once_told(tmp_path):
    shutil.copytree(RECORDED / "saelens_standard" / "checkpoint", tmp_path / "it")
    path = tmp_path / "it" / "cfg.json"
    plain = load(tmp_path / "it")
    config = json.loads(path.read_text()) | {"normalize_activations": "expected_average_only_in"}
    path.write_text(json.dumps(config))
    x = RANDOM.normal(size=(5, 8)).astype(np.float32)
    assert np.allclose(
        encode(load(tmp_path / "it", input_scale=0.25), x * 4), encode(plain, x), rtol=1e-5
    )


def test_one_of_several_files_must_be_named(tmp_path):
    for name in ("a", "b"):
        shutil.copytree(RECORDED / "sparsify_topk" / "checkpoint", tmp_path / name)
    said = refusal(tmp_path)
    assert (
        said
        == " holds 2 files of weights (a/sae.safetensors, b/sae.safetensors); name one in sae.file"
    )
    assert load(tmp_path, file="b").n_features == 24
    assert refusal(tmp_path, file="c") == " has no c; change sae.file"


def test_bfloat16_weights_are_widened(tmp_path):
    source = RECORDED / "sparsify_topk" / "checkpoint"
    shutil.copytree(source, tmp_path / "it")
    before = load(source)
    halves = {
        "encoder.weight": torch.from_numpy(before.W_enc).bfloat16(),
        "encoder.bias": torch.from_numpy(before.b_enc).bfloat16(),
        "W_dec": torch.from_numpy(before.W_dec).bfloat16(),
        "b_dec": torch.from_numpy(before.b_dec).bfloat16(),
    }
    from safetensors.torch import save_file as save_torch

    save_torch(halves, tmp_path / "it" / "sae.safetensors")
    after = load(tmp_path / "it")
    assert np.array_equal(after.W_enc, halves["encoder.weight"].float().numpy())


def test_every_format_can_be_named():
    names = {kind.name for kind in FORMATS} | {"auto", "atlas"}
    assert names == set(CheckpointFormat.__args__)


def test_a_plain_safetensors_file_of_the_seed_s_tensors_is_read(tmp_path):
    path = tmp_path / "sae.safetensors"
    keys = {"enc_bias": B, "encoder.weight": W, "dec_bias": C, "decoder.weight": V.T.copy()}
    save_file(keys, path)
    codes = np.maximum(X @ W.T + B, 0)
    agrees(load(path), codes, codes @ V + C)


def seed_tensors(prefix=""):
    values = {"enc_bias": B, "encoder.weight": W, "dec_bias": C, "decoder.weight": V.T.copy()}
    return {f"{prefix}{name}": value for name, value in values.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module."])
def test_what_a_wrapper_put_before_every_name_is_taken_off(tmp_path, prefix):
    plain = load(save(tmp_path / "plain/ae.pt", seed_tensors()))
    wrapped = load(save(tmp_path / "wrapped/ae.pt", seed_tensors(prefix)))
    assert wrapped.digest() == plain.digest()


def test_masks_and_counters_beside_good_weights_are_left_alone(tmp_path):
    beside = {"alive": np.ones(7, bool), "steps": np.array([3], np.uint8)}
    plain = load(save(tmp_path / "plain/ae.pt", seed_tensors()))
    assert load(save(tmp_path / "more/ae.pt", seed_tensors() | beside)).digest() == plain.digest()
    whole = seed_tensors() | {"encoder.weight": np.ones((7, 4), np.int8)}
    assert "encoder.weight holds int8, expected floats" in refusal(
        save(tmp_path / "whole/ae.pt", whole)
    )


def save_shards(folder, names, tensors, places=None):
    folder.mkdir()
    for name, some in names.items():
        save_file({key: tensors[key] for key in some}, folder / name)
    places = places or {key: name for name, some in names.items() for key in some}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_shards_are_read_by_their_index(tmp_path):
    tensors = seed_tensors()
    names = {
        "a.safetensors": ["enc_bias", "dec_bias"],
        "b.safetensors": ["encoder.weight", "decoder.weight"],
    }
    plain = load(save(tmp_path / "plain/ae.pt", tensors))
    assert load(save_shards(tmp_path / "two", names, tensors)).digest() == plain.digest()
    outside = dict.fromkeys(tensors, "../plain/ae.pt")
    assert "which is not beside it" in refusal(
        save_shards(tmp_path / "out", names, tensors, outside)
    )
    wrong = dict.fromkeys(tensors, "a.safetensors")
    assert "no shard holds decoder.weight" in refusal(
        save_shards(tmp_path / "wrong", names, tensors, wrong)
    )


def test_signed_top_k_is_refused_by_name_and_unsigned_is_read(tmp_path):
    values = {"encoder.weight": W, "encoder.bias": B, "W_dec": V, "b_dec": C}
    for name, signed in (("signed", True), ("unsigned", False)):
        folder = tmp_path / name
        folder.mkdir()
        save_file(values, folder / "sae.safetensors")
        (folder / "cfg.json").write_text(json.dumps({"d_in": 4, "k": 2, "signed": signed}))
    assert load(tmp_path / "unsigned").activation.k == 2
    assert "negative ones too (signed)" in refusal(tmp_path / "signed")


def test_a_fine_tuning_scale_of_ones_changes_nothing(tmp_path):
    config = {"architecture": "standard", "d_in": 4, "d_sae": 7, "apply_b_dec_to_input": False,
              "normalize_activations": "none", "finetuning_scaling_factor": True}  # fmt: skip
    for name, scale in (("ones", 1.0), ("real", 1.5)):
        folder = tmp_path / name
        folder.mkdir()
        values = {"W_enc": W.T.copy(), "b_enc": B, "W_dec": V, "b_dec": C}
        save_file(
            values | {"scaling_factor": np.full(7, scale, np.float32)},
            folder / "sae_weights.safetensors",
        )
        (folder / "cfg.json").write_text(json.dumps(config))
    assert load(tmp_path / "ones").n_features == 7
    assert "it scales its decoder after fine-tuning" in refusal(tmp_path / "real")
