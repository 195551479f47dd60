"""The names stage: words for features through their images, and how far to trust them.

Names are chosen on one side of the images and graded on the other, beside names that are given
to the wrong features, words of like frequency, and the same search on random images. Names
from outside come first; they are graded the same way where the vocabulary has their words.
"""

from __future__ import annotations

from dataclasses import asdict

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations
from atlas.study.caption_names import (
    CaptionName,
    caption_rows,
    hold_figures,
    name_by_captions,
    texts_words,
)
from atlas.study.feature_names import name_features, read_naming_inputs
from atlas.study.labels import Row, all_rows, given_rows, label_table
from atlas.study.name_figures import (
    NameFigure,
    caption_figures,
    name_figures,
    near_miss_figures,
    reliability_table,
)
from atlas.study.name_files import GivenName, check_features, read_names
from atlas.study.naming import split_sides
from atlas.study.near_miss_names import judge_near_misses


def run(job: Job) -> None:
    """Write labels.parquet, near_misses.parquet, reliability.parquet and names.json.

    Raises:
        InputError: The vocabulary or a file of names does not fit the atlas.
    """
    by_feature = FeatureActivations(job.inputs["scan"])
    given = read_given(job, len(by_feature))
    worded, held = _by_captions(job, by_feature) if job.settings.captions else ([], [])
    if "vocabulary" not in job.inputs:
        rows = _with_captions(given_rows(given), worded)
        write_parquet(job.out_dir / "labels.parquet", label_table(rows))
        write_json(job.out_dir / "names.json", {"figures": [asdict(one) for one in held]})
        return
    job.progress.say(f"  names: {len(by_feature):,} features")
    inputs = read_naming_inputs(job, by_feature)
    named = name_features(inputs)
    write_parquet(
        job.out_dir / "labels.parquet",
        label_table(_with_captions(all_rows(inputs, named, given), worded)),
    )
    misses = read_parquet(job.inputs["neighbors"] / "near_misses.parquet")
    judged = judge_near_misses(inputs, named, misses, job)
    write_parquet(job.out_dir / "near_misses.parquet", judged)
    write_parquet(job.out_dir / "reliability.parquet", reliability_table(named))
    figures = [
        *held,
        *name_figures(named),
        *caption_figures(inputs, named),
        *near_miss_figures(inputs, named, judged),
    ]
    write_json(job.out_dir / "names.json", {"figures": [asdict(figure) for figure in figures]})


def _by_captions(
    job: Job, by_feature: FeatureActivations
) -> tuple[list[CaptionName], list[NameFigure]]:
    """Return names out of captions, and how well they hold on images that did not choose them."""
    columns = ["caption", "tags", "split", "duplicate_of"]
    table = read_parquet(job.inputs["embed"] / "images.parquet", columns)
    own = table["duplicate_of"].is_null().to_numpy()
    choose, judge = split_sides(table["split"].to_pylist(), job.settings.seed)
    held = texts_words(table)
    names = name_by_captions(by_feature, held, own, choose, judge)
    return names, hold_figures(names, by_feature, held, own, judge, job.settings.seed)


def _with_captions(rows: list[Row], worded: list[CaptionName]) -> list[Row]:
    """Return labels with names out of captions instead of those that were chosen through images."""
    named = {name.feature for name in worded}
    kept = [row for row in rows if row["source"] != "images" or row["feature"] not in named]
    before = {row["feature"]: row["rank"] + 1 for row in kept}
    return sorted(
        kept + caption_rows(worded, before), key=lambda row: (row["feature"], row["rank"])
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
