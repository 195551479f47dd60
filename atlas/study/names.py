"""The names stage: words for features, and how far to trust them.

Where images have captions, tags or telling file names, words of these are the names: chosen on one
half of the images and judged on the other. Without, words of the vocabulary are, graded by how
well they tell firing images from silent ones. Names from outside come first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations
from atlas.study.best_name_figures import best_name_figures, held_by_tenth
from atlas.study.best_names import (
    BestName,
    first_labels,
    is_captioned,
    judge_names,
    names_table,
    tell_apart,
)
from atlas.study.caption_names import (
    STRONG,
    WORDS_KEPT,
    Pool,
    Word,
    choose_words,
    strong_images,
    word_rows,
)
from atlas.study.feature_names import Named, NamingInputs, name_features, read_naming_inputs
from atlas.study.labels import Row, all_rows, given_rows, label_table
from atlas.study.name_figures import (
    NameFigure,
    auroc_by_tenth,
    caption_figures,
    name_figures,
    near_miss_figures,
    reliability_table,
)
from atlas.study.name_files import GivenName, check_features, read_names
from atlas.study.naming import split_sides
from atlas.study.near_miss_names import hold_by_texts, hold_by_vocabulary, judge_near_misses
from atlas.study.phrases import read_texts
from atlas.study.unfit_names import is_unfit, shows_people

if TYPE_CHECKING:
    import pyarrow as pa


def run(job: Job) -> None:
    """Write labels.parquet, names.parquet, near_misses.parquet, reliability.parquet and names.json.

    Raises:
        InputError: The vocabulary or a file of names does not fit the atlas.
    """
    by_feature = FeatureActivations(job.inputs["scan"])
    given = read_given(job, len(by_feature))
    misses = read_parquet(job.inputs["neighbors"] / "near_misses.parquet")
    job.progress.say(f"  names: {len(by_feature):,} features")
    inputs = named = None
    rows = given_rows(given)
    if "vocabulary" in job.inputs:
        inputs = read_naming_inputs(job, by_feature)
        named = name_features(inputs)
        rows = all_rows(inputs, named, given)
    if job.settings.captions:
        _name_by_texts(job, by_feature, rows, misses, inputs, named)
        return
    _write_names(job, rows, first_labels(rows))
    figures: list[NameFigure] = []
    if inputs and named:
        judged = judge_near_misses(misses, hold_by_vocabulary(inputs, named, misses), job)
        figures = vocabulary_figures(inputs, named, judged)
        _write_judged(job, judged, auroc_by_tenth(named))
    _write_figures(job, figures)


def _name_by_texts(
    job: Job,
    by_feature: FeatureActivations,
    rows: list[Row],
    misses: pa.Table,
    inputs: NamingInputs | None,
    named: Named | None,
) -> None:
    """Write what the stage writes, with names that the images' texts bear out."""
    pool = read_pool(job, by_feature)
    strong = strong_images(pool)
    rows = merge_rows(rows, choose_words(pool, strong), pool)
    near = _near_images(misses, pool)
    names = tell_apart(judge_names(first_labels(rows), pool, near), pool)
    by_words = hold_by_vocabulary(inputs, named, misses) if inputs and named else None
    judged = judge_near_misses(misses, hold_by_texts(names, pool, misses, by_words), job)
    counts, seed = by_feature.counts(), job.settings.seed
    figures = best_name_figures(names, pool, near, counts, seed)
    tenths = held_by_tenth(names, pool, counts, seed)
    if not figures and inputs and named:
        figures, tenths = vocabulary_figures(inputs, named, judged), auroc_by_tenth(named)
    _write_names(job, rows, names)
    _write_judged(job, judged, tenths)
    _write_figures(job, figures)


