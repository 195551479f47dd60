"""The scan that runs on a card, on the CPU: the same part as the processor's own scan writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from one_part import compare, part_of
from planted import exact_sae

from atlas.base.errors import InputError
from atlas.sae import candidates
from atlas.sae.encoding import make_encoder
from atlas.sae.model import InputConvention
from atlas.scan import card, scanner
from atlas.scan.card import CardScan, make_card


@pytest.mark.parametrize("screen", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["relu", "jumprelu", "batchtopk"])
def test_a_card_writes_the_processors_part(tmp_path, monkeypatch, kind, screen):
    monkeypatch.setattr(card, "TALLIED_AT_ONCE", 2)
    for module in (card, scanner):
        monkeypatch.setattr(module, "CHUNK_IMAGES", 50)
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, kind, n_features=90, width=8)
    x = (rng.integers(-8, 9, (280, 8)) / 4).astype(np.float16)
    x[~x.any(axis=1)] = 1
    expected = part_of(tmp_path, sae, x, screen)
    assert expected["count"].max() > 6
    compare(part_of(tmp_path, sae, x, screen, card="cpu"), expected)


@pytest.mark.parametrize("convention", ["unit", "layernorm"])
def test_a_card_reads_what_the_sae_reads(tmp_path, convention):
    rng = np.random.default_rng(5)
    sae = replace(exact_sae(rng, "relu", n_features=40, width=8), input=InputConvention(convention))
    x = rng.normal(size=(60, 8)).astype(np.float32)
    expected = part_of(tmp_path, sae, x, "bf16")
    assert expected["l0"].sum() > 0
    compare(part_of(tmp_path, sae, x, "bf16", card="cpu"), expected)


def test_a_list_that_was_too_short_is_made_again(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "relu", n_features=90, width=8)
    x = (rng.integers(1, 9, (70, 8)) / 4).astype(np.float16)
    expected = part_of(tmp_path, sae, x, "bf16")
    asked, really = [], candidates.name_candidates

    def counted(encoder, inputs, batch_images, *room):
        asked.append(room)
        return really(encoder, inputs, batch_images, *(room or (1, 64)))

    for module in (card, candidates):
        monkeypatch.setattr(module, "name_candidates", counted)
    compare(part_of(tmp_path, sae, x, "bf16", card="cpu"), expected)
    assert asked[:3] == [(), (4, 16), (16, 4)]


def test_an_activation_beyond_float32_is_refused_on_a_card(tmp_path):
    rng = np.random.default_rng(3)
    sae = exact_sae(rng, "relu", n_features=9, width=8)
    sae = replace(sae, W_enc=np.abs(sae.W_enc) * np.float32(1e37) + np.float32(1e37))
    scan = CardScan(make_card(make_encoder(sae)), np.full((3, 8), 60, np.float32), 3)
    with pytest.raises(InputError, match=r"feature 0 activates beyond float32"):
        list(scan.chunks(8))
