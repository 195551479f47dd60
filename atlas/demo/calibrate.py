"""Step calibrate: how names are best chosen, judged on images that trained the models.

The training images are drawn into two halves; names are chosen on one and graded on the other,
for each setting. The held-out images, which grade the published names, are never looked at. It
prints a table and writes nothing: settings are changed by hand.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.base.progress import Progress
from atlas.demo.places import DEMO, VOCABULARY
from atlas.inputs.embeddings import read_embeddings
from atlas.inputs.vocabulary import read_vocabulary
from atlas.pipeline import build_atlas
from atlas.sae.activations import FeatureActivations
from atlas.settings.load import load_config
from atlas.settings.study import NamesSettings
from atlas.study import naming
from atlas.study.caption_words import caption_words
from atlas.study.grading import grade, make_exam
from atlas.study.units import center_units

TEMPERATURES = (5.0, 10.0, 20.0, 40.0)
PRIOR_WEIGHTS = (0.25, 0.5, 0.75, 1.0)
IMAGES = (32, 64, 256)
SEED = 1


def run() -> None:
    """Print for every setting the share of features that get a name, and how good those are."""
    config = load_config(DEMO / "atlas.toml")
    build_atlas(config, ("scan",), progress=Progress())
    by_feature = FeatureActivations(config.out_dir / "scan")
    table = read_parquet(config.out_dir / "embed" / "images.parquet", ["caption", "tags", "split"])
    trained = np.flatnonzero(np.array(table["split"].to_pylist()) == "train")
    drawn = np.random.default_rng(SEED).random(len(trained)) < 0.5
    choose, judge = (_side(trained[half], len(table)) for half in (drawn, ~drawn))
    vectors = center_units(read_embeddings(config.out_dir / "embed"), trained)
    vocabulary = read_vocabulary(VOCABULARY)
    met = caption_words(table, vocabulary).counts(choose, len(vocabulary.words))
    words = np.asarray(vocabulary.vectors[met >= NamesSettings().fewest_captions], np.float32)
    for temperature, images in product(TEMPERATURES, IMAGES):
        lexicon = naming.make_lexicon(words, vectors, choose, temperature, SEED)
        means, used = naming.mean_images(by_feature, vectors, choose, images)
        features = np.flatnonzero((by_feature.counts() >= naming.FEWEST_FIRINGS) & (used > 0))
        exams = [make_exam(by_feature, features, side, 200, 2048, SEED) for side in (choose, judge)]
        for weight in PRIOR_WEIGHTS:
            chosen = naming.choose_words(lexicon, means[features], features, weight)
            limit = naming.null_scores(lexicon, vectors, choose, used[features], weight, SEED)
            directions = naming.directions_of(lexicon, chosen.words[:, :1])
            own, other = (grade(exam, vectors, directions).auroc for exam in exams)
            kept = (chosen.scores[:, 0] > limit) & (own >= NamesSettings().least_auroc)
            print(
                f"temperature {temperature:g}, images {images}, prior_weight {weight:g}: "
                f"{kept.mean():.3f} named, median AUROC {np.nanmedian(other[kept]):.3f}, "
                f"of all features {np.nanmedian(other):.3f}",
                flush=True,
            )


def _side(images: NDArray[np.int64], n: int) -> naming.Side:
    member = np.zeros(n, bool)
    member[images] = True
    return naming.side_of(member)
