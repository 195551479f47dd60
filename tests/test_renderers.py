"""Decoders, through the real pipeline classes with tiny random weights kept on disk."""

import numpy as np
import pytest
from tiny_decoder import save_tiny_decoder

from atlas.errors import ConfigError, InputError, MissingError
from atlas.renderers import open_renderer
from atlas.renderers.drawing import Drawing

WIDTH = 12
DRAWING = Drawing(px=16, steps=3, guidance=3.0, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_decoder(tmp_path_factory.mktemp("decoder"), WIDTH)


@pytest.fixture(scope="module")
def renderer(folder):
    return open_renderer("kandinsky22", folder, WIDTH, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def embeddings():
    return np.random.default_rng(0).normal(0, 5, (4, WIDTH)).astype(np.float32)


def pixels(pictures):
    return np.stack([np.asarray(picture) for picture in pictures]).astype(int)


def test_a_picture_has_its_size_and_shows_something(renderer, embeddings):
    found = pixels(renderer.draw(embeddings, np.zeros(WIDTH, np.float32), DRAWING))
    assert found.shape == (4, 16, 16, 3)
    assert found.std() > 0


def test_the_same_embedding_gives_the_same_picture_wherever_it_stands(renderer, embeddings):
    negative = np.zeros(WIDTH, np.float32)
    together = pixels(renderer.draw(embeddings, negative, DRAWING))
    turned = pixels(renderer.draw(embeddings[::-1].copy(), negative, DRAWING))[::-1]
    again = pixels(renderer.draw(embeddings, negative, DRAWING))
    assert (again == together).all()
    assert (turned == together).all()
    alone = pixels(renderer.draw(embeddings[2:3], negative, DRAWING))[0]
    assert np.abs(alone - together[2]).max() <= 1  # another batch may round another way


def test_condition_negative_and_seed_all_matter(renderer, embeddings):
    negative = np.zeros(WIDTH, np.float32)
    first = pixels(renderer.draw(embeddings[:1], negative, DRAWING))
    others = [
        renderer.draw(embeddings[1:2], negative, DRAWING),
        renderer.draw(embeddings[:1], embeddings[3], DRAWING),
        renderer.draw(embeddings[:1], negative, Drawing(16, 3, 3.0, seed=2)),
    ]
    assert all((pixels(other) != first).any() for other in others)


def test_what_does_not_fit_is_refused_by_name(folder, tmp_path):
    with pytest.raises(
        ConfigError, match=r"takes embeddings of 12 dimensions, the SAE writes 1280"
    ):
        open_renderer("kandinsky22", folder, 1280, device="cpu", dtype="float32")
    with pytest.raises(ConfigError, match="no renderer sdxl; there are kandinsky22"):
        open_renderer("sdxl", folder, WIDTH, device="cpu", dtype="float32")
    with pytest.raises(MissingError, match="no decoder at"):
        open_renderer("kandinsky22", tmp_path, WIDTH, device="cpu", dtype="float32")
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load the decoder in"):
        open_renderer("kandinsky22", tmp_path, WIDTH, device="cpu", dtype="float32")
