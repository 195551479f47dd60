"""The catalog stage: everything the other stages found, as tables that people can query.

Writes atlas.duckdb, parquet/<table>.parquet (identical bytes for identical input; the
DuckDB file itself never is) and search/, which is what look-ups by meaning need.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas import __version__
from atlas.base.files import digest_json, draft, read_json, read_parquet, write_json, write_parquet
from atlas.base.tables import SENSITIVE_SHARE, TABLE, TABLES, create_sql, tables_digest
from atlas.inputs.embeddings import EmbeddingSet, read_embeddings
from atlas.inputs.vocabulary import read_vocabulary
from atlas.run.stage import Job
from atlas.sae.activations import ImageActivations
from atlas.sae.checkpoints import load_sae
from atlas.sae.model import SAE
from atlas.settings.paths import DATABASE
from atlas.study.clusters import label_words, name_cluster
from atlas.study.map_places import lay_out, trustworthiness
from atlas.study.meanings import list_words, recall_of_pairs, write_lists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORAGE_VERSION = "v1.4.0"
"""DuckDB 2 writes files that DuckDB 1 can't open unless told to."""
LABELS_KEPT = 3
STAND_IN_SHARE = 0.3
"""An image of one thing may stand for a feature from this share of the largest activation on."""
FEWEST_IMAGES_FOR_A_LABEL = 3
"""A term in fewer top images than this says nothing about the feature."""
FEATURES_JUDGED_ON_MAP = 4000


def run(job: Job) -> None:
    """Write the catalog."""
    import duckdb

    sae = load_sae(job.inputs["sae"])
    alive = _alive(job.inputs["scan"])
    map_file = job.part(
        "map", ".parquet", _map_key(job), lambda path: _write_map(path, job, sae, alive)
    )
    database = job.out_dir / DATABASE
    with duckdb.connect() as db:
        db.execute(f"ATTACH '{database}' AS atlas (STORAGE_VERSION '{STORAGE_VERSION}')")
        db.execute("USE atlas")
        for table in TABLES:
            db.execute(create_sql(table))
        _insert_tables(db, job, map_file)
        _insert_labels(db, job)
        _insert_families(db, job)
        _insert(db, "icons", icons_query(job))
        _insert_drawn(db, job)
        _insert_concepts(db, job)
        _insert_decompositions(db, job)
        found = write_search(job, alive, _hidden(db))
        _insert_metrics(db, job, [*found, _map_figure(job, sae, map_file)])
        _insert_provenance(db, job, sae)
        export(db, job.out_dir / "parquet")
        db.execute("CHECKPOINT")


def _alive(scan_dir: Path) -> NDArray[np.int64]:
    """Return the live features' numbers, ascending."""
    table = read_parquet(scan_dir / "features.parquet", ["feature", "alive"])
    feature = table["feature"].to_numpy()
    found: NDArray[np.int64] = feature[table["alive"].to_numpy()].astype(np.int64)
    return found


def _map_key(job: Job) -> dict[str, Any]:
    settings = job.settings
    return {
        "sae": job.digests["sae"],
        "scan": job.digests["scan"],
        "map": [settings.map_neighbors, settings.map_min_dist, settings.map_seed],
    }


def _write_map(path: Path, job: Job, sae: SAE, alive: NDArray[np.int64]) -> None:
    import pyarrow as pa

    settings = job.settings
    job.progress.say(f"  map: placing {len(alive):,} live features")
    directions = sae.W_dec[alive]
    places = lay_out(
        directions,
        neighbors=settings.map_neighbors,
        min_dist=settings.map_min_dist,
        seed=settings.map_seed,
    )
    table = pa.table(
        {"feature": alive.astype(np.int32), "map_x": places[:, 0], "map_y": places[:, 1]}
    )
    write_parquet(path, table)


def _insert(db: DuckDBPyConnection, table: str, select: str) -> None:
    """Fill a table from a query that yields its columns by name, in its documented order."""
    columns = ", ".join(f'"{column.name}"' for column in TABLE[table].columns)
    db.execute(
        f"INSERT INTO {table} SELECT {columns} FROM ({select}) ORDER BY {TABLE[table].order}"
    )


