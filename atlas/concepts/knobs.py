"""Pictures of example images: icons of their concepts, knob strips, a concept removed or transferred.

Of each example: the image as it is, an icon of every coarse concept, the image with each
concept at five gains, with random features of a concept's mass removed instead, and with the
heaviest concept of another example added. The unit of resuming is one image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet, write_parquet
from atlas.concepts.example_tables import write_example_list
from atlas.concepts.examples import GroupedImage
from atlas.concepts.figures import figure
from atlas.concepts.grouping import Group
from atlas.icons.drawing import DrawingModels, Sheet, draw_sheets, load_models
from atlas.icons.template import edit, group_embedding, set_strengths
from atlas.inputs.embeddings import read_embeddings
from atlas.run.stage import Job

if TYPE_CHECKING:
    import pyarrow as pa

GAINS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Of a knob; at 1 it is the image's own embedding."""
TURNED = tuple(gain for gain in GAINS if gain != 1)
MOST_DRAWN = 5
"""Coarse concepts of an image that is drawn with knobs: as many as a page shows at a glance."""
LEAST_SHOWN = 0.5
"""Of each concept's mass, that the drawing of the image itself must have to be turned first."""
TRIED_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Example:
    """An image to draw: its embedding and its coarse concepts."""

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

    def without_random(self, concept: int) -> int:
        """Return the place of the image that lacks random features of a concept's mass."""
        return 1 + self.size + self.size * len(TURNED) + concept

    @property
    def transfer(self) -> int:
        """The place of the image with another example's heaviest concept."""
        return len(self.webps) - 1

    def mass(self, picture: int, group: Group) -> float:
        """Return the sum of a group's activations on a picture."""
        return float(self.activations[picture, group.features].sum(dtype=np.float64))


def draw_knobs(job: Job, opened: list[GroupedImage]) -> list[dict[str, Any]]:
    """Draw examples of two to MOST_DRAWN coarse concepts, where a decoder is named.

    Returns:
        What was measured of them, for the report.
    """
    fit = [example for example in opened if 2 <= example.groupings["coarse"].k <= MOST_DRAWN]
    if not fit or not job.settings.concepts.drawn_examples or "decoder" not in job.inputs:
        write_example_list(job, opened, set())
        return []
    models = load_models(job.settings.icons, job.inputs, job.runtime.device)
    by_image = sorted(fit, key=lambda example: example.image)
    vectors = read_embeddings(job.inputs["embed"]).take([example.image for example in by_image])
    tried = [
        Example(example.image, row, example.groups("coarse"))
        for example, row in zip(by_image, vectors, strict=True)
    ]
    shown = dict(zip((one.image for one in tried), shares_shown(job, models, tried), strict=True))
    drawn = choose_drawn(fit, shown, job.settings.concepts.drawn_examples)
    write_example_list(job, opened, drawn)
    examples = [example for example in tried if example.image in drawn]
    pictures = draw_examples(job, models, examples)
    write_parquet(job.out_dir / "concept_icons.parquet", icon_table(examples, pictures))
    write_parquet(job.out_dir / "knobs.parquet", knob_table(examples, pictures))
    write_parquet(job.out_dir / "transfers.parquet", transfer_table(examples, pictures))
    return knob_figures(examples, pictures)


def shares_shown(job: Job, models: DrawingModels, examples: list[Example]) -> list[float]:
    """Return for each example how much its drawing, as it is, has of its least shown concept."""
    blocks = [
        examples[start : start + TRIED_AT_ONCE] for start in range(0, len(examples), TRIED_AT_ONCE)
    ]
    sheets = [
        Sheet(
            f"tried-{number:04d}",
            np.stack([example.embedding for example in block]),
            tuple(f"image {example.image}" for example in block),
        )
        for number, block in enumerate(blocks)
    ]
    found: list[float] = []
    for block, table in zip(blocks, draw_sheets(job, models, sheets), strict=True):
        pictures = _drawn_example(table, models.sae.n_features, 0)
        found += [
            min(pictures.mass(place, group) / group.mass for group in example.groups)
            for place, example in enumerate(block)
        ]
    return found


def choose_drawn(fit: list[GroupedImage], shown: dict[int, float], wanted: int) -> set[int]:
    """Return the images to turn: those named by hand, then those whose drawing shows each concept.

    Where too few do, those come next that show most of their least shown concept.
    """

    def place(example: GroupedImage) -> tuple[bool, float]:
        share = shown[example.image]
        return not example.by_hand, 0.0 if share >= LEAST_SHOWN else 1 - share

    return {example.image for example in sorted(fit, key=place)[:wanted]}


def draw_examples(job: Job, models: DrawingModels, examples: list[Example]) -> list[Drawn]:
    """Return every example's pictures, drawn if no earlier run has.

    Raises:
        InputError: A picture comes out as one flat color.
    """
    largest = read_parquet(job.inputs["scan"] / "features.parquet", ["max"])["max"].to_numpy()
    sheets = [
        sheet_of(models, example, examples[(i + 1) % len(examples)], largest.astype(np.float32))
        for i, example in enumerate(examples)
    ]
    tables = draw_sheets(job, models, sheets)
    return [
        _drawn_example(table, models.sae.n_features, len(example.groups))
        for table, example in zip(tables, examples, strict=True)
    ]


