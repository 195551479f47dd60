"""How an SAE does beside its own figures: said where it does not fit, with the most likely cause."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from atlas.base.files import write_json
from atlas.inputs.embeddings import EmbeddingSet
from atlas.sae.model import SAE, Activation
from atlas.scan.own_figures import OwnFigures, judge_fit, own_figures

GOOD = {"l0_mean": 40.0, "mass_median": 9.0, "explained_variance": 0.6}
OWN = OwnFigures(37.0, 0.73)
IMAGES = EmbeddingSet(2, 9, {"id": "enc"}, False, (), "#ffffff")


def sae(**provenance):
    w, z = np.eye(2, dtype=np.float32), np.zeros(2, np.float32)
    return SAE(W_enc=w, b_enc=z, W_dec=w, b_dec=z, b_pre=z, provenance=provenance)


def why(figures, made=None, own=OWN):
    return judge_fit(made or sae(encoder_id="enc"), IMAGES, own, GOOD | figures)["why"]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"explained_variance": 0.1}, "it explains 0.10 of their variance (0 is the mean's, 0.73 in training)"),
        ({"explained_variance": -0.52}, "it explains -0.52 of their variance"),
        ({"l0_mean": 55.6}, "56 features fire on an image instead of 37"),
        ({"mass_median": 0.0}, "no feature fires on half of the images or more, so there are no"),
        ({"mass_median": 0.0, "l0_mean": 0.0}, "no feature fires on any image, so there are no"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_with_its_figures(figures, said):
    assert why(figures).startswith(f"the SAE does not fit these images: {said}")


@pytest.mark.parametrize(
    "figures", [{}, {"explained_variance": 0.11, "l0_mean": 55.5}, {"explained_variance": None}]
)
def test_nothing_is_said_of_an_sae_that_fits(figures):
    assert why(figures) == ""


def test_the_most_likely_cause_is_named():
    bad = {"explained_variance": -0.4}
    assert "unlike those that it was trained on" in why(bad)
    assert "Is enc the encoder that it was trained on, and" in why(bad, sae())
    other = sae(encoder_id="enc", ground="#000000")
    assert "set embed.ground to #000000, as in training" in why(bad, other)


def test_its_own_l0_is_the_stated_one_or_measured_in_training_or_k(tmp_path):
    top = replace(sae(), activation=Activation("topk", 2))
    assert own_figures(top, tmp_path, None) == OwnFigures(2.0, None)
    assert own_figures(sae(), tmp_path, None) == OwnFigures(None, None)
    rows = [("sae_heldout_l0_mean", 39.3), ("sae_heldout_explained_variance", 0.7)]
    write_json(tmp_path / "figures.json", {"figures": [{"name": n, "value": v} for n, v in rows]})
    assert own_figures(top, tmp_path, None) == OwnFigures(39.3, 0.7)
    assert own_figures(top, tmp_path, 60.0) == OwnFigures(60.0, 0.7)
