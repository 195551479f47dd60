"""Contact sheets for naming features: strong, median and near-miss images of each.

Anyone who can look at pictures may do it, a person or a vision-language model, offline: the
answers come back through `atlas names --from`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.errors import MissingError
from atlas.base.files import read_parquet, write_bytes, write_text
from atlas.lookup.atlas import Atlas

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

COLUMNS, GAP = 8, 4
ROWS = {
    "strong": "SELECT image FROM top_images WHERE feature = ? ORDER BY rank",
    "middle": "SELECT image FROM quantile_images WHERE feature = ? AND quantile IN (4, 5) ORDER BY quantile DESC, rank",
    "near_miss": "SELECT image FROM near_misses WHERE feature = ? ORDER BY similarity DESC, rank",
}
"""Row of a sheet, from the top -> which images it shows; eight each, sensitive ones left out."""
TASK = (
    "Rows from the top: pictures on which the feature fires strongly, pictures on which it fires "
    "middling, and pictures like these on which it stays silent. Say in at most five words what "
    "the first two rows share and the third lacks. Answer with a line of JSON a feature: "
    '{"feature": 17, "label": "...", "author": "who you are", "score": 0.0 to 1.0}. '
    "Read the answers with: atlas names --from answers.jsonl"
)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What one sheet shows."""

    feature: int
    citation: str
    rows: dict[str, list[int]]
    """Name of the row -> its images, left to right."""


def write_sheets(atlas_dir: Path, folder: Path, features: Sequence[int] = ()) -> int:
    """Write <feature>.webp for each feature, sheets.jsonl with what each shows, and TASK.txt.

    Args:
        atlas_dir: A built atlas.
        folder: Written to.
        features: Those wanted; empty for all live ones. Sensitive ones are never shown.

    Returns:
        How many sheets there are.

    Raises:
        MissingError: A feature does not exist, or no thumbnails were made.
    """
    with Atlas(atlas_dir) as opened:
        for feature in features:
            opened.feature(feature)
        sheets = list(read_sheets(opened, features))
    wanted = {image for sheet in sheets for row in sheet.rows.values() for image in row}
    pictures = read_thumbnails(atlas_dir / "embed", wanted)
    for sheet in sheets:
        write_bytes(folder / f"{sheet.feature}.webp", draw_sheet(sheet, pictures))
    lines = [json.dumps({"feature": s.feature, "citation": s.citation, "rows": s.rows,
                         "sheet": f"{s.feature}.webp"}, sort_keys=True) for s in sheets]  # fmt: skip
    write_text(folder / "sheets.jsonl", "".join(f"{line}\n" for line in lines))
    write_text(folder / "TASK.txt", TASK + "\n")
    return len(sheets)


def read_sheets(opened: Atlas, features: Sequence[int]) -> Iterator[Sheet]:
    """Yield what the sheets of the live features show, by number."""
    _, live = opened.sql("SELECT feature FROM features WHERE alive AND NOT sensitive ORDER BY 1")
    for (feature,) in live:
        if features and feature not in features:
            continue
        rows = {}
        for name, query in ROWS.items():
            shown = f"SELECT image FROM ({query}) JOIN images USING (image) WHERE NOT sensitive"
            _, found = opened.sql(f"{shown} LIMIT {COLUMNS}".replace("?", str(int(feature))))
            rows[name] = [image for (image,) in found]
        yield Sheet(feature, f"{opened.id}/f{feature}", rows)


def read_thumbnails(embed_dir: Path, wanted: set[int]) -> dict[int, bytes]:
    """Return the thumbnails of some images.

    Raises:
        MissingError: There are none.
    """
    parts = sorted((embed_dir / "parts").glob("thumbnails-*.parquet"))
    if not parts:
        raise MissingError(f"no thumbnails in {embed_dir}; contact sheets need embed.pictures")
    found: dict[int, bytes] = {}
    for part in parts:
        table: Any = read_parquet(part)
        for image, webp in zip(table["image"].to_pylist(), table["webp"], strict=True):
            if image in wanted:
                found[image] = webp.as_py()
    return found


def draw_sheet(sheet: Sheet, pictures: dict[int, bytes]) -> bytes:
    """Return the sheet as WebP: one row below the other, on white."""
    from PIL import Image

    def opened(image: int) -> Picture:
        return Image.open(io.BytesIO(pictures[image]), formats=("WEBP",)).convert("RGB")

    px = max((opened(row[0]).width for row in sheet.rows.values() if row), default=128)
    step = px + GAP
    canvas = Image.new("RGB", (COLUMNS * step + GAP, len(sheet.rows) * step + GAP), "white")
    for down, row in enumerate(sheet.rows.values()):
        for across, image in enumerate(row):
            canvas.paste(opened(image), (GAP + across * step, GAP + down * step))
    data = io.BytesIO()
    canvas.save(data, "WEBP", quality=85, method=4)
    return data.getvalue()
