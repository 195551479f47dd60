"""The indexes that scripts and programs search: words, feature rows, picture hashes, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.inputs.vocabulary import read_vocabulary
from atlas.site import links, lookalikes
from atlas.site.book import Book, name_of
from atlas.site.chapter import TOP_SHOWN, distinct_tops
from atlas.site.hash_order import hash_order
from atlas.site.map_sheets import as_data, read_levels
from atlas.site.output import Output
from atlas.site.pages import families
from atlas.site.picture_files import icon_number
from atlas.site.picture_sheets import thumbnails
from atlas.site.search_index import file_name, index_scripts, script, table_scripts, word_weights
from atlas.site.text import clean, percent
from atlas.study.meanings import read_lists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def columns_of(*names: str) -> dict[str, Any]:
    """Return the JSON schema of a table stored as columns of equal length."""
    numbers = {"type": "array", "items": {"type": "number"}}
    return {"type": "object", "required": list(names), "properties": dict.fromkeys(names, numbers)}


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "features/<feature // 64>.json: live features by number",
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]+$"},
    "additionalProperties": {
        "type": "object",
        "required": [
            "feature",
            "citation",
            "page",
            "density",
            "name",
            "labels",
            "top_images",
            "neighbors",
        ],
        "properties": {
            "feature": {"type": "integer", "minimum": 0},
            "citation": {"type": "string", "pattern": "^atlas:[0-9a-f]{12}/f[0-9]+$"},
            "page": {"type": "string"},
            "icon": {"type": ["string", "null"]},
            "density": {"type": "number", "minimum": 0, "maximum": 1},
            "sensitive": {"type": "boolean"},
            "name": {"type": ["object", "null"]},
            "labels": {"type": "array", "items": {"type": "object"}},
            "top_images": columns_of("image", "value"),
            "quantile_images": columns_of("image", "value"),
            "near_misses": columns_of("image", "value"),
            "round_trip": {"type": ["object", "null"]},
            "side_effects": {"type": "array", "items": {"type": "object"}},
            "strip": {"type": "array", "items": {"type": "object"}},
            "neighbors": columns_of("feature", "cosine"),
            "coactivations": columns_of("feature", "p_other_given_feature"),
            "relatives": {"type": "array", "items": {"type": "object"}},
            "clusters": {"type": "array", "items": {"type": "object"}},
        },
    },
}


def write_hashes(out: Output, db: DuckDBPyConnection) -> dict[str, str] | None:
    """Write the hashes of the pictures that the site shows, and measure how well they identify one.

    Returns:
        What the search page reports of it; None if the atlas has no thumbnails.
    """
    shown = dict(
        db.execute(
            f"""SELECT image, list(feature ORDER BY rank, feature)
                FROM {distinct_tops("true")} JOIN features USING (feature)
                JOIN images USING (image)
                WHERE NOT features.sensitive AND NOT images.sensitive
                GROUP BY image ORDER BY image"""
        ).fetchall()
    )
    with thumbnails(out.job, set(shown)) as small:
        images = [image for image in shown if image in small]
        hashes = np.array([lookalikes.hash_webp(small[image]) for image in images], np.uint64)
        drawn = hash_order(range(len(images)), "tried")[: lookalikes.MOST_TRIED]
        accuracy = lookalikes.measure_accuracy([small[images[i]] for i in drawn], hashes, drawn)
    table = lookalikes.picture_table(images, hashes, [shown[image] for image in images])
    out.put(links.PICTURES_SCRIPT, script("atlasPictures", table))
    if not images:
        return None
    return {
        "shown": f"{len(images):,}",
        "found": percent(accuracy.found),
        "mistaken": percent(accuracy.mistaken),
        "n": f"{accuracy.n:,}",
    }


VERDICTS = ("not shown", "partly", "shown")
UNDRAWN = (-1.0, -1)


def _rounded(share: float | None) -> float:
    return -1.0 if share is None else round(share, 3)


def write_indexes(out: Output, db: DuckDBPyConnection, book: Book) -> None:
    """Write the search index, the feature rows and the JSON index."""
    labels = db.execute(
        """SELECT feature, label FROM labels JOIN features USING (feature)
           WHERE NOT sensitive AND NOT perhaps ORDER BY feature, rank"""
    ).fetchall()
    texts = db.execute(
        f"""SELECT t.feature, concat_ws(' ', i.caption, array_to_string(i.tags, ' ')), t.activation
            FROM top_images t JOIN images i USING (image) JOIN features f USING (feature)
            WHERE t.rank < {TOP_SHOWN} AND NOT i.sensitive AND NOT f.sensitive
            ORDER BY t.feature, t.rank"""
    ).fetchall()
    trips = {
        feature: (percentile, VERDICTS.index(verdict))
        for feature, percentile, verdict in db.execute(
            """SELECT feature, percentile, verdict FROM icons
               WHERE source = 'rendered' ORDER BY feature"""
        ).fetchall()
    }
    kin = dict(
        db.execute(
            "SELECT feature, cluster FROM cluster_features WHERE level = 1 ORDER BY feature"
        ).fetchall()
    )
    rows = [
        {
            "feature": f,
            "name": name_of(book, f),
            "icon": icon_number(book, f),
            "density": float(f"{book.live[f].density:.3g}"),
            "tops": " ".join(map(str, book.tops.get(f, ()))),
            "max": float(f"{book.live[f].max:.3g}"),
            "selectivity": float(f"{book.live[f].selectivity:.3g}"),
            "trip": round(trips.get(f, UNDRAWN)[0], 3),
            "verdict": trips.get(f, UNDRAWN)[1],
            "alike": _rounded(book.live[f].monosemanticity),
            "sure": _rounded(book.sure.get(f) if f in book.names else None),
            "family": kin.get(f, -1),
            "x": round(book.live[f].map_x, 4),
            "y": round(book.live[f].map_y, 4),
        }
        for f in book.order
    ]
    scripts = index_scripts(
        word_weights(labels, ((feature, clean(text), a) for feature, text, a in texts)),
        meanings(out.job.inputs["catalog"] / "search"),
        rows=rows,
    )
    for prefix, text in scripts.items():
        out.put(links.search_script(file_name(prefix)), text)
    prefixes, regions = filter(None, scripts), families.regions(db)
    tables = table_scripts(
        rows,
        prefixes,
        regions,
        book.layout,
        families.names(db),
        as_data(read_levels(book)),
        icons_2x=book.icons_2x,
    )
    for name, text in tables.items():
        out.put(name, text)
    index = {
        "id": book.facts["id"],
        "title": book.facts["title"],
        "note": book.facts["note"],
        "layout": book.layout,
        "n_features": book.n_features,
        "n_alive": len(book.live),
        "features": "features/{feature // 64}.json",
        "schema": "schema.json",
        "provenance": dict(sorted(book.facts.items())),
        "metrics": [metric._asdict() for metric in book.metrics],
    }
    out.put(links.INDEX, json.dumps(index, indent=1) + "\n")
    out.put(f"{links.API}/schema.json", json.dumps(SCHEMA, indent=1) + "\n")


def meanings(folder: Path) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield each entry of the vocabulary with its nearest features and their scores.

    Yields nothing if the catalog was built without a vocabulary.
    """
    lists = read_lists(folder)
    if lists is None:
        return
    for row, word in enumerate(read_vocabulary(folder / "vocabulary").words):
        yield word, lists.above_end(row)
