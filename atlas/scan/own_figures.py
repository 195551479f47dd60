"""How an SAE does on these images beside what its own figures say, and why it may not fit them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.base.files import read_json
from atlas.inputs.embeddings import EmbeddingSet
from atlas.sae.model import SAE

LEAST_EXPLAINED = 0.1
"""At or below this share of variance the reconstruction says hardly more than the mean."""
L0_FACTOR = 1.5
"""So many times its own L0 an SAE shows only on embeddings unlike those that it was trained on."""
FIGURES = "figures.json"


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """What is known of an SAE on images of its own kind; None where nothing is."""

    l0: float | None
    explained: float | None
    """Share of variance."""


def own_figures(sae: SAE, folder: Path, stated_l0: float | None) -> OwnFigures:
    """Return an SAE's figures: as the configuration states, as training measured, or its k.

    Args:
        sae: The SAE.
        folder: Where it lies; training leaves figures.json beside it.
        stated_l0: Of the configuration.
    """
    rows = read_json(folder / FIGURES)["figures"] if (folder / FIGURES).is_file() else []
    held = {row["name"].removeprefix("sae_heldout_"): float(row["value"]) for row in rows}
    l0 = stated_l0 or held.get("l0_mean")
    if l0 is None and sae.activation.kind == "topk":
        l0 = float(sae.activation.k or 0) or None
    return OwnFigures(l0, held.get("explained_variance"))


def judge_fit(
    sae: SAE, embeddings: EmbeddingSet, own: OwnFigures, figures: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the SAE's own figures, and in one line what is wrong on these images; "" if nothing.

    Args:
        sae: The SAE.
        embeddings: The images.
        own: The SAE's own figures.
        figures: What scan_figures found on the images.
    """
    l0, explained = figures["l0_mean"], figures["explained_variance"]
    wrong = []
    if not l0:
        wrong.append("no feature fires on any image, so there are no concepts")
    elif not figures["mass_median"]:
        wrong.append("no feature fires on half of the images or more, so there are no concepts")
    if l0 and explained is not None and explained <= LEAST_EXPLAINED:
        beside = "" if own.explained is None else f", {own.explained:.2f} in training"
        wrong.append(f"it explains {explained:.2f} of their variance (0 is the mean's{beside})")
    if own.l0 is not None and l0 > L0_FACTOR * own.l0:
        wrong.append(f"{l0:.0f} features fire on an image instead of {own.l0:.0f}")
    why = ""
    if wrong:
        why = f"the SAE does not fit these images: {'; '.join(wrong)}. {_cause(sae, embeddings)}"
    return {"own_l0": own.l0, "own_explained_variance": own.explained, "why": why}


def _cause(sae: SAE, embeddings: EmbeddingSet) -> str:
    """Return the most likely cause in a sentence, and what to do."""
    trained, used = (
        sae.provenance.get("encoder_id"),
        embeddings.encoder.get("id") or "the one of these embeddings",
    )
    ground = sae.provenance.get("ground")
    if ground and embeddings.ground and ground != embeddings.ground:
        return (
            f"Most likely transparent pictures lie on another ground, {embeddings.ground}: set "
            f"embed.ground to {ground}, as in training."
        )
    if trained:
        return (
            "Most likely they are unlike those that it was trained on, as photographs are unlike "
            "drawings: train one on these (leave out --sae, or sae.path)."
        )
    return (
        f"Is {used} the encoder that it was trained on, and are the embeddings of the same length? "
        "It does not say: ask atlas doctor CONFIG."
    )
