"""The icons stage: one picture for every live feature, drawn and then encoded again.

A random sample is rendered with other seeds too and held against random directions, the
nearest real pictures and, if there is one, a second encoder. Sensitive features get no icon.
Writes icons.parquet, replicates.parquet, side_effects.parquet, strips.parquet and icons.json.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.icons.drawing import DrawingModels, Sheet, draw_sheets, load_models, share_sheets
from atlas.icons.figures import icon_figures
from atlas.icons.judging import judge_all, natural_activations
from atlas.icons.second_encoder import judge_again
from atlas.icons.subjects import Subjects, find_subjects, plan_sheets
from atlas.icons.tables import icon_table, replicate_table, side_effects, strip_table, webps_of
from atlas.run.stage import Job
from atlas.run.workers import own_device
from atlas.sae.encoding import limit_threads

if TYPE_CHECKING:
    import pyarrow as pa


def run(job: Job) -> None:
    """Draw what isn't drawn yet, judge all, and write the tables.

    Raises:
        ConfigError: No encoder is named, or the decoder doesn't fit the SAE or the encoder.
        InputError: An embedding isn't finite, or an icon comes out as one flat color.
    """
    limit_threads(job.runtime.threads)
    models = load_models(job.settings, job.inputs, own_device(job.runtime))
    table = read_parquet(job.inputs["scan"] / "features.parquet")
    subjects = find_subjects(job, models, table)
    _say_strengths(job, subjects)
    plan = plan_sheets(job, models, subjects)
    if job.runtime.engine == "ranks":
        share_sheets(job, models, _all_sheets(plan))
    drawn = draw_all(job, models, plan)
    natural = natural_activations(job, table, subjects.features)
    found = judge_all(job, drawn, subjects, natural)
    webps = webps_of(drawn["icons"])
    look = judge_again(
        job,
        features=subjects.features[subjects.sample],
        moved=subjects.moved[subjects.sample],
        webps=[webps[place] for place in subjects.sample],
        nearest=found.nearest,
    )
    write_parquet(job.out_dir / "icons.parquet", icon_table(job, models, subjects, drawn, found))
    write_parquet(job.out_dir / "replicates.parquet", replicate_table(subjects, drawn, found))
    write_parquet(job.out_dir / "side_effects.parquet", side_effects(subjects, found, natural))
    write_parquet(job.out_dir / "strips.parquet", strip_table(subjects, drawn, found))
    write_json(job.out_dir / "icons.json", {"figures": icon_figures(job, subjects, found, look)})


def help_run(job: Job) -> None:
    """Draw sheets beside the process that runs the stage, until none is missing."""
    limit_threads(job.runtime.threads)
    models = load_models(job.settings, job.inputs, own_device(job.runtime))
    subjects = find_subjects(job, models, read_parquet(job.inputs["scan"] / "features.parquet"))
    share_sheets(job, models, _all_sheets(plan_sheets(job, models, subjects)))


def _all_sheets(plan: dict[str, list[Sheet]]) -> list[Sheet]:
    return [sheet for sheets in plan.values() for sheet in sheets]


def draw_all(
    job: Job, models: DrawingModels, plan: dict[str, list[Sheet]]
) -> dict[str, list[pa.Table]]:
    """Return the tables of every kind's sheets."""
    tables = iter(draw_sheets(job, models, _all_sheets(plan)))
    return {kind: list(islice(tables, len(sheets))) for kind, sheets in plan.items()}


def _say_strengths(job: Job, subjects: Subjects) -> None:
    """Print what the strength means for this SAE."""
    if not len(subjects.features):
        return
    norms = np.sort(
        read_parquet(job.inputs["scan"] / "images.parquet", ["norm"])["norm"].to_numpy()
    )
    lengths = np.linalg.norm(subjects.wanted, axis=1)
    place = np.searchsorted(norms, np.median(lengths)) / max(len(norms), 1)
    job.progress.say(
        f"  strength: median {np.median(subjects.strengths):.3g}, "
        f"{np.median(subjects.strengths / subjects.largest):.2g} times the largest activation; "
        f"adds a length of {np.median(subjects.moved):.3g}; the embedding's "
        f"{np.median(lengths):.3g} is longer than {place:.0%} of the images'"
    )