def read_pool(job: Job, by_feature: FeatureActivations) -> Pool:
    """Read the images whose words choose names and judge them."""
    columns = ["image", "name", "caption", "tags", "split", "sensitive", "duplicate_of"]
    table = read_parquet(job.inputs["embed"] / "images.parquet", columns)
    image = table["image"].to_numpy()
    repeated = table["duplicate_of"].fill_null(-1).to_numpy()
    return Pool(
        by_feature,
        read_texts(table, job.settings.ignored),
        np.where(repeated >= 0, repeated, image),
        np.asarray(table["sensitive"].to_pylist(), bool),
        *split_sides(table["split"].to_pylist(), job.settings.seed),
    )


def merge_rows(rows: Sequence[Row], words: Mapping[int, Sequence[Word]], pool: Pool) -> list[Row]:
    """Return labels with words of texts in place of those of the vocabulary, which texts don't bear out.

    Where no word of the texts is good either, the best of both are guesses.
    """
    before: dict[int, list[Row]] = {feature: [] for feature in words}
    for row in rows:
        before.setdefault(row["feature"], []).append(row)
    merged = (_merge(f, before[f], words.get(f, ()), pool) for f in sorted(before))
    return [row for rows in merged for row in rows]


def _merge(feature: int, rows: Sequence[Row], words: Sequence[Word], pool: Pool) -> list[Row]:
    outside = [row for row in rows if row["source"] != "images"]
    chosen = [row for row in rows if row["source"] == "images"]
    if any(word.good for word in words):
        return outside + word_rows(feature, words, len(outside))
    if not is_captioned(pool, feature):
        return outside + chosen
    guesses = word_rows(feature, words, len(outside))
    texts = [pool.texts.phrases(image) for image in pool.strongest(feature)[:STRONG].tolist()]
    on_people = shows_people(texts)
    said = {row["label"] for row in guesses}
    more = [
        row
        for row in chosen
        if row["label"] not in said and not is_unfit(row["label"], on_people=on_people)
    ]
    kept = [*guesses, *more][:WORDS_KEPT]
    return outside + [
        row | {"rank": len(outside) + at, "perhaps": True} for at, row in enumerate(kept)
    ]


def _near_images(misses: pa.Table, pool: Pool) -> dict[int, NDArray[np.int64]]:
    """Return the near misses of each feature that have no say in its name."""
    feature, image = (np.asarray(misses[name]).astype(np.int64) for name in ("feature", "image"))
    kept = ~pool.sensitive[image]
    feature, image = feature[kept], image[kept]
    starts = np.flatnonzero(np.diff(feature, prepend=-1))
    numbers = feature[starts].tolist()
    return dict(zip(numbers, np.split(image, starts[1:]), strict=True)) if numbers else {}


def vocabulary_figures(inputs: NamingInputs, named: Named, judged: pa.Table) -> list[NameFigure]:
    """Return the figures of names out of the vocabulary."""
    return [
        *name_figures(named),
        *caption_figures(inputs, named),
        *near_miss_figures(inputs, named, judged),
    ]


def _write_names(job: Job, rows: Sequence[Row], names: Sequence[BestName]) -> None:
    write_parquet(job.out_dir / "labels.parquet", label_table(rows))
    write_parquet(job.out_dir / "names.parquet", names_table(names))


def _write_judged(job: Job, judged: pa.Table, tenths: Sequence[dict[str, float | int]]) -> None:
    write_parquet(job.out_dir / "near_misses.parquet", judged)
    write_parquet(job.out_dir / "reliability.parquet", reliability_table(tenths))


def _write_figures(job: Job, figures: Sequence[NameFigure]) -> None:
    """Write the figures, and the phrases that names were found without: the catalog's clusters are too."""
    found = [asdict(figure) for figure in figures]
    write_json(
        job.out_dir / "names.json", {"figures": found, "ignored": list(job.settings.ignored)}
    )


def read_given(job: Job, n_features: int) -> list[GivenName]:
    """Return the names from outside: those of the configuration, then those kept in the atlas."""
    paths = [*job.files.get("imported", ()), *job.files.get("kept_names", ())]
    found: list[GivenName] = []
    for path in paths:
        names = read_names(path)
        check_features(names, n_features, path)
        found += names
    return found
