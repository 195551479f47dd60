"""The concepts stage: a few example images, opened into concepts with knobs that turn.

Of each example: its features in groups, an icon of every group, the image with each group at
five gains, and the heaviest group of another example added to it. Groups come from a plain
k-means. Writes concepts.parquet, concept_features.parquet, knobs.parquet, transfers.parquet
and concepts.json; the unit of resuming is one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.activations import ImageActivations
from atlas.embeddings import read_embeddings
from atlas.files import read_parquet, write_json, write_parquet
from atlas.grouping import Group, group_features
from atlas.sae import limit_threads
from atlas.stage import Job
from atlas.steering import edit, group_embedding, set_strengths
from atlas.studio import Sheet, Studio, draw_sheets, open_studio

if TYPE_CHECKING:
    import pyarrow as pa

GAINS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Of a knob; at 1 it is the image's own embedding."""
TURNED = tuple(gain for gain in GAINS if gain != 1)
COMMAND = "atlas build CONFIG concepts"


@dataclass(frozen=True, slots=True)
class Example:
    """One image, opened."""

    image: int
    embedding: NDArray[np.float32]
    """(d,) raw."""
    groups: list[Group]
    """Heaviest first."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One example's pictures and what they activate."""

    webps: list[bytes]
    activations: NDArray[np.float32]
    """(picture, feature)."""
    size: int
    """Groups."""

    def icon(self, concept: int) -> int:
        """Return the place of a concept's icon among the pictures."""
        return 1 + concept

    def turned(self, concept: int, gain: float) -> int:
        """Return the place of the image with a concept at a gain."""
        if gain == 1:
            return 0
        return 1 + self.size + concept * len(TURNED) + TURNED.index(gain)

    @property
    def transfer(self) -> int:
        """The place of the image with another example's heaviest concept."""
        return len(self.webps) - 1

    def mass(self, picture: int, group: Group) -> float:
        """Return the sum of a group's activations on a picture."""
        return float(self.activations[picture, group.features].sum(dtype=np.float64))


def run(job: Job) -> None:
    """Draw the examples that aren't drawn yet and write the tables.

    Raises:
        ConfigError: No encoder is named, or the decoder doesn't fit the SAE or the encoder.
        InputError: A picture comes out as one flat color.
    """
    limit_threads(job.runtime.threads)
    settings = job.settings.concepts
    studio = open_studio(job.settings.icons, job.inputs, job.runtime.device)
    chosen = choose(job)
    examples = open_examples(job, studio, chosen)
    largest = read_parquet(job.inputs["scan"] / "features.parquet", ["max"])["max"].to_numpy()
    sheets = [
        sheet_of(studio, example, examples[(i + 1) % len(examples)], largest.astype(np.float32))
        for i, example in enumerate(examples)
    ]
    tables = draw_sheets(job, studio, sheets)
    drawn = [
        _unpack(table, studio.sae.n_features, len(example.groups))
        for table, example in zip(tables, examples, strict=True)
    ]
    write_parquet(job.out_dir / "concepts.parquet", _concept_table(examples, drawn))
    write_parquet(job.out_dir / "concept_features.parquet", _feature_table(examples))
    write_parquet(job.out_dir / "knobs.parquet", _knob_table(examples, drawn))
    write_parquet(job.out_dir / "transfers.parquet", _transfer_table(examples, drawn))
    write_json(
        job.out_dir / "concepts.json",
        {"figures": figures(examples, drawn), "groups": settings.groups},
    )


def choose(job: Job) -> list[int]:
    """Return the numbers of the example images: drawn by lot, of those that show several things.

    Where the image table names no terms, of all; never a sensitive one.
    """
    table = read_parquet(job.inputs["embed"] / "images.parquet", ["terms", "sensitive"])
    l0 = read_parquet(job.inputs["scan"] / "images.parquet", ["l0"])["l0"].to_numpy()
    several = np.array([len(terms or ()) > 1 for terms in table["terms"].to_pylist()])
    fit = ~table["sensitive"].to_numpy() & (l0 > 0)
    if (several & fit).any():
        fit &= several
    lot = np.random.default_rng(job.settings.concepts.seed).permutation(np.flatnonzero(fit))
    return sorted(lot[: job.settings.concepts.examples].tolist())


def open_examples(job: Job, studio: Studio, chosen: list[int]) -> list[Example]:
    """Return the chosen images in groups."""
    settings, reader = job.settings.concepts, ImageActivations(job.inputs["scan"])
    vectors = read_embeddings(job.inputs["embed"]).take(chosen)
    found = []
    for image, embedding in zip(chosen, vectors, strict=True):
        features, activations = reader[image]
        groups = group_features(studio.sae, features, activations, settings.groups, settings.seed)
        found.append(Example(image, embedding, groups))
    return found


