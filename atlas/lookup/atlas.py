"""Questions to a built atlas: a feature, its neighbors, a search, a picture, the figures, any SQL.

Nothing here imports torch, faiss, diffusers or pyarrow, but for opening a picture, which must
run the encoder: every other look-up answers in a fraction of a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.errors import AtlasError, InputError, MissingError
from atlas.base.tables import SURE, tables_digest
from atlas.settings.paths import database_path, require_atlas, site_dir
from atlas.site import links

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

    from atlas.inputs.vocabulary import Vocabulary

TOP_IMAGES_SHOWN = 9
NEIGHBORS_SHOWN = 8
SHORTEST_PREFIX = 2
CONCEPT_LABELS = 3
"""Features of a concept, the strongest, whose labels name it."""


@dataclass(frozen=True, slots=True)
class TopImage:
    """An image that a feature fires on."""

    image: int
    activation: float
    caption: str
    """Text from the image's source; withheld where the image is sensitive."""


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


@dataclass(frozen=True, slots=True)
class Feature:
    """All that is known of one feature."""

    feature: int
    citation: str
    """For instance atlas:4f1c09ab77e2/f17; stays true as long as SAE and images do."""
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


@dataclass(frozen=True, slots=True)
class Hit:
    """One feature that a search found."""

    feature: int
    label: str
    why: str
    """id, label, prefix, caption or meaning: which kind of match put it here."""
    score: float
    """Larger is better; comparable only among hits of one kind."""
    density: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of the report, with what to hold it against."""

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
    """Features of a picture that point alike."""

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
    """A picture, opened."""

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


class Atlas:
    """A built atlas, open for reading. Closing is optional; it may be used in a with block."""

    def __init__(self, path: str | PathLike[str] = "build/demo") -> None:
        """Open the catalog.

        Args:
            path: The atlas folder.

        Raises:
            MissingError: There is no built atlas in it.
            InputError: The catalog is damaged, or of a version that can't be read.
        """
        import duckdb

        self.path = require_atlas(Path(path))
        try:
            self._db: DuckDBPyConnection = duckdb.connect(
                str(database_path(self.path)),
                read_only=True,
                config={"enable_external_access": "false", "autoload_known_extensions": "false"},
            )
            facts = self._db.execute("SELECT key, value FROM provenance").fetchall()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"cannot read the catalog of {self.path}: {reason}; build it again with: atlas build CONFIG catalog"
            ) from error
        self.provenance: dict[str, str] = dict(facts)
        if self.provenance.get("tables") != tables_digest():
            raise InputError(
                f"{self.path} has the tables of another version of this program "
                f"({self.provenance.get('made_with', 'unknown')}); build it again with: atlas build CONFIG catalog site"
            )
        self.id = self.provenance["id"]

    def __enter__(self) -> Atlas:
        """Return the atlas itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the catalog."""
        self.close()

    def close(self) -> None:
        """Close the catalog; look-ups after this fail."""
        self._db.close()

    @cached_property
    def n_features(self) -> int:
        """Features of the SAE, dead ones included."""
        return int(self._rows("SELECT count(*) FROM features")[0][0])

    def feature(self, feature: int) -> Feature:
        """Return what is known of a feature.

        Raises:
            MissingError: The SAE has no such feature.
        """
        self._require(feature)
        columns = "alive, sensitive, count, density, mean, median, max, mass_share, decoder_norm, selectivity"
        (row,) = self._rows(f"SELECT {columns} FROM features WHERE feature = ?", [feature])
        facts = dict(zip(columns.split(", "), row, strict=True))
        alive = bool(facts["alive"])
        return Feature(
            feature=feature,
            citation=f"{self.id}/f{feature}",
            **facts,
            labels=self._labels(feature),
            top_images=() if facts["sensitive"] else self.top_images(feature),
            neighbors=self.neighbors(feature) if alive else (),
            page=f"feature/{feature // 1000}/{feature}.html" if alive else "",
        )

    def top_images(self, feature: int, limit: int = TOP_IMAGES_SHOWN) -> tuple[TopImage, ...]:
        """Return the images that activate a feature most, strongest first."""
        self._require(feature)
        rows = self._rows(
            """SELECT image, activation, CASE WHEN sensitive THEN '' ELSE caption END
               FROM top_images JOIN images USING (image) WHERE feature = ? ORDER BY rank LIMIT ?""",
            [feature, limit],
        )
        return tuple(TopImage(*row) for row in rows)

    def neighbors(self, feature: int, limit: int = NEIGHBORS_SHOWN) -> tuple[Neighbor, ...]:
        """Return the live features whose decoder directions are most like this one's."""
        self._require(feature)
        rows = self._rows(
            """SELECT n.neighbor, coalesce(l.label, ''), n.cosine FROM feature_neighbors n
               LEFT JOIN labels l ON l.feature = n.neighbor AND l.rank = 0
               WHERE n.feature = ? ORDER BY n.rank LIMIT ?""",
            [feature, limit],
        )
        return tuple(Neighbor(*row) for row in rows)

    def search(self, text: str, limit: int = 10) -> tuple[Hit, ...]:
        """Return live features for a number, a label, or a meaning, best kind of match first.

        Features with exactly the label come first, then those with a label that begins so, then
        meaning (through the images that activate each feature, where the atlas has a
        vocabulary), then words of captions.

        Raises:
            InputError: The text is empty, or nothing of it is known.
        """
        text = " ".join(text.split())
        if not text:
            raise InputError("nothing to search for; give a word, a few words, or a number")
        if re.fullmatch(r"f?\d+", text) and int(text.lstrip("f")) < self.n_features:
            found = self._hits([(int(text.lstrip("f")), 1.0)], "id")
        else:
            found = self._by_label(text, limit)
            try:
                found += self._by_meaning(text, limit)
            except InputError:
                found += self._by_caption(text, limit)
                if not found:
                    raise
        unique = {hit.feature: hit for hit in reversed(found)}
        return tuple(hit for hit in found if unique[hit.feature] is hit)[:limit]

    def decompose(self, picture: str | PathLike[str], tau: str | float = "fine") -> Decomposition:
        """Open any picture: the features that fire on it, in concepts. Loads torch.

        Args:
            picture: A PNG, JPEG or WebP file; it need not be in the atlas.
            tau: coarse, fine, or the least mass of a concept in this SAE's activations.

        Raises:
            MissingError: The picture, the SAE or the encoder is not there, or a package.
            InputError: The file is no picture, nothing fires on it, or tau is no such value.
        """
        least = self._tau(tau)
        path = Path(picture)
        sae_dir, encoder_dir = self._place("sae"), self._place("encoder")
        import numpy as np

        from atlas.concepts.grouping import groups_of, keep, sweep
        from atlas.inputs.encoder import embed_images, load_encoder, read_picture
        from atlas.sae.checkpoints import load_sae
        from atlas.sae.model import make_encoder

        image = read_picture(path)
        sae = load_sae(sae_dir)
        if sae.digest() != self.provenance["sae_digest"]:
            raise InputError(
                f"the SAE in {sae_dir} is not the one that {self.path} was built from; build the atlas again"
            )
        embedding = embed_images(load_encoder(encoder_dir), [image])
        found = make_encoder(sae).fire(embedding)
        features, activations = found.feature.astype(np.int64), found.activation
        if not len(features):
            raise InputError(
                f"no feature fires on {path}; try a picture more like those of the atlas"
            )
        mass = float(activations.sum(dtype=np.float64))
        runs = sweep(
            sae.W_dec[features],
            activations,
            int(mass / least),
            restarts=int(self.provenance["grouping_restarts"]),
            seed=int(self.provenance["grouping_seed"]),
        )
        grouping = keep(runs, activations, least)
        written = activations @ sae.W_dec[features]
        read = embedding[0] - sae.b_dec
        explained = written @ read / np.linalg.norm(written) / np.linalg.norm(read)
        labels = self._first_labels(features.tolist())
        groups = groups_of(features, activations, grouping.labels)
        return Decomposition(
            picture=str(picture),
            citation=self.id,
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
        )

    def _tau(self, tau: str | float) -> float:
        if tau in ("coarse", "fine"):
            return float(self.provenance[f"tau_{tau}"])
        try:
            value = float(tau)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise InputError(f"tau is coarse, fine or a number above 0, not {tau}")
        return value

    def _place(self, name: str) -> Path:
        """Return the folder of the SAE or encoder that the atlas was built with."""
        from atlas.base.files import read_json

        folder = self.path / "concepts"
        places = read_json(folder / "concepts.json").get("places", {})
        if name not in places:
            raise MissingError(
                f"{self.path} was built without an encoder, so no picture can be opened; set embed.encoder and build again"
            )
        found: Path = (folder / places[name]).resolve()
        if not found.exists():
            raise MissingError(
                f"the {name} of {self.path} is no longer at {found}; build the atlas again with: atlas build CONFIG --force concepts"
            )
        return found

    def _first_labels(self, features: Sequence[int]) -> dict[int, str]:
        rows = self._rows(
            """SELECT l.feature, CASE WHEN f.sensitive THEN 'withheld' ELSE l.label END
               FROM labels l JOIN features f USING (feature)
               WHERE l.rank = 0 AND feature IN (SELECT unnest(?))""",
            [features],
        )
        return dict(rows)

    def report(self) -> tuple[Metric, ...]:
        """Return the figures of the whole, each with its baseline."""
        return tuple(Metric(*row) for row in self._rows("SELECT * FROM metrics ORDER BY name"))

    def sql(self, query: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return the column names and rows of a query; the catalog can't be changed by it.

        Raises:
            InputError: DuckDB refuses the query.
        """
        return self.sql_with(query)

    def sql_with(
        self, query: str, values: Sequence[object] = ()
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return what sql does, with values in the places of the question marks.

        Raises:
            InputError: DuckDB refuses the query.
        """
        import duckdb

        try:
            cursor = self._db.execute(query, values)
        except duckdb.Error as error:
            raise InputError(f"the query fails: {' '.join(str(error).split())}") from error
        names = tuple(column[0] for column in cursor.description or ())
        return names, cursor.fetchall()

    def icon_path(self, feature: int) -> Path | None:
        """Return the file of the picture that stands for a feature, if there is one to show.

        Rendered or not, it lies in the site; a sensitive feature shows none.
        """
        rows = self._rows(
            """SELECT i.image FROM icons i JOIN features f USING (feature) LEFT JOIN images m USING (image)
               WHERE feature = ? AND NOT f.sensitive AND NOT coalesce(m.sensitive, false)""",
            [feature],
        )
        if not rows:
            return None
        image = rows[0][0]
        address = links.icon(feature) if image is None else links.thumbnail(image)
        folder = site_dir(self.path)
        paths = (folder / address, folder / links.MEDIA / address)
        return next((path for path in paths if path.exists()), None)

    def arrow(self, query: str) -> pa.Table:
        """Return a query's rows as an Arrow table, for whoever works on with many of them.

        Raises:
            InputError: DuckDB refuses the query.
        """
        import duckdb

        try:
            return self._db.execute(query).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"the query fails: {' '.join(str(error).split())}") from error

    def names(self, features: Sequence[int]) -> dict[int, str]:
        """Return the first label of each of these features that has one."""
        rows = self._rows(
            "SELECT feature, label FROM labels WHERE rank = 0 AND feature IN (SELECT unnest(?))",
            [list(features)],
        )
        return dict(rows)

    def meanings(self) -> tuple[NDArray[np.int32], NDArray[np.float32], Vocabulary] | None:
        """Return (features that may be shown, (feature, d) prototypes, the vocabulary).

        None where the atlas has no vocabulary.
        """
        folder = self.path / "catalog" / "search"
        if not (folder / "vocabulary").is_dir():
            return None
        import numpy as np

        from atlas.inputs.vocabulary import read_vocabulary

        numbers = np.load(folder / "features.npy", allow_pickle=False)
        prototypes = np.load(folder / "prototypes.npy", allow_pickle=False).astype(np.float32)
        hidden = [row[0] for row in self._rows("SELECT feature FROM features WHERE sensitive")]
        shown = ~np.isin(numbers, hidden)
        return numbers[shown], prototypes[shown], read_vocabulary(folder / "vocabulary")

    def _rows(
        self, query: str, values: Sequence[object] | dict[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        return self._db.execute(query, values).fetchall()

    def _require(self, feature: int) -> None:
        if not 0 <= feature < self.n_features:
            raise MissingError(
                f"no feature {feature}; {self.path} has features 0 to {self.n_features - 1}"
            )

    def _labels(self, feature: int) -> tuple[Label, ...]:
        rows = self._rows(
            """SELECT label, source, author, score, null_score, auroc FROM labels
               WHERE feature = ? ORDER BY rank""",
            [feature],
        )
        return tuple(Label(*row) for row in rows)

    def _hits(self, scored: Sequence[tuple[int, float]], why: str) -> list[Hit]:
        """Add label and density to (feature, score) pairs, keeping their order."""
        if not scored:
            return []
        numbers = [feature for feature, _ in scored]
        rows = self._rows(
            """SELECT f.feature, coalesce(l.label, ''), f.density FROM features f
               LEFT JOIN labels l ON l.feature = f.feature AND l.rank = 0
               WHERE f.feature IN (SELECT unnest(?)) AND NOT f.sensitive""",
            [numbers],
        )
        known = {row[0]: row for row in rows}
        return [
            Hit(feature, known[feature][1], why, round(score, 6), known[feature][2])
            for feature, score in scored
            if feature in known
        ]

    def _by_label(self, text: str, limit: int) -> list[Hit]:
        """Find labels that are the text, then those that begin with it, first at a word's end."""
        rows = self._rows(
            f"""SELECT feature, {SURE} AS sure, lower(label) = lower($text) AS whole FROM labels
                WHERE starts_with(lower(label), lower($text))
                ORDER BY whole DESC, NOT starts_with(lower(label), lower($text) || ' '), rank, sure DESC, feature""",
            {"text": text},
        )
        exact = [(feature, sure) for feature, sure, whole in rows if whole]
        longer = [(feature, sure) for feature, sure, whole in rows if not whole]
        kept = longer[:limit] if len(text) >= SHORTEST_PREFIX else []
        return [*self._hits(exact, "label"), *self._hits(kept, "prefix")]

    def _by_meaning(self, text: str, limit: int) -> list[Hit]:
        """Rank features by the cosine of their prototype and the text's vector."""
        folder = self.path / "catalog" / "search"
        if not (folder / "vocabulary").is_dir():
            raise InputError(f"no label, number or caption matches {text!r}; try another word")
        import numpy as np

        query = self._vocabulary.encode_text(text)
        prototypes, numbers = self._prototypes
        scores = prototypes @ query
        wanted = min(2 * limit, len(scores))
        rough = np.argpartition(-scores, wanted - 1)[:wanted] if wanted else np.arange(0)
        best = rough[np.lexsort((numbers[rough], -scores[rough]))]
        return self._hits([(int(numbers[i]), float(scores[i])) for i in best], "meaning")

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        from atlas.inputs.vocabulary import read_vocabulary

        return read_vocabulary(self.path / "catalog" / "search" / "vocabulary")

    @cached_property
    def _prototypes(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return (live feature, d) prototypes, widened once, and the features' numbers."""
        import numpy as np

        folder = self.path / "catalog" / "search"
        prototypes = np.load(folder / "prototypes.npy", mmap_mode="r", allow_pickle=False)
        numbers: NDArray[np.int32] = np.load(folder / "features.npy", allow_pickle=False)
        return prototypes.astype(np.float32), numbers

    def _by_caption(self, text: str, limit: int) -> list[Hit]:
        rows = self._rows(
            """SELECT feature, sum(activation) AS score FROM top_images JOIN images USING (image)
               WHERE rank < ? AND contains(lower(caption), lower(?)) AND NOT sensitive
               GROUP BY feature ORDER BY score DESC, feature LIMIT ?""",
            [TOP_IMAGES_SHOWN, text, limit],
        )
        return self._hits(rows, "caption")


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


def as_json(value: object) -> Any:
    """Return a record, or a tuple of records, as plain lists and dictionaries."""
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)  # type: ignore[call-overload]  # any record of this module
    return value


__all__ = [
    "Atlas",
    "AtlasError",
    "Concept",
    "Decomposition",
    "Feature",
    "Firing",
    "Hit",
    "Label",
    "Metric",
    "Neighbor",
    "TopImage",
    "as_json",
]
