"""Two small planted atlases that together have every stage, for faults by the hundred."""

from __future__ import annotations

from pathlib import Path

from planted import plant
from safetensors.numpy import save_file
from site_fixture import DRAWN, save_planted_words
from tiny_decoder import save_tiny_decoder
from tiny_encoder import save_tiny_encoder

from atlas.sae.formats.own import read_own

WIDTH = 32
TRAINED = """
[train]
n_features = 7
steps = 60
batch_images = 32
"""
RUNTIME = "\n[runtime]\nworkers = 1\n"
"""Workers are processes of their own, which would not inherit what a fault is made with."""


def _plant(folder: Path) -> Path:
    plant(folder, n_images=30, n_features=6, n_shards=2, dead_share=0.0, l0=3.0)
    config = folder / "atlas.toml"
    config.write_text(config.read_text().replace("examples = 12\n", "examples = 3\n"))
    return config


def plant_trained(folder: Path) -> Path:
    """Write an atlas that trains its own SAE; return its configuration."""
    config = _plant(folder)
    config.write_text(config.read_text().replace('[sae]\npath = "sae"\n', TRAINED) + RUNTIME)
    return config


def plant_full(folder: Path) -> Path:
    """Write an atlas with a converted SAE, words, icons, places and a comparison; return its configuration.

    The atlas that it is compared with is written too, and has to be built first.
    """
    config = _plant(folder)
    other = plant_other(folder / "other")
    sae = read_own(folder / "sae")
    released = {"encoder.weight": sae.W_enc, "enc_bias": sae.b_enc, "dec_bias": sae.b_dec}
    save_file(released | {"decoder.weight": sae.W_dec.T.copy()}, folder / "sae.safetensors")
    save_tiny_decoder(folder / "decoder", WIDTH)
    save_tiny_encoder(folder / "encoder", WIDTH)
    save_tiny_encoder(folder / "other-encoder", 20, seed=5)
    save_planted_words(folder / "words", WIDTH)
    text = config.read_text().replace("[embed]\n", '[embed]\nencoder = "encoder"\n')
    text = text.replace('path = "sae"\n', 'path = "sae.safetensors"\n')
    text = text.replace("[catalog]\n", '[catalog]\nvocabulary = "words"\n')
    text = text.replace("examples = 3\n", "examples = 3\ndrawn_examples = 1\n")
    text += DRAWN.replace("sample_features = 12", "sample_features = 4")
    config.write_text(text + f'\n[compare]\nother = "{other.parent / "build"}"\n')
    return config


def plant_other(folder: Path) -> Path:
    """Write the atlas that another one is compared with; return its configuration."""
    config = _plant(folder)
    config.write_text(config.read_text() + RUNTIME)
    return config