def random_group(example: Example, concept: int) -> Group:
    """Return features of an image's other concepts, chosen at random, of one concept's mass.

    Features are taken until the mass is reached, or none is left.
    """
    others = [group for number, group in enumerate(example.groups) if number != concept]
    if not others:
        return Group(np.empty(0, np.int64), np.empty(0, np.float32))
    features = np.concatenate([group.features for group in others])
    activations = np.concatenate([group.activations for group in others])
    order = np.random.default_rng([example.image, concept]).permutation(len(features))
    mass_before = np.cumsum(activations[order], dtype=np.float64) - activations[order]
    taken = order[mass_before < example.groups[concept].mass]
    return Group(features[taken], activations[taken])


def sheet_of(
    models: DrawingModels, example: Example, other: Example, largest: NDArray[np.float32]
) -> Sheet:
    """Return all pictures of one example: as it is, icons, knobs, transfer."""
    sae, settings, name = models.sae, models.settings, f"image {example.image}"
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
                models.template,
                group.features,
                group.activations * strength[0] / group.activations[0],
            )
        )
        labels.append(f"the icon of concept {number} of {name}")
    for number, group in enumerate(example.groups):
        for gain in TURNED:
            rows.append(edit(sae, example.embedding, group.features, group.activations, gain))
            labels.append(f"{name} with concept {number} at {gain}")
    for number in range(len(example.groups)):
        removed = random_group(example, number)
        rows.append(edit(sae, example.embedding, removed.features, removed.activations, 0.0))
        labels.append(f"{name} without random features of the mass of concept {number}")
    given = other.groups[0]
    rows.append(edit(sae, example.embedding, given.features, given.activations, 2.0))
    labels.append(f"{name} with a concept of image {other.image}")
    return Sheet(f"image-{example.image:08d}", np.stack(rows), tuple(labels))


def _drawn_example(table: pa.Table, n_features: int, size: int) -> Drawn:
    """Return a drawn sheet with activations as a full (picture, feature) array."""
    activations = np.zeros((len(table), n_features), np.float32)
    for picture, row in enumerate(table.select(["fired", "activation"]).to_pylist()):
        activations[picture, row["fired"]] = row["activation"]
    return Drawn(table["webp"].to_pylist(), activations, size)


def icon_table(examples: list[Example], drawn: list[Drawn]) -> pa.Table:
    """Return the icons of all drawn examples' coarse concepts."""
    import pyarrow as pa

    rows = [
        {
            "image": example.image,
            "tau": "coarse",
            "concept": number,
            "mass_on_icon": pictures.mass(pictures.icon(number), group),
            "webp": pictures.webps[pictures.icon(number)],
        }
        for example, pictures in zip(examples, drawn, strict=True)
        for number, group in enumerate(example.groups)
    ]
    schema = pa.schema(
        {
            "image": pa.int64(),
            "tau": pa.string(),
            "concept": pa.int32(),
            "mass_on_icon": pa.float64(),
            "webp": pa.binary(),
        }
    )
    return pa.Table.from_pylist(rows, schema)


def knob_table(examples: list[Example], drawn: list[Drawn]) -> pa.Table:
    """Return the knobs of all drawn examples, with their pictures."""
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


def transfer_table(examples: list[Example], drawn: list[Drawn]) -> pa.Table:
    """Return each drawn example with the heaviest concept of the next one."""
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


def knob_figures(examples: list[Example], drawn: list[Drawn]) -> list[dict[str, Any]]:
    """Return how often a knob does what it says, and what removing a concept takes away."""
    own: list[bool] = []
    others: list[bool] = []
    fall: list[float] = []
    fall_random: list[float] = []
    for example, pictures in zip(examples, drawn, strict=True):
        for number in range(len(example.groups)):
            low, high = (pictures.turned(number, gain) for gain in (GAINS[0], GAINS[-1]))
            for measured, group in enumerate(example.groups):
                rises = pictures.mass(high, group) > pictures.mass(low, group)
                (own if measured == number else others).append(rises)
            group = example.groups[number]
            before = pictures.mass(0, group)
            if before and len(example.groups) > 1:
                fall.append(1 - pictures.mass(low, group) / before)
                lacking = pictures.without_random(number)
                fall_random.append(1 - pictures.mass(lacking, group) / before)
    found = []
    if others:
        found.append(
            figure(
                "knobs_obeyed",
                float(np.mean(own)),
                "share",
                len(own),
                (float(np.mean(others)), "the same for the picture's other concepts"),
                "a concept's mass on the drawn picture is greater at gain 2 than at gain 0, on examples chosen for how well they are drawn as they are; the same encoder conditions and judges",
            )
        )
    if fall:
        found.append(
            figure(
                "concept_removed_fall",
                float(np.mean(fall)),
                "share",
                len(fall),
                (
                    float(np.mean(fall_random)),
                    "random other features of the same mass removed instead",
                ),
                "mean share of a concept's mass that is gone from the drawn picture once its features are removed, of concepts that the picture as it is shows; below 0 where it grows",
            )
        )
    return found