def sheet_of(
    studio: Studio, example: Example, other: Example, largest: NDArray[np.float32]
) -> Sheet:
    """Return all pictures of one example: as it is, icons, knobs, transfer."""
    sae, settings, name = studio.sae, studio.settings, f"image {example.image}"
    rows = [example.embedding]
    labels = [name]
    for number, group in enumerate(example.groups):
        strongest = group.features[:1]
        strength = set_strengths(
            sae, strongest, largest[strongest], settings.strength, settings.strength_unit
        )
        rows.append(
            group_embedding(
                sae,
                studio.template,
                group.features,
                group.activations * strength[0] / group.activations[0],
            )
        )
        labels.append(f"the icon of concept {number} of {name}")
    for number, group in enumerate(example.groups):
        for gain in TURNED:
            rows.append(edit(sae, example.embedding, group.features, group.activations, gain))
            labels.append(f"{name} with concept {number} at {gain}")
    given = other.groups[0]
    rows.append(edit(sae, example.embedding, given.features, given.activations, 2.0))
    labels.append(f"{name} with a concept of image {other.image}")
    return Sheet(f"image-{example.image:08d}", np.stack(rows), tuple(labels))


def _unpack(table: pa.Table, n_features: int, size: int) -> Drawn:
    activations = np.zeros((len(table), n_features), np.float32)
    for picture, row in enumerate(table.select(["fired", "activation"]).to_pylist()):
        activations[picture, row["fired"]] = row["activation"]
    return Drawn(table["webp"].to_pylist(), activations, size)


def _concept_table(examples: list[Example], drawn: list[Drawn]) -> pa.Table:
    import pyarrow as pa

    rows = []
    for example, pictures in zip(examples, drawn, strict=True):
        whole = sum(group.mass for group in example.groups)
        for number, group in enumerate(example.groups):
            at = pictures.icon(number)
            rows.append(
                {
                    "image": example.image,
                    "tau": "k-means",
                    "concept": number,
                    "mass": group.mass,
                    "mass_share": group.mass / whole,
                    "mass_on_icon": pictures.mass(at, group),
                    "webp": pictures.webps[at],
                }
            )
    schema = pa.schema(
        {
            "image": pa.int64(),
            "tau": pa.string(),
            "concept": pa.int32(),
            "mass": pa.float64(),
            "mass_share": pa.float64(),
            "mass_on_icon": pa.float64(),
            "webp": pa.binary(),
        }
    )
    return pa.Table.from_pylist(rows, schema)


def _feature_table(examples: list[Example]) -> pa.Table:
    import pyarrow as pa

    rows = [
        {
            "image": example.image,
            "tau": "k-means",
            "concept": number,
            "feature": int(feature),
            "activation": float(activation),
        }
        for example in examples
        for number, group in enumerate(example.groups)
        for feature, activation in zip(group.features, group.activations, strict=True)
    ]
    schema = pa.schema(
        {
            "image": pa.int64(),
            "tau": pa.string(),
            "concept": pa.int32(),
            "feature": pa.int32(),
            "activation": pa.float32(),
        }
    )
    return pa.Table.from_pylist(rows, schema)


def _knob_table(examples: list[Example], drawn: list[Drawn]) -> pa.Table:
    import pyarrow as pa

    rows = [
        {
            "image": example.image,
            "concept": number,
            "gain": gain,
            "mass": pictures.mass(pictures.turned(number, gain), group),
            "webp": pictures.webps[pictures.turned(number, gain)],
        }
        for example, pictures in zip(examples, drawn, strict=True)
        for number, group in enumerate(example.groups)
        for gain in GAINS
    ]
    schema = pa.schema(
        {
            "image": pa.int64(),
            "concept": pa.int32(),
            "gain": pa.float32(),
            "mass": pa.float64(),
            "webp": pa.binary(),
        }
    )
    return pa.Table.from_pylist(rows, schema)


def _transfer_table(examples: list[Example], drawn: list[Drawn]) -> pa.Table:
    import pyarrow as pa

    rows = []
    for i, (example, pictures) in enumerate(zip(examples, drawn, strict=True)):
        other = examples[(i + 1) % len(examples)]
        rows.append(
            {
                "image": example.image,
                "source": other.image,
                "concept": 0,
                "mass_before": pictures.mass(0, other.groups[0]),
                "mass_after": pictures.mass(pictures.transfer, other.groups[0]),
                "webp": pictures.webps[pictures.transfer],
            }
        )
    schema = pa.schema(
        {
            "image": pa.int64(),
            "source": pa.int64(),
            "concept": pa.int32(),
            "mass_before": pa.float64(),
            "mass_after": pa.float64(),
            "webp": pa.binary(),
        }
    )
    return pa.Table.from_pylist(rows, schema)


def figures(examples: list[Example], drawn: list[Drawn]) -> list[dict[str, Any]]:
    """Return how often a knob does what it says, beside what it does to the other concepts."""
    own: list[bool] = []
    others: list[bool] = []
    for example, pictures in zip(examples, drawn, strict=True):
        for number in range(len(example.groups)):
            low, high = (pictures.turned(number, gain) for gain in (GAINS[0], GAINS[-1]))
            for measured, group in enumerate(example.groups):
                rises = pictures.mass(high, group) > pictures.mass(low, group)
                (own if measured == number else others).append(rises)
    if not others:
        return []
    return [
        {
            "name": "knobs_obeyed",
            "value": float(np.mean(own)),
            "unit": "share",
            "n": len(own),
            "null_value": float(np.mean(others)),
            "null_name": "the same for the picture's other concepts",
            "command": COMMAND,
            "note": "a concept's mass on the drawn picture is greater at gain 2 than at gain 0; the same encoder conditions and judges",
        }
    ]