def _insert_tables(db: DuckDBPyConnection, job: Job, map_file: Path) -> None:
    scan, neighbors, embed = job.inputs["scan"], job.inputs["neighbors"], job.inputs["embed"]
    _insert(
        db,
        "images",
        f"SELECT * FROM '{embed}/images.parquet' e JOIN '{scan}/images.parquet' s USING (image)",
    )
    _insert(db, "top_images", f"SELECT * FROM '{scan}/top_images.parquet'")
    sensitive = f"""
        SELECT feature, avg(i.sensitive::INTEGER) >= {SENSITIVE_SHARE} AS sensitive
        FROM top_images JOIN images i USING (image) GROUP BY feature"""
    _insert(
        db,
        "features",
        f"""SELECT f.*, monosemanticity, m.map_x, m.map_y, coalesce(s.sensitive, false) AS sensitive
            FROM '{scan}/features.parquet' f
            LEFT JOIN '{job.inputs["families"]}/monosemanticity.parquet' USING (feature)
            LEFT JOIN '{map_file}' m USING (feature) LEFT JOIN ({sensitive}) s USING (feature)""",
    )
    for table in ("quantile_images", "activation_histogram"):
        _insert(db, table, f"SELECT * FROM '{scan}/{table}.parquet'")
    for table in ("feature_neighbors", "coactivations"):
        _insert(db, table, f"SELECT * FROM '{neighbors}/{table}.parquet'")
    _insert_named(db, job)


def _insert_named(db: DuckDBPyConnection, job: Job) -> None:
    """Fill what the names stage judged; its columns are null where it did not run."""
    if "names" in job.inputs and "vocabulary" in job.inputs:
        names = job.inputs["names"]
        _insert(db, "near_misses", f"SELECT * FROM '{names}/near_misses.parquet'")
        _insert(db, "name_reliability", f"SELECT * FROM '{names}/reliability.parquet'")
        return
    nothing = "NULL AS name_score, NULL AS verdict, NULL AS sibling"
    misses = job.inputs["neighbors"] / "near_misses.parquet"
    _insert(db, "near_misses", f"SELECT *, {nothing} FROM '{misses}'")


def _insert_families(db: DuckDBPyConnection, job: Job) -> None:
    """Fill the tables of relatives and clusters; labels and places must be there."""
    folder = job.inputs["families"]
    _insert(db, "relatives", f"SELECT * FROM '{folder}/relatives.parquet'")
    _insert(db, "cluster_features", f"SELECT * FROM '{folder}/cluster_features.parquet'")
    named = cluster_names(db)
    db.register("named", named)
    _insert(
        db,
        "clusters",
        f"""SELECT c.*, n.label, n.label_share, n.null_share, p.map_x, p.map_y
            FROM '{folder}/clusters.parquet' c JOIN named n USING (level, cluster)
            JOIN (SELECT level, cluster, median(map_x)::FLOAT AS map_x, median(map_y)::FLOAT AS map_y
                  FROM cluster_features JOIN features USING (feature) GROUP BY level, cluster) p
            USING (level, cluster)""",
    )
    db.unregister("named")


def cluster_names(db: DuckDBPyConnection) -> Any:
    """Return level, cluster, label, label_share, null_share: from the labels of the members.

    Sensitive features lend no words.
    """
    import pyarrow as pa

    words: dict[int, frozenset[str]] = {}
    for feature, label in db.execute(
        """SELECT feature, label FROM labels JOIN features USING (feature)
           WHERE NOT sensitive ORDER BY feature, rank"""
    ).fetchall():
        words[feature] = words.get(feature, frozenset()) | label_words(label)
    common = Counter(word for held in words.values() for word in held)
    rows = db.execute(
        """SELECT level, cluster, list(feature ORDER BY rank) FROM cluster_features
           GROUP BY level, cluster ORDER BY level, cluster"""
    ).fetchall()
    names = [name_cluster(members, words, common) for _, _, members in rows]
    return pa.table(
        {
            "level": pa.array([row[0] for row in rows], pa.int32()),
            "cluster": pa.array([row[1] for row in rows], pa.int32()),
            "label": pa.array([name.label for name in names], pa.string()),
            "label_share": pa.array([name.share for name in names], pa.float64()),
            "null_share": pa.array([name.null_share for name in names], pa.float64()),
        }
    )


