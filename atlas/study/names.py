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
from atlas.study.feature_names import name_features, read_naming_inputs
from atlas.study.labels import all_rows, given_rows, label_table
from atlas.study.name_figures import (
    caption_figures,
    name_figures,
    near_miss_figures,
    reliability_table,
)
from atlas.study.name_files import GivenName, check_features, read_names
from atlas.study.near_miss_names import judge_near_misses


def run(job: Job) -> None:
    """Write labels.parquet, near_misses.parquet, reliability.parquet and names.json.

    Raises:
        InputError: The vocabulary or a file of names does not fit the atlas.
    """
    by_feature = FeatureActivations(job.inputs["scan"])
    given = read_given(job, len(by_feature))
    if "vocabulary" not in job.inputs:
        write_parquet(job.out_dir / "labels.parquet", label_table(given_rows(given)))
        write_json(job.out_dir / "names.json", {"figures": []})
        return
    job.progress.say(f"  names: {len(by_feature):,} features")
    inputs = read_naming_inputs(job, by_feature)
    named = name_features(inputs)
    write_parquet(job.out_dir / "labels.parquet", label_table(all_rows(inputs, named, given)))
    misses = read_parquet(job.inputs["neighbors"] / "near_misses.parquet")
    judged = judge_near_misses(inputs, named, misses, job)
    write_parquet(job.out_dir / "near_misses.parquet", judged)
    write_parquet(job.out_dir / "reliability.parquet", reliability_table(named))
    figures = [
        *name_figures(named),
        *caption_figures(inputs, named),
        *near_miss_figures(inputs, named, judged),
    ]
    write_json(job.out_dir / "names.json", {"figures": [asdict(figure) for figure in figures]})


def read_given(job: Job, n_features: int) -> list[GivenName]:
    """Return the names from outside: those of the configuration, then those kept in the atlas."""
    paths = [*job.files.get("imported", ()), *job.files.get("kept_names", ())]
    found: list[GivenName] = []
    for path in paths:
        names = read_names(path)
        check_features(names, n_features, path)
        found += names
    return found
