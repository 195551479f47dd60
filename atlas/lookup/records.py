"""What look-ups return: frozen records, and the same as plain JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from typing import Any

HTML_ROWS = 9
"""Images and neighbors of a feature that a notebook shows."""


@dataclass(frozen=True, slots=True)
class TopImage:
    """An image that a feature fires on."""

    image: int
    activation: float
    caption: str
    """Text from the image's source; withheld where the image is sensitive."""


@dataclass(frozen=True, slots=True)
class SimilarImage:
    """An image that looks like another."""

    image: int
    cosine: float
    """Of the embeddings less the mean of all, -1 to 1."""
    caption: str
    """Text from the image's source."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A feature near another one."""

    feature: int
    label: str
    """Empty where it has none."""
    cosine: float
    """Of the decoder directions, -1 to 1."""


@dataclass(frozen=True, slots=True)
class Label:
    """Words for a feature."""

    label: str
    source: str
    """images, captions or imported: how it was found."""
    author: str
    """Of an imported label; may be empty."""
    score: float | None
    null_score: float | None
    auroc: float | None
    """Of this and the labels before it together; 0.5 is chance."""
    perhaps: bool
    """A guess that too few strong images bear out."""


@dataclass(frozen=True, slots=True, repr=False)
class Feature:
    """All that is known of one feature."""

    feature: int
    citation: str
    """For instance atlas:4f1c09ab77e2/f17; stays true as long as SAE and images do."""
    name: str
    """As every page has it; empty where no word is good enough."""
    held: int | None
    """Of the strongest images, those whose caption or tags hold it; None where they have no text."""
    strong: int | None
    """Strongest images that were counted."""
    alive: bool
    sensitive: bool
    count: int
    density: float
    mean: float | None
    median: float | None
    max: float | None
    mass_share: float
    decoder_norm: float
    selectivity: float | None
    labels: tuple[Label, ...]
    top_images: tuple[TopImage, ...]
    neighbors: tuple[Neighbor, ...]
    page: str
    """Path of its page inside the site; empty where dead."""

    def __repr__(self) -> str:
        """Return one line: number, name, evidence, density."""
        evidence = f" (in {self.held} of {self.strong} captions)" if self.held else ""
        fires = f"fires on {self.density:.2%} of images" if self.alive else "never fires"
        return f"<feature {self.feature}: {self.name or 'no name'}{evidence}, {fires}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: what it fires on most, and its neighbors."""
        images = "".join(
            f"<tr><td>{one.activation:.3g}</td><td>{escape(one.caption)}</td></tr>"
            for one in self.top_images[:HTML_ROWS]
        )
        near = ", ".join(
            f"{one.feature} {escape(one.label)} ({one.cosine:.2f})"
            for one in self.neighbors[:HTML_ROWS]
        )
        return (
            f"<p><b>{escape(repr(self)[1:-1])}</b></p><table><tr><th>activation</th>"
            f"<th>strongest images</th></tr>{images}</table><p>Neighbors: {near}</p>"
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """One feature that a search found."""

    feature: int
    label: str
    why: str
    """id, label, prefix, caption or meaning: what the best reason is."""
    score: float
    """Larger is better; hits come by it."""
    density: float
    held: int = 0
    """Of its strongest images, those whose caption or tags have all words of the query."""
    shown: int = 0
    """Strongest images that were searched; 0 where none has any of the words."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of the report, with its baseline."""

    name: str
    value: float
    unit: str
    n: int
    null_value: float | None
    null_name: str
    command: str
    note: str


@dataclass(frozen=True, slots=True)
class Firing:
    """A feature that fires on a picture."""

    feature: int
    label: str
    """Empty where it has none."""
    activation: float


@dataclass(frozen=True, slots=True)
class Concept:
    """Features of a picture with similar decoder directions."""

    concept: int
    """Number in its picture, by mass."""
    label: str
    """Labels of its strongest features; empty where they have none."""
    mass: float
    """Sum of the activations."""
    mass_share: float
    """Of the picture's mass, 0 to 1."""
    features: tuple[Firing, ...]
    """Strongest first."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A picture split into features and concepts."""

    picture: str
    citation: str
    """Of the atlas that it was opened with."""
    tau: float
    """Least mass of a concept, in this SAE's activations."""
    mass: float
    explained: float
    """Cosine of the embedding and its reconstruction, both less the atlas's decoder bias."""
    lowest: int
    """Fewest concepts that one restart alone would have kept; highest: the most."""
    highest: int
    features: tuple[Firing, ...]
    """All that fire, strongest first."""
    concepts: tuple[Concept, ...]
    """Heaviest first; none where the picture's mass is below tau."""
    similar: tuple[SimilarImage, ...]
    """Images of the atlas that look like the picture, nearest first; none without FAISS."""


def as_json(value: object) -> Any:
    """Return a record, or a tuple of records, as plain lists and dictionaries."""
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)  # type: ignore[call-overload]  # any record of this module
    return value
