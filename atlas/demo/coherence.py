"""Step coherence: whether features are single things, by what the pictures are known to show.

A text holds of an image where it holds of one of its pictures: term, tags, groups, skin tone,
colors. All choices are made on one half of the training images; the figures are of the other half
(seen pictures, newly arranged) and of the held-out images (never seen, for an encoder of the
training split). The encoder that ships saw all pictures; beside it stands the same recipe on
the training split alone. The null is an untrained SAE: random directions, as sparse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.files import read_parquet
from atlas.base.progress import Progress
from atlas.demo.encoder import embedded_path
from atlas.demo.figures import replace_figures
from atlas.demo.lessons import read_lessons
from atlas.demo.places import DEMO, IMAGES, RECIPES, VECTORS
from atlas.inputs.compositions import read_recipes
from atlas.pipeline import build_atlas
from atlas.sae.checkpoints import load_sae
from atlas.sae.encoding import encode
from atlas.settings.load import load_config

COMMAND = "python -m atlas.demo coherence"
BUILD = DEMO.parents[1] / "build"
STRONGEST = 9
MOST_SPECIFIC = 0.1
"""Of all images a text may hold of, to be a specific one."""
ALIKE = 0.75
FEWEST_CHOOSING, MOST_CHOOSING, FEWEST_UNSEEN = 40, 0.35, 20
"""Images, or share of images, that an attribute must hold of."""
QUANTILES = (0.0, 0.5, 0.8)
"""Of a feature's firings, from which it may count for an attribute."""
FEWEST_FIRINGS = 20
SEED = 3


@dataclass(frozen=True, slots=True)
class World:
    """What is known of the images."""

    holds: NDArray[np.bool_]
    """(image, text)."""
    choose: NDArray[np.int64]
    """Images on which everything is chosen."""
    seen: NDArray[np.int64]
    """Other images of the same pictures."""
    unseen: NDArray[np.int64]
    """Images of held-out pictures."""


@dataclass(frozen=True, slots=True)
class Coherence:
    """How one side of the images looks through the features."""

    share: float
    """Mean over features: of the strongest nine, those of which one specific text holds."""
    alike: float
    """Share of features of which that is three in four or more."""
    random_share: float
    """The first figure of nine random images."""
    n_features: int
    f1: float
    """Mean over attributes, of the single feature chosen for each."""
    n_attributes: int
    name: float
    """Mean over features: of the strongest tenth, those of which the text chosen for it holds."""


def run() -> None:
    """Put the figures of the encoder that ships, and of the training split's, into figures.json."""
    rows = []
    for pool in ("all", "train"):
        x = embeddings_of(pool)
        folder = train_on(pool)
        sides = ("seen",) if pool == "all" else ("seen", "unseen")
        world, codes = read_world(), encode(load_sae(folder), x)
        found = judge(world, codes, sides)
        null = judge(world, untrained(x, float((codes > 0).mean()), codes.shape[1]), sides)
        rows += [row for side in sides for row in figures(pool, side, found[side], null[side])]
    replace_figures(COMMAND, rows)


def embeddings_of(pool: str) -> NDArray[np.float32]:
    """Return the raw embeddings (image, d) by the encoder of a pool."""
    paths = sorted(VECTORS.glob("*.npy")) if pool == "all" else [embedded_path(pool)]
    return np.concatenate([np.load(path) for path in paths]).astype(np.float32)


def train_on(pool: str) -> Path:
    """Train an SAE as train.toml says on the embeddings of a pool's encoder; return its folder."""
    if pool == "all":
        return DEMO / "sae"
    folder = BUILD / f"demo-train-{pool}"
    changes = [f'out_dir="{folder}"', f'embed.vectors="{embedded_path(pool)}"']
    config = load_config(DEMO / "train.toml", changes)
    build_atlas(config, ("train",), progress=Progress())
    return folder / "train"


def untrained(x: NDArray[np.float32], share: float, n_features: int) -> NDArray[np.float32]:
    """Return what (image, feature) random directions of the embeddings give, so many of them firing."""
    directions = np.random.default_rng(SEED).standard_normal((x.shape[1], n_features))
    directions /= np.linalg.norm(directions, axis=0)
    found = (x - x.mean(axis=0)) @ directions.astype(np.float32)
    threshold = np.quantile(found[::8], 1 - share)
    codes: NDArray[np.float32] = np.where(found > threshold, found, 0)
    return codes


def read_world() -> World:
    """Return what holds of each image, and the sides."""
    lessons, recipes = read_lessons("all"), read_recipes(RECIPES)
    holds = np.zeros((len(recipes), len(lessons.texts)), np.bool_)
    for image, recipe in enumerate(recipes):
        for placed in recipe.placed:
            holds[image, lessons.of_picture[placed.picture]] = True
    split = np.array(read_parquet(IMAGES, ["split"])["split"].to_pylist())
    train, unseen = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    half = np.random.default_rng(SEED).random(len(train)) < 0.5
    return World(holds, train[half], train[~half], unseen)


def judge(world: World, codes: NDArray[np.float32], sides: tuple[str, ...]) -> dict[str, Coherence]:
    """Return the figures of the sides named."""
    usual = world.holds.mean(axis=0)
    specific = np.flatnonzero(usual < MOST_SPECIFIC)
    chosen = _choose_features(world, codes)
    names = specific[_choose_names(world, codes, specific)]
    found = {}
    for side in sides:
        images: NDArray[np.int64] = getattr(world, side)
        shares, random = _strongest_shares(world.holds[:, specific], codes, images)
        scores = [f1 for one in chosen if (f1 := _f1(world, codes, images, one, side)) is not None]
        found[side] = Coherence(
            float(shares.mean()),
            float((shares >= ALIKE).mean()),
            float(random.mean()),
            len(shares),
            float(np.mean(scores)),
            len(scores),
            _names_hold(world, codes, images, names),
        )
    return found


