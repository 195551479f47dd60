"""A finished atlas: what Python, the command line and other tools ask of it."""

from __future__ import annotations

import json
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.errors import MissingError
from atlas.base.web import is_address, open_address
from atlas.lookup.catalog import Catalog
from atlas.lookup.decompose import decompose
from atlas.lookup.records import (
    Decomposition,
    Feature,
    Hit,
    Label,
    Metric,
    Neighbor,
    SimilarImage,
    TopImage,
)
from atlas.lookup.search import Search
from atlas.lookup.similar import SHOWN as SIMILAR_SHOWN
from atlas.lookup.similar import images_like
from atlas.settings.paths import site_dir
from atlas.site import links

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from atlas.inputs.vocabulary import Vocabulary

TOP_IMAGES_SHOWN = 9
NEIGHBORS_SHOWN = 8


class Atlas(Catalog):
    """A built atlas, open for reading. Closing is optional; it may be used in a with block."""

    def feature(self, feature: int) -> Feature:
        """Return what is known of a feature.

        Raises:
            MissingError: The SAE has no such feature.
        """
        self.require(feature)
        columns = "alive, sensitive, count, density, mean, median, max, mass_share, decoder_norm, selectivity"
        (row,) = self.rows(f"SELECT {columns} FROM features WHERE feature = ?", [feature])
        facts = dict(zip(columns.split(", "), row, strict=True))
        alive = bool(facts["alive"])
        return Feature(
            feature=feature,
            citation=f"{self.id}/f{feature}",
            **self._name(feature),
            **facts,
            labels=self._labels(feature),
            top_images=() if facts["sensitive"] else self.top_images(feature),
            neighbors=self.neighbors(feature) if alive else (),
            page=links.feature_page(feature, self.layout) if alive else "",
        )

    def top_images(self, feature: int, limit: int = TOP_IMAGES_SHOWN) -> tuple[TopImage, ...]:
        """Return the images that activate a feature most, strongest first."""
        self.require(feature)
        rows = self.rows(
            """SELECT image, activation, CASE WHEN sensitive THEN '' ELSE caption END
               FROM top_images JOIN images USING (image) WHERE feature = ? ORDER BY rank LIMIT ?""",
            [feature, limit],
        )
        return tuple(TopImage(*row) for row in rows)

    def neighbors(self, feature: int, limit: int = NEIGHBORS_SHOWN) -> tuple[Neighbor, ...]:
        """Return the live features whose decoder directions are most like this one's."""
        self.require(feature)
        rows = self.rows(
            """SELECT n.neighbor, coalesce(l.name, ''), n.cosine FROM feature_neighbors n
               LEFT JOIN names l ON l.feature = n.neighbor
               WHERE n.feature = ? ORDER BY n.rank LIMIT ?""",
            [feature, limit],
        )
        return tuple(Neighbor(*row) for row in rows)

    def search(self, text: str, limit: int = 10) -> tuple[Hit, ...]:
        """Return live features for a number, a label, or a meaning, best kind of match first.

        Raises:
            InputError: The text is empty, or nothing of it is known.
        """
        return self._search.find(text, limit)

    @cached_property
    def layout(self) -> str:
        """How the site is laid out; as by default where there is none."""
        root = self.path if self.published else site_dir(self.path)
        try:
            if is_address(self.place):
                address = self.place.removesuffix(links.HOME).rstrip("/")
                with open_address(f"{address}/{links.INDEX}") as answer:
                    text = answer.read()
            else:
                text = (root / links.INDEX).read_bytes()
        except (MissingError, FileNotFoundError):
            return "pages"
        return str(json.loads(text)["layout"])

    @cached_property
    def _search(self) -> Search:
        return Search(self)

    def decompose(self, picture: str | PathLike[str], tau: str | float = "fine") -> Decomposition:
        """Open any picture: the features that fire on it, in concepts. Loads torch.

        Args:
            picture: A picture file (PNG, JPEG, WebP and others); it need not be in the atlas.
            tau: coarse, fine, or the least mass of a concept in this SAE's activations.

        Raises:
            MissingError: The picture, the SAE or the encoder is not there, or a package.
            InputError: The file is no picture, nothing fires on it, or tau is no such value.
        """
        return decompose(self, picture, tau)

    def images_like(self, image: int, limit: int = SIMILAR_SHOWN) -> tuple[SimilarImage, ...]:
        """Return the images of the atlas most like one of them, nearest first. Loads FAISS.

        Raises:
            InputError: There is no such image.
            MissingError: The embeddings, the index or FAISS are not there.
        """
        return images_like(self, image, limit)

    def report(self) -> tuple[Metric, ...]:
        """Return the figures of the whole, each with its baseline."""
        return tuple(Metric(*row) for row in self.rows("SELECT * FROM metrics ORDER BY name"))

    def icon_path(self, feature: int) -> Path | None:
        """Return the file of the picture that stands for a feature, if there is one to show.

        Rendered or not, it lies in the site; a sensitive feature shows none.
        """
        rows = self.rows(
            """SELECT i.image FROM icons i JOIN features f USING (feature) LEFT JOIN images m USING (image)
               WHERE feature = ? AND NOT f.sensitive AND NOT coalesce(m.sensitive, false)""",
            [feature],
        )
        if not rows:
            return None
        image = rows[0][0]
        address = links.icon(feature) if image is None else links.thumbnail(image)
        folder = self.path if self.published else site_dir(self.path)
        paths = (folder / address, folder / links.MEDIA / address)
        return next((path for path in paths if path.exists()), None)

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
        hidden = [row[0] for row in self.rows("SELECT feature FROM features WHERE sensitive")]
        shown = ~np.isin(numbers, hidden)
        return numbers[shown], prototypes[shown], read_vocabulary(folder / "vocabulary")

    def _name(self, feature: int) -> dict[str, Any]:
        rows = self.rows("SELECT name, held, strong FROM names WHERE feature = ?", [feature])
        return dict(
            zip(("name", "held", "strong"), rows[0] if rows else ("", None, None), strict=True)
        )

    def _labels(self, feature: int) -> tuple[Label, ...]:
        rows = self.rows(
            """SELECT label, source, author, score, null_score, auroc, perhaps FROM labels
               WHERE feature = ? ORDER BY rank""",
            [feature],
        )
        return tuple(Label(*row) for row in rows)
