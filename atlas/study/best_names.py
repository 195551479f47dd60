"""The best name of each feature: what bears it out, and the second word that tells it from a namesake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atlas.base.text import BETWEEN, plain_words
from atlas.study.caption_names import FEWEST_STRONG, GUESSED, STRONG, Pool
from atlas.study.grading import TENTHS
from atlas.study.labels import Row
from atlas.study.naming import DECIMALS, side_of
from atlas.study.phrases import may_name
from atlas.study.unfit_names import is_unfit, shows_people

if TYPE_CHECKING:
    import pyarrow as pa

APART = 2.0
"""By how many times a second word must be more common in a feature's strong images than in its namesakes'."""


@dataclass(frozen=True, slots=True)
class BestName:
    """A feature's name, as every page shows it, with what bears it out.

    All but the first five are None where the images have no text.
    """

    feature: int
    name: str
    """The label, with a second word where features share it."""
    label: str
    source: str
    author: str
    held: int | None = None
    """Of its strongest images, those whose text holds the label."""
    strong: int | None = None
    """Strongest images that were looked at, of all that a page can show."""
    chosen: float | None = None
    """Share of the strongest images of the half that chose names which hold it."""
    judged: float | None = None
    """The same of the half that judges."""
    tenth: float | None = None
    """Share of the strongest tenth of its images, of the half that judges."""
    near: float | None = None
    """Share of its near misses."""
    precision: float | None = None
    """Share of all its images of the half that judges."""
    recall: float | None = None
    """Of that half's images that hold the label, the share on which the feature fires."""
    f1: float | None = None
    usual: float | None = None
    """Share of all images."""


def first_labels(rows: Iterable[Row]) -> list[BestName]:
    """Return the first label of each feature that is more than a guess."""
    return [
        BestName(row["feature"], row["label"], row["label"], row["source"], row["author"])
        for row in rows
        if row["rank"] == 0 and not row["perhaps"]
    ]


def judge_names(
    names: Sequence[BestName], pool: Pool, near: Mapping[int, NDArray[np.int64]]
) -> list[BestName]:
    """Return names with what bears them out, where their images have text.

    Args:
        names: The names.
        pool: The images.
        near: Feature -> its near misses.
    """
    holders = pool.texts.holders({name.label for name in names})
    judge, all_images = pool.own(pool.judge).images, pool.own(side_of(pool.first >= 0)).images
    none = np.empty(0, np.int64)
    return [
        replace(
            _judge(name, pool, holders[name.label], near.get(name.feature, none), judge),
            usual=share_of(all_images, holders[name.label]),
        )
        if is_captioned(pool, name.feature)
        else name
        for name in names
    ]


def is_captioned(pool: Pool, feature: int) -> bool:
    """Return whether half of a feature's strongest images or more have a caption or tags."""
    strong = pool.strongest(feature)[:STRONG]
    return bool(len(strong) and pool.texts.captioned[strong].mean() >= 0.5)


def _judge(
    name: BestName,
    pool: Pool,
    held: NDArray[np.int64],
    near: NDArray[np.int64],
    images: NDArray[np.int64],
) -> BestName:
    shown = pool.strongest(name.feature)[:STRONG]
    fires = pool.strongest(name.feature, pool.judge)
    tenth = fires[: max(1, len(fires) // TENTHS)]
    others = np.intersect1d(held, images, assume_unique=True)
    precision, recall = share_of(fires, held), share_of(others, np.sort(fires))
    return replace(
        name,
        held=int(np.isin(shown, held).sum()),
        strong=len(shown),
        chosen=enough(pool.strongest(name.feature, pool.choose)[:STRONG], held),
        judged=enough(fires[:STRONG], held),
        tenth=share_of(tenth, held),
        near=share_of(near, held),
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if precision and recall else None,
    )


def enough(images: NDArray[np.int64], held: NDArray[np.int64]) -> float | None:
    """Return the share of images that hold a label; None of too few."""
    return share_of(images, held) if len(images) >= FEWEST_STRONG else None


def share_of(images: NDArray[np.int64], held: NDArray[np.int64]) -> float | None:
    """Return the share of images that are among others, which ascend; None of none."""
    return round(float(np.isin(images, held).mean()), DECIMALS) if len(images) else None


def tell_apart(names: Sequence[BestName], pool: Pool) -> list[BestName]:
    """Return names with a second word where features share one and their images differ by a word."""
    groups: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        groups.setdefault(" ".join(plain_words(name.label)), []).append(at)
    found = list(names)
    for members in groups.values():
        if len(members) > 1:
            words = _second_words([names[at] for at in members], pool)
            for at, word in zip(members, words, strict=True):
                if word:
                    found[at] = replace(names[at], name=f"{names[at].label}{BETWEEN}{word}")
    return found


def _second_words(names: Sequence[BestName], pool: Pool) -> list[str]:
    """Return for each of some namesakes the word that its strong images hold and the others' don't."""
    shares = [_shares(name, pool) for name in names]
    total: Counter[str] = Counter()
    for held in shares:
        total.update(held)
    taken: set[str] = set()
    found = []
    for held in shares:
        worth = {}
        for word, share in held.items():
            others = (total[word] - share) / (len(names) - 1)
            if share >= GUESSED and share >= APART * others and word not in taken:
                worth[word] = round(
                    share * float(np.log((share + 0.05) / (others + 0.05))), DECIMALS
                )
        best = min(worth, key=lambda word: (-worth[word], -word.count(" "), word), default="")
        taken.add(best)
        found.append(best)
    return found


def _shares(name: BestName, pool: Pool) -> dict[str, float]:
    """Return the words of a feature's strong images beside its name, each with its share of them."""
    strong = pool.strongest(name.feature, pool.choose)[:STRONG].tolist()
    texts = [pool.texts.phrases(image) for image in strong]
    on_people = shows_people(texts)
    said = {
        form
        for word in plain_words(name.label)
        for form in (word, f"{word}s", word.removesuffix("s"))
    }
    counts = Counter(phrase for phrases in texts for phrase in phrases)
    return {
        phrase: count / len(strong)
        for phrase, count in counts.items()
        if count > 1 and may_name(phrase) and not said & set(phrase.split())
        and not is_unfit(phrase, on_people=on_people)
    }  # fmt: skip


def names_table(names: Sequence[BestName]) -> pa.Table:
    """Return the names as the table names."""
    import pyarrow as pa

    texts = ("name", "label", "source", "author")
    counts = ("held", "strong")
    shares = ("chosen", "judged", "tenth", "near", "precision", "recall", "f1", "usual")
    schema = pa.schema(
        [("feature", pa.int32())]
        + [(name, pa.string()) for name in texts]
        + [(name, pa.int32()) for name in counts]
        + [(name, pa.float64()) for name in shares]
    )
    ordered = sorted(names, key=lambda name: name.feature)
    return pa.Table.from_pylist([asdict(name) for name in ordered], schema=schema)
