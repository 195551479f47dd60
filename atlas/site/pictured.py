"""The images that pages picture, for those who fetch their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from atlas.site.tables import images_shown

STAND_INS = """
    SELECT DISTINCT image FROM icons JOIN features USING (feature) JOIN images USING (image)
    WHERE NOT features.sensitive AND NOT images.sensitive"""
"""Query of the images that stand in for icons."""


def urls_pictured(database: Path) -> Mapping[int, str]:
    """Return for each image that pages picture the url it was found at, empty if unknown.

    By image, ascending; no image that is withheld.
    """
    import duckdb

    with duckdb.connect(str(database), read_only=True) as db:
        shown = {*images_shown(db), *(image for (image,) in db.execute(STAND_INS).fetchall())}
        rows = db.execute(
            """SELECT image, coalesce(url, '') FROM images
               WHERE image IN (SELECT unnest(?)) ORDER BY image""",
            [sorted(shown)],
        ).fetchall()
    return dict(rows)
