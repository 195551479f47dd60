"""Names out of the images' own words: what most strong images' texts hold and few others do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.base.text import STOP_WORDS
from atlas.study.intervals import wilson
from atlas.study.labels import Row, empty_row
from atlas.study.naming import DECIMALS, Side, side_of
from atlas.study.phrases import Texts, may_name, phrases_of
from atlas.study.unfit_names import is_unfit, shows_people

STRONG = 20
"""Strongest images from which a name is chosen, or on which it is judged."""
FEWEST_STRONG = 4
"""With fewer there is no name, and no judgment."""
HOLDS = 0.5
"""Of the strong images must hold a name."""
LEAST_LIFT = 1.5
"""By how many times it must be more common among them than among all images."""
GUESSED = 0.2
"""Of the strong images must hold a guess."""
WHOLE = 0.9
"""A phrase of which a longer one has this share is a fragment of it."""
WORDS_KEPT = 3
Z_99 = 2.575829
"""A name's share has to be above the usual one by its 99 % interval: many words are tried."""


class Firings(Protocol):
    """Images and activations of each feature."""

    def __len__(self) -> int:
        """Features."""

    def __getitem__(self, feature: int, /) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the images on which a feature fires, and how strongly."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The images whose words choose names and judge them."""

    by_feature: Firings
    texts: Texts
    first: NDArray[np.int64]
    """(image,) the first image of those that repeat each other."""
    sensitive: NDArray[np.bool_]
    choose: Side
    judge: Side

    def strongest(self, feature: int, side: Side | None = None) -> NDArray[np.int64]:
        """Return the images on which a feature fires, strongest first; none sensitive or repeated.

        Args:
            feature: Its number.
            side: Only these, without repetitions of any image, which would bear a name out by
                being the same picture; if None all that a page can show.
        """
        images, activations = self.by_feature[feature]
        kept = ~self.sensitive[images]
        if side is not None:
            kept &= side.member[images] & (self.first[images] == images)
        images, activations = images[kept], activations[kept]
        images = images[np.lexsort((images, -activations))]
        if side is None:
            images = images[np.sort(np.unique(self.first[images], return_index=True)[1])]
        return images

    def own(self, side: Side) -> Side:
        """Return a side without sensitive images and repetitions."""
        own = self.first == np.arange(len(self.first))
        return side_of(side.member & own & ~self.sensitive)


@dataclass(frozen=True, slots=True)
class Word:
    """A phrase that may name a feature."""

    text: str
    share: float
    """Of the strong images that chose it."""
    usual: float
    """Of all images of the choosing side."""
    good: bool
    """Borne out by enough of them, and by more than hold it anyway."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A phrase of strong images, before it is known how common it is."""

    texts: int
    """Strong images whose caption or tags hold it."""
    captions: int
    """Those of them whose caption does."""


def choose_words(pool: Pool, strong: dict[int, NDArray[np.int64]]) -> dict[int, tuple[Word, ...]]:
    """Return the words of each feature, best first: good ones if there are any, else guesses.

    Args:
        pool: The images.
        strong: Feature -> the images that choose its name, strongest first.
    """
    drafts = {feature: draft_words(pool.texts, images) for feature, images in strong.items()}
    side = pool.own(pool.choose)
    holders = pool.texts.holders({phrase for draft in drafts.values() for phrase in draft})
    usual = {
        phrase: int(side.member[held].sum()) / max(len(side.images), 1)
        for phrase, held in holders.items()
    }
    return {feature: _best(draft, len(strong[feature]), usual) for feature, draft in drafts.items()}


def strong_images(pool: Pool) -> dict[int, NDArray[np.int64]]:
    """Return of each feature with enough of them the strongest images of the choosing side."""
    found = {f: pool.strongest(f, pool.choose)[:STRONG] for f in range(len(pool.by_feature))}
    return {f: images for f, images in found.items() if len(images) >= FEWEST_STRONG}


def draft_words(texts: Texts, strong: NDArray[np.int64]) -> dict[str, Draft]:
    """Return the phrases, whole ones alone, that a fifth or more of strong images hold."""
    held = [texts.phrases(image) for image in strong.tolist()]
    counts = Counter(phrase for phrases in held for phrase in phrases)
    captions = Counter(p for image in strong.tolist() for p in phrases_of(texts.captions[image]))
    fewest = max(2.0, GUESSED * len(strong))
    on_people = shows_people(held)
    kept = {
        phrase: Draft(count, captions[phrase])
        for phrase, count in counts.items()
        if count >= fewest and may_name(phrase) and not is_unfit(phrase, on_people=on_people)
    }
    fragments = {
        part for phrase in kept for part in _parts(phrase)
        if part in kept and kept[phrase].texts >= WHOLE * kept[part].texts
    }  # fmt: skip
    return {phrase: draft for phrase, draft in kept.items() if phrase not in fragments}


def _parts(phrase: str) -> list[str]:
    """Return the shorter phrases within a phrase."""
    words = phrase.split()
    sizes = range(1, len(words))
    return [" ".join(words[at : at + n]) for n in sizes for at in range(len(words) - n + 1)]


def _best(draft: dict[str, Draft], n_strong: int, usual: dict[str, float]) -> tuple[Word, ...]:
    """Return words by squared share times log lift: a name has to hold before it is special.

    Words of captions count up to twice as much: a tag may be what the picture brings to mind.
    """
    words = [_judge(phrase, one.texts, n_strong, usual[phrase]) for phrase, one in draft.items()]
    good = [word for word in words if word.good]
    scored = []
    for word in good or words:
        if word.share > word.usual:
            one = draft[word.text]
            worth = word.share**2 * float(np.log(word.share / word.usual))
            worth *= 1 + one.captions / one.texts
            scored.append((-round(worth, DECIMALS), -word.text.count(" "), word.text, word))
    return unlike([word for *_, word in sorted(scored)])[:WORDS_KEPT]


def _judge(phrase: str, count: int, n_strong: int, usual: float) -> Word:
    share = count / n_strong
    low, _ = wilson(count, n_strong, Z_99)
    good = share >= HOLDS and share >= LEAST_LIFT * usual and low > usual
    return Word(phrase, share, usual, good)


def unlike(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words that share none with an earlier one."""
    said: set[str] = set()
    found = []
    for word in words:
        if not said & set(word.text.split()):
            found.append(word)
            said |= set(word.text.split()) - STOP_WORDS
    return tuple(found)


def word_rows(feature: int, words: Sequence[Word], first_rank: int) -> list[Row]:
    """Return words as rows of the table labels."""
    return [
        {
            **empty_row(feature, first_rank + place, word.text, "captions"),
            "score": word.share,
            "null_score": word.usual,
            "perhaps": not word.good,
        }
        for place, word in enumerate(words)
    ]