ROUND_TRIP = "strength, moved, on_template, on_intended, on_icon, percentile, icon_rank, p, passes, seeds, verdict"
"""What the icons stage tells of each icon that it drew."""


def icons_query(job: Job) -> str:
    """Return the query for each live feature's icon: the rendered one, else a stand-in."""
    stand = stand_ins()
    if "icons" not in job.inputs:
        nothing = ", ".join(f"NULL AS {name}" for name in ROUND_TRIP.split(", "))
        return f"SELECT *, {nothing} FROM ({stand})"
    return f"""
        SELECT s.feature, CASE WHEN r.feature IS NULL THEN s.image END AS image,
               CASE WHEN r.feature IS NULL THEN s.source ELSE 'rendered' END AS source, {ROUND_TRIP}
        FROM ({stand}) s
        LEFT JOIN (SELECT feature, {ROUND_TRIP} FROM '{job.inputs["icons"]}/icons.parquet') r USING (feature)"""


DRAWN = {
    "icon_replicates": ("icons", "replicates"),
    "icon_side_effects": ("icons", "side_effects"),
    "strips": ("icons", "strips"),
    "where_maps": ("where", "where"),
    "knobs": ("concepts", "knobs"),
    "transfers": ("concepts", "transfers"),
}
"""Table of the catalog -> the stage that draws, and the file of it; missing without a decoder."""
GROUPED = (
    "groupings",
    "examples",
    "concept_features",
    "concept_neighbors",
    "recurring_concepts",
    "recurring_features",
    "recurring_images",
    "recurring_neighbors",
)
"""Tables that the concepts stage leaves as they are."""


def _insert_drawn(db: DuckDBPyConnection, job: Job) -> None:
    for table, (stage, file) in DRAWN.items():
        if stage in job.inputs and (job.inputs[stage] / f"{file}.parquet").exists():
            _insert(db, table, f"SELECT * FROM '{job.inputs[stage]}/{file}.parquet'")


def _insert_concepts(db: DuckDBPyConnection, job: Job) -> None:
    folder = job.inputs["concepts"]
    for table in GROUPED:
        _insert(db, table, f"SELECT * FROM '{folder}/{table}.parquet'")
    icons = f"""(SELECT image, tau, concept, mass_on_icon FROM '{folder}/concept_icons.parquet')"""
    if not (folder / "concept_icons.parquet").exists():
        icons = "(SELECT 0 AS image, '' AS tau, 0 AS concept, 0.0 AS mass_on_icon)"
    _insert(
        db,
        "concepts",
        f"SELECT * FROM '{folder}/concepts.parquet' LEFT JOIN {icons} USING (image, tau, concept)",
    )


def stand_ins() -> str:
    """Return the query for the picture that stands for a feature while it has no icon.

    The strongest image that shows one thing, namely the feature's first label, if it is not
    much weaker than the strongest of all; else that one. An image of four things is a poor
    sign for what one of them excites, and one of something else would contradict the name.
    """
    return f"""
        WITH judged AS (
            SELECT feature, image, t.rank,
                   len(terms) <= 1 AND coalesce(contains(lower(array_to_string(terms, ' ')), lower(label)), true)
                   AND activation >= {STAND_IN_SHARE} * max(activation) OVER (PARTITION BY feature) AS clear
            FROM top_images t JOIN images USING (image)
            LEFT JOIN (SELECT feature, label FROM labels WHERE rank = 0) USING (feature)),
        placed AS (
            SELECT *, row_number() OVER (PARTITION BY feature ORDER BY clear DESC, rank) AS place FROM judged)
        SELECT feature, image, 'top image' AS source FROM placed WHERE place = 1"""


def _insert_labels(db: DuckDBPyConnection, job: Job) -> None:
    """Take the labels of the names stage; without a vocabulary, the terms of captions for the rest."""
    if "names" in job.inputs:
        _insert(db, "labels", f"SELECT * FROM '{job.inputs['names']}/labels.parquet'")
    if "names" not in job.inputs or "vocabulary" not in job.inputs:
        _insert_caption_terms(db)


