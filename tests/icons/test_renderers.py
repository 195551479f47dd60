"""Decoders, through the real pipeline classes with tiny random weights kept on disk."""

import json
import shutil
from importlib import import_module

import numpy as np
import pytest
import torch
from tiny_decoder import save_tiny

from atlas.base.errors import ConfigError, InputError, MissingError
from atlas.icons.decoder import RENDERERS, open_renderer
from atlas.icons.renderers.drawing import Drawing

# diffusers' Euler scheduler hands a tensor to numpy in a way that numpy is leaving behind.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WIDTH = 12
PX = {"kandinsky22": 16, "ip_adapter_sdxl": 16, "stable_cascade": 128, "stable_unclip": 16}
NEGATIVE = np.zeros(WIDTH, np.float32)


@pytest.fixture(scope="module", params=RENDERERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def folder(name, tmp_path_factory):
    return save_tiny(name, tmp_path_factory.mktemp(name) / "decoder", WIDTH)


@pytest.fixture(scope="module")
def renderer(name, folder):
    return open_renderer(name, folder, WIDTH, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def drawing(name):
    return Drawing(px=PX[name], steps=3, guidance=3.0, seed=1)


@pytest.fixture(scope="module")
def embeddings():
    return np.random.default_rng(0).normal(0, 5, (4, WIDTH)).astype(np.float32)


def pixels(pictures):
    return np.stack([np.asarray(picture) for picture in pictures]).astype(int)


def test_a_picture_has_its_size_and_shows_something(renderer, embeddings, drawing):
    found = pixels(renderer.draw(embeddings, NEGATIVE, drawing))
    assert found.shape == (4, drawing.px, drawing.px, 3)
    assert found.std() > 0


def test_the_same_embedding_gives_the_same_picture_wherever_it_stands(
    renderer, embeddings, drawing
):
    together = pixels(renderer.draw(embeddings, NEGATIVE, drawing))
    turned = pixels(renderer.draw(embeddings[::-1].copy(), NEGATIVE, drawing))[::-1]
    again = pixels(renderer.draw(embeddings, NEGATIVE, drawing))
    assert (again == together).all()
    assert (turned == together).all()
    alone = pixels(renderer.draw(embeddings[2:3], NEGATIVE, drawing))[0]
    assert np.abs(alone - together[2]).max() <= 1  # another batch may round another way


def test_condition_guidance_and_seed_all_matter(renderer, embeddings, drawing):
    first = pixels(renderer.draw(embeddings[:1], NEGATIVE, drawing))
    others = [
        renderer.draw(embeddings[1:2], NEGATIVE, drawing),
        renderer.draw(embeddings[:1], NEGATIVE, Drawing(drawing.px, 3, 1.0, seed=1)),
        renderer.draw(embeddings[:1], NEGATIVE, Drawing(drawing.px, 3, 3.0, seed=2)),
    ]
    assert all((pixels(other) != first).any() for other in others)


def test_only_kandinsky_moves_away_from_the_negative(name, renderer, embeddings, drawing):
    first = pixels(renderer.draw(embeddings[:1], NEGATIVE, drawing))
    other = pixels(renderer.draw(embeddings[:1], embeddings[3], drawing))
    assert (first != other).any() == (name == "kandinsky22")


def test_what_runs_out_of_memory_is_drawn_in_halves(renderer, embeddings, drawing, monkeypatch):
    whole = pixels(renderer.draw(embeddings, NEGATIVE, drawing))
    module = import_module(f"atlas.icons.renderers.{renderer.name}")
    sizes = []

    def draw(pipeline, some, negative, how):
        sizes.append(len(some))
        if len(some) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return module.draw(pipeline, some, negative, how)

    limited = type(renderer)(renderer.name, WIDTH, renderer.pipeline, draw)
    halved = pixels(limited.draw(embeddings, NEGATIVE, drawing))
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert np.abs(halved - whole).max() <= 1
    limited.draw(embeddings, NEGATIVE, drawing)
    assert sizes[6:] == [1, 1, 1, 1]  # what was too much once is not tried again

    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    full = type(renderer)(renderer.name, WIDTH, renderer.pipeline, never)
    with pytest.raises(InputError, match=r"one picture of \d+ pixels doesn't fit"):
        full.draw(embeddings, NEGATIVE, drawing)


def test_an_embedding_that_is_not_finite_is_refused(renderer, embeddings, drawing):
    bad = embeddings.copy()
    bad[2, 5] = np.nan
    with pytest.raises(InputError, match="embedding 2 to be drawn is not finite"):
        renderer.draw(bad, NEGATIVE, drawing)


def test_what_does_not_fit_is_refused_by_name(name, folder, tmp_path):
    with pytest.raises(
        ConfigError, match=rf"{name} in .* takes embeddings of 12 dimensions, the SAE writes 1280"
    ):
        open_renderer(name, folder, 1280, device="cpu", dtype="float32")
    with pytest.raises(MissingError, match="no decoder at"):
        open_renderer(name, tmp_path / "nowhere", WIDTH, device="cpu", dtype="float32")
    for part in ("", "prior", "decoder"):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load the decoder in"):
        open_renderer(name, tmp_path, WIDTH, device="cpu", dtype="float32")


def test_a_decoder_made_for_another_encoder_is_refused(name, folder, tmp_path):
    copied = tmp_path / "decoder"
    shutil.copytree(folder, copied)
    (copied / "decoder.json").write_text(json.dumps({"encoder": "ViT-H-14"}))
    for encoder in ("", "ViT-H/14, laion2b", "hf-hub:laion/CLIP-vit_h_14"):
        open_renderer(name, copied, WIDTH, encoder=encoder, device="cpu", dtype="float32")
    with pytest.raises(ConfigError, match="embeddings of ViT-H-14, these are of ViT-g-14"):
        open_renderer(name, copied, WIDTH, encoder="ViT-g-14", device="cpu", dtype="float32")


def test_an_unknown_renderer_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no renderer sdxl; there are kandinsky22, ip_adapter"):
        open_renderer("sdxl", tmp_path, WIDTH, device="cpu", dtype="float32")


def test_an_adapter_must_be_there_and_take_pooled_embeddings(tmp_path):
    folder = save_tiny("ip_adapter_sdxl", tmp_path / "decoder", WIDTH)
    weights = folder / "ip_adapter" / "ip-adapter_sdxl.safetensors"
    weights.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot use the adapter"):
        open_renderer("ip_adapter_sdxl", folder, WIDTH, device="cpu", dtype="float32")
    weights.unlink()
    with pytest.raises(MissingError, match="no adapter at"):
        open_renderer("ip_adapter_sdxl", folder, WIDTH, device="cpu", dtype="float32")


def test_a_side_that_stable_cascade_cannot_draw_is_refused(tmp_path, embeddings):
    folder = save_tiny("stable_cascade", tmp_path / "decoder", WIDTH)
    renderer = open_renderer("stable_cascade", folder, WIDTH, device="cpu", dtype="float32")
    with pytest.raises(ConfigError, match=r"multiples of 128 pixels, not 100; change icons\.px"):
        renderer.draw(embeddings, NEGATIVE, Drawing(100, 3, 3.0, seed=1))


@pytest.mark.parametrize("renderer_name", RENDERERS)
def test_the_published_weights_name_their_encoder(renderer_name):
    module = import_module(f"atlas.icons.renderers.{renderer_name}")
    assert module.ENCODERS
    assert all(width in (768, 1024, 1280) for width in module.ENCODERS)
