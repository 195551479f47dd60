"""Images of an atlas that look like another one, by the index that the neighbors stage wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlas.base.errors import InputError, MissingError
from atlas.lookup.catalog import Catalog
from atlas.lookup.records import SimilarImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN = 8
SPARE = 16
"""More images that the index is asked for, since sensitive ones are left out."""


def images_like(catalog: Catalog, image: int, limit: int = SHOWN) -> tuple[SimilarImage, ...]:
    """Return the images most like one of the atlas, without itself, nearest first.

    Raises:
        InputError: There is no such image.
        MissingError: The embeddings, the index or FAISS are not there.
    """
    from atlas.inputs.embeddings import read_embeddings

    if catalog.published:
        raise MissingError(
            f"{catalog.place} is published, without its embeddings; ask the atlas that it "
            "was built from"
        )
    embeddings = read_embeddings(catalog.path / "embed")
    if not 0 <= image < embeddings.rows:
        raise InputError(f"no image {image}; there are images 0 to {embeddings.rows - 1}")
    found = similar_images(catalog, embeddings.take([image])[0], limit + 1)
    return tuple(one for one in found if one.image != image)[:limit]


def similar_images(
    catalog: Catalog, embedding: NDArray[np.float32], limit: int = SHOWN
) -> tuple[SimilarImage, ...]:
    """Return the images whose centered embeddings have the largest cosine with one, nearest first.

    Args:
        catalog: Of the atlas.
        embedding: (d,) raw, of the atlas's encoder.
        limit: Images wanted; sensitive ones are left out.

    Raises:
        MissingError: The index or FAISS are not there.
    """
    from atlas.study.image_index import IMAGE_INDEX, search_images

    folder = catalog.path / "neighbors"
    if not (folder / IMAGE_INDEX).exists():
        raise MissingError(
            f"no index of images at {folder / IMAGE_INDEX}; build it with: atlas build CONFIG neighbors"
        )
    images, cosines = search_images(folder, embedding, limit + SPARE)
    rows = catalog.rows(
        "SELECT image, caption FROM images WHERE NOT sensitive AND list_contains(?, image)",
        [images.tolist()],
    )
    captions = dict(rows)
    pairs = zip(images.tolist(), cosines.tolist(), strict=True)
    found = [SimilarImage(i, cosine, captions[i]) for i, cosine in pairs if i in captions]
    return tuple(found[:limit])