def _insert_caption_terms(db: DuckDBPyConnection) -> None:
    """Label each feature without a name with the terms that hold most of its top images' activation.

    A term counts only where it holds a larger share than it has among all images.
    """
    terms = "SELECT image, unnest(list_distinct(terms)) AS label FROM images"
    _insert(
        db,
        "labels",
        f"""
        WITH term AS ({terms}),
        common AS (SELECT label, count(*) / (SELECT count(*) FROM images) AS null_score
                   FROM term GROUP BY label),
        whole AS (SELECT feature, sum(activation::DOUBLE ORDER BY rank) AS total FROM top_images GROUP BY feature),
        held AS (
            SELECT feature, label, count(*) AS images,
                   sum(activation::DOUBLE ORDER BY rank) / any_value(total) AS score
            FROM top_images JOIN term USING (image) JOIN whole USING (feature)
            GROUP BY feature, label),
        placed AS (
            SELECT *, row_number() OVER (PARTITION BY feature ORDER BY score DESC, label) - 1 AS rank
            FROM held JOIN common USING (label)
            WHERE images >= {FEWEST_IMAGES_FOR_A_LABEL} AND score > null_score)
        SELECT feature, rank, label, 'captions' AS source, '' AS author, score, null_score,
               NULL AS cosine, NULL AS auroc, NULL AS auroc_low, NULL AS auroc_high
        FROM placed WHERE rank < {LABELS_KEPT} AND feature NOT IN (SELECT feature FROM labels)""",
    )


def _insert_decompositions(db: DuckDBPyConnection, job: Job) -> None:
    """Keep the features of the images that top the most features, and of the examples."""
    chosen = f"""
        SELECT image FROM (SELECT image, count(*) AS tops FROM top_images WHERE rank = 0 GROUP BY image)
        ORDER BY tops DESC, image LIMIT {job.settings.decomposed_images}"""
    examples = "SELECT image FROM examples"
    rows = db.execute(f"FROM ({chosen}) UNION {examples} ORDER BY image").fetchall()
    wanted = np.array([row[0] for row in rows], dtype=np.int64)
    for batch in _decomposed(job.inputs["scan"], wanted):
        db.register("batch", batch)
        _insert(db, "decompositions", "SELECT * FROM batch")
        db.unregister("batch")


def _decomposed(scan_dir: Path, wanted: NDArray[np.int64]) -> Iterator[Any]:
    import pyarrow as pa

    images, ranks, features, values = [], [], [], []
    reader = ImageActivations(scan_dir)
    for image in wanted.tolist():
        found, strength = reader[image]
        order = np.lexsort((found, -strength))
        images.append(np.full(len(order), image, np.int64))
        ranks.append(np.arange(len(order), dtype=np.int32))
        features.append(found[order].astype(np.int32))
        values.append(strength[order].astype(np.float32))
    if images:
        yield pa.table(
            {
                "image": np.concatenate(images),
                "rank": np.concatenate(ranks),
                "feature": np.concatenate(features),
                "activation": np.concatenate(values),
            }
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure with what to hold it against; a row of the table metrics."""

    name: str
    value: float
    unit: str
    n: int
    null_value: float | None = None
    null_name: str = ""
    command: str = "atlas report"
    note: str = ""


def _insert_metrics(db: DuckDBPyConnection, job: Job, own: Sequence[Figure]) -> None:
    """Fill the table of figures: the scan's, this stage's own, other stages', and outside ones."""
    figures = [*scan_figures(read_json(job.inputs["scan"] / "scan.json")), *own]
    for stage in ("families", "compare", "names", "icons", "where", "concepts"):
        if stage in job.inputs:
            drawn = read_json(job.inputs[stage] / f"{stage}.json")["figures"]
            figures += [Figure(**row) for row in drawn]
    for path in job.files.get("figures", ()):
        figures += [Figure(**row) for row in read_json(path)["figures"]]
    rows = [
        [f.name, f.value, f.unit, f.n, f.null_value, f.null_name, f.command, f.note]
        for f in figures
    ]
    db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?, ?)", sorted(rows))


