"""An atlas for other tools: features as a table, top images as a dataset, the SAE as SAELens keeps it.

Sensitive features and images are in none of them.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.base.errors import ConfigError
from atlas.base.files import draft, write_parquet, write_text
from atlas.lookup.contact_sheets import read_thumbnails

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.lookup.atlas import Atlas

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that a spreadsheet takes for a formula."""
FEATURES = """
    SELECT f.feature, coalesce(n.name, '') AS name, n.held, n.strong, f.density, f.count, f.mean, f.median,
           f.max, f.mass_share, f.selectivity, f.monosemanticity, f.seeds_seen, f.seeds, i.verdict AS icon,
           f.map_x AS x, f.map_y AS y,
           {'ids': list(g.neighbor ORDER BY g.rank), 'distances': list(1 - g.cosine ORDER BY g.rank)} AS neighbors
    FROM features f LEFT JOIN names n USING (feature) LEFT JOIN icons i USING (feature)
    LEFT JOIN feature_neighbors g USING (feature)
    WHERE f.alive AND NOT f.sensitive GROUP BY ALL ORDER BY f.feature"""
"""x, y and neighbors are named as embedding-atlas reads them."""
IMAGES = """
    SELECT feature, t.rank, image, activation, caption FROM top_images t JOIN images i USING (image)
    JOIN features f USING (feature) WHERE NOT i.sensitive AND NOT f.sensitive AND t.rank < {limit} ORDER BY feature, t.rank"""


def export_features(opened: Atlas, path: Path) -> int:
    """Write a row a live feature; return how many.

    Args:
        opened: The atlas.
        path: A .parquet file, with each feature's neighbors too, or a .csv without them, in which
            text that a spreadsheet would take for a formula begins with an apostrophe.

    Raises:
        ConfigError: The name has another ending.
    """
    table = opened.arrow(FEATURES)
    if path.suffix == ".parquet":
        write_parquet(path, table)
    elif path.suffix == ".csv":
        write_text(path, _csv(table.drop_columns(["neighbors"])))
    else:
        raise ConfigError(f"cannot write {path}: its name must end in .parquet or .csv")
    return len(table)


def _csv(table: pa.Table) -> str:
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(table.column_names)
    columns = [column.to_pylist() for column in table.columns]
    writer.writerows([_harmless(value) for value in row] for row in zip(*columns, strict=True))
    return held.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def export_images(opened: Atlas, folder: Path, limit: int) -> int:
    """Write the strongest images of every feature as a dataset of the Hugging Face Hub; return how many.

    The folder has data/train.parquet, whose column image is read as pictures, and a card.

    Args:
        opened: An atlas with thumbnails.
        folder: Where to write; what is there stays, but for these two files.
        limit: Images of a feature.

    Raises:
        MissingError: The atlas has no thumbnails.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = opened.arrow(IMAGES.replace("{limit}", str(int(limit))))
    wanted = table["image"].to_pylist()
    pictures = read_thumbnails(opened.path / "embed", set(wanted))
    cells = [{"bytes": pictures.get(i), "path": f"{i}.webp"} for i in wanted]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = table.rename_columns(["feature", "rank", "number", "activation", "caption"])
    table = table.append_column("image", pa.array(cells, kind))
    info = {"features": {"image": {"_type": "Image"}, **_values(table)}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": info})})
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with draft(folder / "data" / "train.parquet") as path:
        pq.write_table(table, path)  # the note on its columns stays
    write_text(folder / "README.md", _card(opened, len(table), limit))
    return len(table)


def _values(table: pa.Table) -> dict[str, Any]:
    kinds = {"int32": "int32", "int64": "int64", "float": "float32", "string": "string"}
    return {
        field.name: {"dtype": kinds[str(field.type)], "_type": "Value"}
        for field in table.schema
        if field.name != "image"
    }


def _card(opened: Atlas, n: int, limit: int) -> str:
    facts = dict(opened.rows("SELECT key, value FROM provenance"))
    note, credit, license_ = (facts.get(key, "") for key in ("note", "credit", "license_url"))
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files: data/train.parquet",
        "tags: [sparse-autoencoder, interpretability]",
        "---",
        f"# {facts.get('title', 'Feature atlas')}: strongest images of each feature",
        "",
        f"{n:,} rows: up to {limit} images of each live feature of {opened.id}, the strongest first, as thumbnails.",
        note,
        f"{credit} {license_}".strip(),
        "",
        "Columns: feature, rank (0 the strongest), number (the image's row in the atlas), activation, caption, image.",
        "Images that were marked as unsafe or taken down are not among them. The license is that of the pictures.",
    ]
    return "\n".join(lines) + "\n"