def _strongest_shares(
    holds: NDArray[np.bool_], codes: NDArray[np.float32], images: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each feature that fires often enough its share, and that of nine random images."""
    random = np.random.default_rng(SEED)
    shares, nulls = [], []
    for column in codes[images].T:
        if (column > 0).sum() >= STRONGEST:
            top = images[np.argsort(-column, kind="stable")[:STRONGEST]]
            shares.append(holds[top].mean(axis=0).max())
            some = random.choice(images, STRONGEST, replace=False)
            nulls.append(holds[some].mean(axis=0).max())
    return np.array(shares), np.array(nulls)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The single feature that stands for an attribute."""

    text: int
    feature: int
    threshold: float


def _choose_features(world: World, codes: NDArray[np.float32]) -> list[Chosen]:
    """Return for each attribute the feature, and the activation from which it counts, of best F1."""
    own, holds = codes[world.choose], world.holds[world.choose]
    counts = holds.sum(axis=0)
    texts = np.flatnonzero(
        (counts >= FEWEST_CHOOSING) & (counts < MOST_CHOOSING * len(world.choose))
    )
    wanted = holds[:, texts].astype(np.float32)
    thresholds = np.stack([_thresholds(own, quantile) for quantile in QUANTILES])
    scores = np.stack([_f1_table(own > t, wanted) for t in thresholds])
    found = []
    for place, text in enumerate(texts.tolist()):
        quantile, feature = np.unravel_index(scores[:, :, place].argmax(), scores.shape[:2])
        found.append(Chosen(text, int(feature), float(thresholds[quantile, feature])))
    return found


def _thresholds(codes: NDArray[np.float32], quantile: float) -> NDArray[np.float64]:
    if not quantile:
        return np.zeros(codes.shape[1])
    fired = [column[column > 0] for column in codes.T]
    return np.array([np.quantile(a, quantile) if len(a) else np.inf for a in fired])


def _f1_table(fires: NDArray[np.bool_], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (feature, attribute) F1."""
    both = fires.T.astype(np.float32) @ wanted
    total = fires.sum(axis=0)[:, None] + wanted.sum(axis=0)[None]
    found: NDArray[np.float32] = 2 * both / np.maximum(total, 1)
    return found


def _f1(
    world: World, codes: NDArray[np.float32], images: NDArray[np.int64], one: Chosen, side: str
) -> float | None:
    """Return the F1 of an attribute's feature on other images; None of too few to judge by."""
    wanted = world.holds[images, one.text]
    if side == "unseen" and wanted.sum() < FEWEST_UNSEEN:
        return None
    fires = codes[images, one.feature] > one.threshold
    return float(2 * (fires & wanted).sum() / max(fires.sum() + wanted.sum(), 1))


def _choose_names(
    world: World, codes: NDArray[np.float32], specific: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each feature the place of the specific text of best share times log lift."""
    own = codes[world.choose]
    share = own.T @ world.holds[np.ix_(world.choose, specific)].astype(np.float32)
    share /= np.maximum(own.sum(axis=0), 1e-9)[:, None]
    usual = world.holds[:, specific].mean(axis=0)
    score = share * np.log(np.maximum(share, 1e-6) / (usual + 1e-6))
    found: NDArray[np.int64] = score.argmax(axis=1)
    return found


def _names_hold(
    world: World,
    codes: NDArray[np.float32],
    images: NDArray[np.int64],
    names: NDArray[np.int64],
) -> float:
    held = []
    for column, name in zip(codes[images].T, names.tolist(), strict=True):
        n = int((column > 0).sum())
        if n >= FEWEST_FIRINGS:
            top = images[np.argsort(-column, kind="stable")[: max(5, n // 10)]]
            held.append(world.holds[top, name].mean())
    return float(np.mean(held))


SIDES = {
    ("all", "seen"): "the encoder that ships; pictures seen in training, newly arranged",
    ("train", "seen"): "the same recipe on the training split; its pictures, newly arranged",
    ("train", "unseen"): "the same recipe on the training split; pictures never seen",
}


def figures(pool: str, side: str, one: Coherence, null: Coherence) -> list[dict[str, Any]]:
    """Return the rows of one pool and side."""
    stem = {"all": "coherence", "train": f"coherence_split_{side}"}[pool]
    strongest = (
        f"of a feature's {STRONGEST} strongest images, those that show one specific thing "
        f"({one.random_share:.3f} of {STRONGEST} random images)"
    )
    rows = (
        ("share", one.n_features, strongest),
        ("alike", one.n_features,
         f"features of which {ALIKE:.0%} or more of the {STRONGEST} show one specific thing"),
        ("f1", one.n_attributes, "F1 of the best single feature for an attribute"),
        ("name", one.n_features,
         "a term or tag chosen on half of the images holds on the strongest tenth of others"),
    )  # fmt: skip
    return [
        {
            "name": f"{stem}_{name}",
            "value": round(getattr(one, name), 4),
            "unit": "F1" if name == "f1" else "share",
            "n": n,
            "null_value": round(getattr(null, name), 4),
            "null_name": "an untrained SAE, as sparse",
            "command": COMMAND,
            "note": f"{what}; {SIDES[pool, side]}",
        }
        for name, n, what in rows
    ]