def scan_figures(found: Mapping[str, Any]) -> list[Figure]:
    """Return the scan's global figures for the report.

    Args:
        found: What scan.json holds; keys beginning with heldout_ only where there is a split.
    """
    images, features = found["images"], found["features"]
    mean_instead = "mean embedding as every reconstruction"
    figures = [
        Figure("images", images, "images", images),
        Figure("features", features, "features", features),
        Figure(
            "alive", found["alive"], "features", images, note="fires on one or more of n images"
        ),
        Figure("dead_share", found["dead_share"], "share", features),
        Figure("mass_median", found["mass_median"], "activation an image", images),
    ]
    for prefix, suffix, note in (
        ("", "", ""),
        ("heldout_", "_heldout", "images whose pictures trained nothing"),
    ):
        if f"{prefix}images" not in found:
            continue
        n = found[f"{prefix}images"]
        figures += [
            Figure(f"l0_mean{suffix}", found[f"{prefix}l0_mean"], "features an image", n, note=note),
            Figure(f"l0_median{suffix}", found[f"{prefix}l0_median"], "features an image", n, note=note),
            Figure(
                f"mean_cosine{suffix}", found[f"{prefix}mean_cosine"], "cosine", n,
                found[f"{prefix}mean_cosine_null"], mean_instead, note=note,
            ),
        ]  # fmt: skip
        explained = found[f"{prefix}explained_variance"]
        if explained is not None:  # null where all images are equal
            figures.append(
                Figure(
                    f"explained_variance{suffix}",
                    explained,
                    "share",
                    n,
                    0.0,
                    mean_instead,
                    note=note,
                )
            )
    return figures


def _map_figure(job: Job, sae: SAE, map_file: Path) -> Figure:
    table = read_parquet(map_file)
    places = np.stack([table["map_x"].to_numpy(), table["map_y"].to_numpy()], axis=1)
    directions = sae.W_dec[table["feature"].to_numpy()]
    judged = {"neighbors": 10, "most": FEATURES_JUDGED_ON_MAP, "seed": job.settings.map_seed}
    shuffled = np.random.default_rng(job.settings.map_seed).permutation(places)
    return Figure(
        "map_trustworthiness",
        trustworthiness(directions, places, **judged),
        "share",
        min(len(places), FEATURES_JUDGED_ON_MAP),
        trustworthiness(directions, shuffled, **judged),
        "the same places, shuffled",
        note="10 neighbors; 1 if all neighbors on the map are neighbors by decoder cosine",
    )


def atlas_id(sae_digest: str, shard_digests: list[str]) -> str:
    """Return the identity of an atlas: what a citation of one of its features rests on."""
    return "atlas:" + digest_json([sae_digest, shard_digests])[:12]


def _insert_provenance(db: DuckDBPyConnection, job: Job, sae: SAE) -> None:
    embeddings = read_embeddings(job.inputs["embed"])
    encoder = embeddings.encoder
    counts = db.execute("SELECT count(*), count(*) FILTER (alive) FROM features").fetchone()
    assert counts is not None
    grouped = read_json(job.inputs["concepts"] / "concepts.json")
    facts = {
        "id": atlas_id(sae.digest(), [shard.sha256 for shard in embeddings.shards]),
        "title": job.settings.title,
        "note": job.settings.note,
        "credit": job.settings.credit,
        "synthetic": str(job.settings.synthetic).lower(),
        "owner_url": job.settings.owner_url,
        "encoder": str(encoder.get("id", "unknown")),
        "d": str(embeddings.width),
        "n_images": str(embeddings.rows),
        "n_features": str(counts[0]),
        "n_alive": str(counts[1]),
        **{name: str(grouped[name]) for name in ("tau_scale", "tau_coarse", "tau_fine")},
        "grouping_restarts": str(grouped["restarts"]),
        "grouping_seed": str(grouped["seed"]),
        "sae_digest": sae.digest(),
        "sae": json.dumps(dict(sae.provenance), sort_keys=True),
        "tables": tables_digest(),
        "made_with": f"feature-atlas {__version__}",
    }
    db.executemany("INSERT INTO provenance VALUES (?, ?)", sorted(facts.items()))


def export(db: DuckDBPyConnection, folder: Path) -> None:
    """Write each table as Parquet, sorted; the same rows give the same bytes."""
    for table in TABLES:
        rows = db.sql(f"SELECT * FROM {table.name} ORDER BY {table.order}").to_arrow_table()
        write_parquet(folder / f"{table.name}.parquet", rows)


def _hidden(db: DuckDBPyConnection) -> list[int]:
    """Return the features that no search may show."""
    rows = db.execute("SELECT feature FROM features WHERE sensitive ORDER BY feature").fetchall()
    return [row[0] for row in rows]


