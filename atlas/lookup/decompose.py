"""Split any picture into features and concepts."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from atlas.base.errors import InputError, MissingError
from atlas.base.extras import explain_missing_package
from atlas.lookup.catalog import Catalog
from atlas.lookup.records import Concept, Decomposition, Firing, SimilarImage
from atlas.lookup.similar import similar_images

CONCEPT_LABELS = 3
"""Features of a concept, the strongest, whose labels name it."""


@explain_missing_package("a picture of one's own", "embed,concepts")
def decompose(catalog: Catalog, picture: str | PathLike[str], tau: str | float) -> Decomposition:
    """Open any picture: the features that fire on it, in concepts. Loads torch.

    Args:
        catalog: Of the atlas.
        picture: A picture file (PNG, JPEG, WebP and others); it need not be in the atlas.
        tau: coarse, fine, or the least mass of a concept in this SAE's activations.

    Raises:
        MissingError: The picture, the SAE or the encoder is not there, or a package.
        InputError: The file is no picture, nothing fires on it, or tau is no such value.
    """
    if catalog.published:
        raise MissingError(
            f"{catalog.place} is published, without the SAE and the encoder that a picture "
            "needs; ask the atlas that it was built from"
        )
    least = _least_mass(catalog, tau)
    path = Path(picture)
    sae_dir, encoder_dir = _place(catalog, "sae"), _place(catalog, "encoder")
    import numpy as np

    from atlas.concepts.grouping import groups_of, keep, sweep
    from atlas.inputs.encoder import embed_images, load_encoder
    from atlas.inputs.picture import WHITE, read_picture
    from atlas.sae.checkpoints import load_sae
    from atlas.sae.encoding import make_encoder

    image = read_picture(path, catalog.provenance.get("ground", WHITE))
    sae = load_sae(sae_dir)
    if sae.digest() != catalog.provenance["sae_digest"]:
        raise InputError(
            f"the SAE in {sae_dir} is not the one that {catalog.path} was built from; build the atlas again"
        )
    embedding = embed_images(load_encoder(encoder_dir), [image])
    found = make_encoder(sae).fire(embedding)
    features, activations = found.feature.astype(np.int64), found.activation
    if not len(features):
        raise InputError(f"no feature fires on {path}; try a picture more like those of the atlas")
    mass = float(activations.sum(dtype=np.float64))
    runs = sweep(
        sae.W_dec[features],
        activations,
        int(mass / least),
        restarts=int(catalog.provenance["grouping_restarts"]),
        seed=int(catalog.provenance["grouping_seed"]),
    )
    grouping = keep(runs, activations, least)
    written = activations @ sae.W_dec[features]
    read = embedding[0] - sae.b_dec
    explained = written @ read / np.linalg.norm(written) / np.linalg.norm(read)
    labels = catalog.names(features.tolist())
    groups = groups_of(features, activations, grouping.labels)
    return Decomposition(
        picture=str(picture),
        citation=catalog.id,
        tau=least,
        mass=mass,
        explained=float(explained),
        lowest=grouping.lowest,
        highest=grouping.highest,
        features=_firings(features, activations, labels),
        concepts=tuple(
            _concept(number, _firings(group.features, group.activations, labels), mass)
            for number, group in enumerate(groups[: grouping.k])
        ),
        similar=_similar(catalog, embedding[0]),
    )


def _similar(catalog: Catalog, embedding: Any) -> tuple[SimilarImage, ...]:
    """Return the images like a picture; none where FAISS or its index is not here."""
    try:
        return similar_images(catalog, embedding)
    except MissingError:
        return ()


def _least_mass(catalog: Catalog, tau: str | float) -> float:
    if tau in ("coarse", "fine"):
        return float(catalog.provenance[f"tau_{tau}"])
    try:
        value = float(tau)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"tau is coarse, fine or a number above 0, not {tau}")
    return value


def _place(catalog: Catalog, name: str) -> Path:
    """Return the folder of the SAE or encoder that the atlas was built with."""
    from atlas.base.files import read_json

    folder = catalog.path / "concepts"
    places = read_json(folder / "concepts.json").get("places", {})
    if name not in places:
        raise MissingError(
            f"{catalog.path} was built without an encoder, so no picture can be opened; set embed.encoder and build again"
        )
    found: Path = (folder / places[name]).resolve()
    if not found.exists():
        raise MissingError(
            f"the {name} of {catalog.path} is no longer at {found}; build the atlas again with: atlas build CONFIG --force concepts"
        )
    return found


def _firings(features: Any, activations: Any, labels: dict[int, str]) -> tuple[Firing, ...]:
    """Return features with their labels, strongest first, of equal ones the lower number."""
    pairs = sorted(
        zip(features.tolist(), activations.tolist(), strict=True), key=lambda p: (-p[1], p[0])
    )
    return tuple(Firing(feature, labels.get(feature, ""), value) for feature, value in pairs)


def _concept(number: int, firings: tuple[Firing, ...], whole: float) -> Concept:
    mass = sum(firing.activation for firing in firings)
    words = dict.fromkeys(f.label for f in firings[:CONCEPT_LABELS] if f.label)
    return Concept(number, ", ".join(words), mass, mass / whole, firings)