def write_search(job: Job, alive: NDArray[np.int64], hidden: Sequence[int]) -> list[Figure]:
    """Write what look-ups by meaning need: a prototype a live feature, the vocabulary, word lists.

    A feature's prototype is the mean of its top images' embeddings, weighted by activation,
    each embedding at unit length and centered; decoder directions themselves are known to
    lie off the directions of text.

    Returns:
        How much the lists find, where there is a vocabulary with pairs of words.
    """
    folder = job.out_dir / "search"
    folder.mkdir(parents=True, exist_ok=True)
    embeddings = read_embeddings(job.inputs["embed"])
    top = read_parquet(job.inputs["scan"] / "top_images.parquet")
    prototypes, center = make_prototypes(embeddings, top, alive)
    with draft(folder / "prototypes.npy") as path, path.open("wb") as file:
        np.save(file, prototypes.astype(np.float16))
    with draft(folder / "features.npy") as path, path.open("wb") as file:
        np.save(file, alive.astype(np.int32))
    with draft(folder / "center.npy") as path, path.open("wb") as file:
        np.save(file, center.astype(np.float32))
    write_json(folder / "search.json", {"width": embeddings.width, "features": len(alive)})
    if "vocabulary" not in job.inputs:
        return []
    shutil.copytree(job.inputs["vocabulary"], folder / "vocabulary", dirs_exist_ok=True)
    shown = ~np.isin(alive, hidden)
    return write_word_lists(folder, alive[shown].astype(np.int32), prototypes[shown])


def write_word_lists(
    folder: Path, numbers: NDArray[np.int32], prototypes: NDArray[np.float32]
) -> list[Figure]:
    """Write the nearest features of every word, and return how much they find of pairs of words.

    Args:
        folder: The search folder, with the vocabulary in it.
        numbers: (feature,) which features may be shown.
        prototypes: (feature, d) theirs.
    """
    vocabulary = read_vocabulary(folder / "vocabulary")
    lists = list_words(vocabulary, numbers, prototypes)
    write_lists(folder, lists)
    recall = recall_of_pairs(vocabulary, lists)
    if recall is None:
        return []
    figure = Figure(
        "search_recall_at_10", recall.share, "share", recall.n, recall.null, "words of another pair",
        note="of the ten features nearest to a pair of words by the text encoder, how many the site finds by adding up the lists of the two words",
    )  # fmt: skip
    return [figure]


def make_prototypes(
    embeddings: EmbeddingSet, top: Any, alive: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return each live feature's prototype and the mean unit embedding.

    Args:
        embeddings: The scanned set; each shard is read once.
        top: Table with columns feature, image, activation.
        alive: (feature,) numbers of the live features, ascending.

    Returns:
        (live feature, d) unit rows, and (d,) the mean of all unit embeddings.
    """
    place = np.searchsorted(alive, top["feature"].to_numpy())
    image = top["image"].to_numpy()
    weight = top["activation"].to_numpy().astype(np.float64)
    by_image = np.argsort(image, kind="stable")
    place, image, weight = place[by_image], image[by_image], weight[by_image]
    sums = np.zeros((len(alive), embeddings.width))
    total = np.zeros(embeddings.width)
    for shard in embeddings.shards:
        rows = np.asarray(embeddings.read_shard(shard), dtype=np.float32)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        total += rows.sum(axis=0, dtype=np.float64)
        low, high = np.searchsorted(image, [shard.first_image, shard.first_image + shard.rows])
        picked = rows[image[low:high] - shard.first_image]
        _add_rows(sums, place[low:high], picked, weight[low:high])
    center = total / embeddings.rows
    mass = np.bincount(place, weights=weight, minlength=len(alive))
    sums -= mass[:, None] * center
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32), center


def _add_rows(
    sums: NDArray[np.float64],
    place: NDArray[np.int64],
    rows: NDArray[np.float32],
    weight: NDArray[np.float64],
) -> None:
    """Add weight * row to sums[place], in place, in the order given within each place."""
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    if len(order):
        weighted = rows[order] * weight[order][:, None]
        sums[place[order][starts]] += np.add.reduceat(weighted, starts, axis=0)
