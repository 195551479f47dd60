"""The names stage: words for features through their images, and how far to trust them.

Names are chosen on one side of the images and graded on the other, beside names that are given
to the wrong features, words of like frequency, and the same search on random images. Names
from outside come first; they are graded the same way where the vocabulary has their words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atlas.base.errors import InputError
from atlas.base.files import read_parquet, write_json, write_parquet
from atlas.base.float64 import inner_products
from atlas.inputs.embeddings import read_embeddings
from atlas.inputs.vocabulary import Vocabulary, plain_words, read_vocabulary
from atlas.run.stage import Job
from atlas.sae.activations import FeatureActivations, ImageActivations
from atlas.settings.study import NamesSettings
from atlas.study import naming
from atlas.study.name_files import GivenName, check_features, read_names
from atlas.study.naming import Chosen, Exam, Grades, Lexicon, Side

if TYPE_CHECKING:
    import pyarrow as pa

COMMAND = "atlas report"
TEXTS_REMEMBERED = 100_000
"""Captions and tags whose words are kept: most come again and again."""
RELIABLE = 0.85
"""The median AUROC that names are meant to reach."""


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
    desk = open_desk(job, by_feature)
    named = name_features(desk)
    write_parquet(job.out_dir / "labels.parquet", label_table(all_rows(desk, named, given)))
    misses = read_parquet(job.inputs["neighbors"] / "near_misses.parquet")
    judged = judge_near_misses(desk, named, misses, job)
    write_parquet(job.out_dir / "near_misses.parquet", judged)
    write_parquet(job.out_dir / "reliability.parquet", reliability_table(named))
    figures = [
        *name_figures(named),
        *caption_figures(desk, named),
        *near_miss_figures(desk, named, judged),
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


@dataclass(frozen=True, slots=True, eq=False)
class CaptionWords:
    """Which words of the vocabulary the captions and tags of each image hold."""

    starts: NDArray[np.int64]
    """(image + 1,)."""
    words: NDArray[np.int64]
    """(entry,) rows of the vocabulary, ascending within an image."""

    def has(self, images: NDArray[np.int64], words: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return of each pair whether the image's text holds the word."""
        pairs = zip(images.tolist(), words.tolist(), strict=True)
        found = [
            bool((self.words[self.starts[i] : self.starts[i + 1]] == word).any())
            for i, word in pairs
        ]
        return np.array(found, bool)

    def counts(self, side: Side, n_words: int) -> NDArray[np.int64]:
        """Return (word,) how many of a side's images hold each word."""
        image = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return np.bincount(self.words[side.member[image]], minlength=n_words)


def caption_words(table: pa.Table, vocabulary: Vocabulary) -> CaptionWords:
    """Find the vocabulary's words, and pairs of words, in captions and tags."""
    place = vocabulary.place

    @lru_cache(TEXTS_REMEMBERED)
    def rows_of(text: str) -> frozenset[int]:
        words = plain_words(text)
        pairs = (f"{a} {b}" for a, b in pairwise(words))
        return frozenset(place[word] for word in (*words, *pairs) if word in place)

    held = [
        sorted(frozenset().union(*map(rows_of, (caption or "", *(tags or ())))))
        for caption, tags in zip(
            table["caption"].to_pylist(), table["tags"].to_pylist(), strict=True
        )
    ]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in held])]).astype(np.int64)
    return CaptionWords(starts, np.array([row for rows in held for row in rows], np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """All that names are made from."""

    settings: NamesSettings
    by_feature: FeatureActivations
    vectors: NDArray[np.float32]
    """(image, d) centered unit embeddings."""
    choose: Side
    judge: Side
    vocabulary: Vocabulary
    lexicon: Lexicon
    rows: NDArray[np.int64]
    """(word of the lexicon,) its row in the vocabulary."""
    captions: CaptionWords
    counts: NDArray[np.int64]
    """(feature,) images on which it fires."""


def open_desk(job: Job, by_feature: FeatureActivations) -> Desk:
    """Read images and words.

    Raises:
        InputError: The vocabulary is of another space, or none of its words may be a name.
    """
    settings: NamesSettings = job.settings
    embeddings = read_embeddings(job.inputs["embed"])
    vocabulary = read_vocabulary(job.inputs["vocabulary"])
    if vocabulary.vectors.shape[1] != embeddings.width:
        raise InputError(
            f"{job.inputs['vocabulary']} has words of {vocabulary.vectors.shape[1]} dimensions, the images have {embeddings.width}; name the vocabulary of this encoder"
        )
    table = read_parquet(job.inputs["embed"] / "images.parquet", ["caption", "tags", "split"])
    choose, judge = naming.split_sides(table["split"].to_pylist(), settings.seed)
    vectors = naming.center_units(embeddings.read_all(), choose)
    captions = caption_words(table, vocabulary)
    met = captions.counts(choose, len(vocabulary.words))
    rows = np.flatnonzero(met >= settings.fewest_captions)
    if not len(rows):
        raise InputError(
            f"no word of {job.inputs['vocabulary']} is in {settings.fewest_captions} captions; lower names.fewest_captions, 0 lets every word be a name"
        )
    words = np.asarray(vocabulary.vectors[rows], np.float32)
    lexicon = naming.make_lexicon(
        words, vectors[choose.images], settings.temperature, settings.seed
    )
    return Desk(
        settings, by_feature, vectors, choose, judge, vocabulary, lexicon, rows, captions,
        by_feature.counts(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """The features that are frequent enough for a name, with their words, grades and nulls."""

    chosen: Chosen
    limit: NDArray[np.float64]
    """(feature,) the score that random images reach."""
    on_chosen: Grades
    """Of the first word, on the side that chose it; decides who gets a name."""
    grades: tuple[Grades, ...]
    """On the other side: of the first word, of the first two together, of all three."""
    shuffled: tuple[Grades, ...]
    """The first word, and all three, of another feature of like density."""
    random: tuple[Grades, ...]
    """The first word, and all three, that as many random images choose."""
    matched: Grades
    """A word of like frequency."""
    exam: Exam
    """The judging side's images."""
    kept: NDArray[np.bool_]
    """(feature,) gets its name."""


def name_features(desk: Desk) -> Named:
    """Choose and grade a name for every feature that fires often enough."""
    s, lexicon = desk.settings, desk.lexicon
    means, used = naming.mean_images(desk.by_feature, desk.vectors, desk.choose, s.images)
    features = np.flatnonzero((desk.counts >= naming.FEWEST_FIRINGS) & (used > 0))
    chosen = naming.choose_words(lexicon, means[features], features, s.prior_weight)
    used = used[features]
    limit = naming.null_scores(lexicon, desk.vectors, desk.choose, used, s.prior_weight, s.seed)
    drawn = naming.random_means(desk.vectors, desk.choose, used, s.seed)
    lots = naming.choose_words(lexicon, drawn, features, s.prior_weight)

    def exam(side: Side) -> Exam:
        return naming.make_exam(
            desk.by_feature, features, side, s.graded_images, s.silent_images, s.seed
        )

    def grade(on: Exam, words: NDArray[np.int64]) -> Grades:
        return naming.grade(on, desk.vectors, naming.directions_of(lexicon, words))

    own, other = exam(desk.choose), exam(desk.judge)
    words, first = chosen.words, chosen.words[:, :1]
    swapped = words[naming.matched_shuffle(desk.counts[features], s.seed)]
    on_chosen = grade(own, first)
    like = naming.matched_words(first, len(lexicon.vectors), s.seed)
    return Named(
        chosen=chosen,
        limit=limit,
        on_chosen=on_chosen,
        grades=tuple(grade(other, words[:, : n + 1]) for n in range(naming.WORDS_KEPT)),
        shuffled=(grade(other, swapped[:, :1]), grade(other, swapped)),
        random=(grade(other, lots.words[:, :1]), grade(other, lots.words)),
        matched=grade(other, like),
        exam=other,
        kept=(chosen.scores[:, 0] > limit) & (on_chosen.auroc >= s.least_auroc),
    )


# --- the table of labels -----------------------------------------------------------------------

Row = dict[str, Any]


def given_rows(given: Sequence[GivenName]) -> list[Row]:
    """Return names from outside as rows of the table, in the order in which they came."""
    ranks: dict[int, int] = {}
    rows = []
    for name in given:
        rank = ranks.get(name.feature, 0)
        ranks[name.feature] = rank + 1
        rows.append({**_row(name.feature, rank, name.label, "imported"),
                     "author": name.author, "score": name.score})  # fmt: skip
    return rows


def _row(feature: int, rank: int, label: str, source: str) -> Row:
    empty = ("score", "null_score", "cosine", "auroc", "auroc_low", "auroc_high")
    row: Row = dict.fromkeys(empty)
    return {"feature": feature, "rank": rank, "label": label, "source": source, "author": "", **row}


def all_rows(desk: Desk, named: Named, given: Sequence[GivenName]) -> list[Row]:
    """Return all labels: a feature's names from outside first, then the words chosen here."""
    outside = graded_rows(desk, given)
    before = {row["feature"]: row["rank"] + 1 for row in outside}
    rows = outside
    for at in np.flatnonzero(named.kept).tolist():
        feature = int(named.chosen.features[at])
        for place, word in enumerate(named.chosen.words[at].tolist()):
            if word >= 0:
                rank = before.get(feature, 0) + place
                label = desk.vocabulary.words[int(desk.rows[word])]
                rows.append(_word_row(named, at, place, _row(feature, rank, label, "images")))
    return sorted(rows, key=lambda row: (row["feature"], row["rank"]))


def _word_row(named: Named, at: int, place: int, row: Row) -> Row:
    return {
        **row,
        "score": float(named.chosen.scores[at, place]),
        "null_score": float(named.limit[at]),
        "cosine": float(named.chosen.cosines[at, place]),
        **_graded(named.grades[place], at),
    }


def _graded(grades: Grades, at: int) -> Row:
    auroc = float(grades.auroc[at])
    low, high = naming.auroc_interval(auroc, int(grades.firing[at]), int(grades.silent[at]))
    return {
        name: None if np.isnan(value) else value
        for name, value in (("auroc", auroc), ("auroc_low", low), ("auroc_high", high))
    }


def graded_rows(desk: Desk, given: Sequence[GivenName]) -> list[Row]:
    """Return names from outside as rows, graded where the vocabulary knows a word of them."""
    rows = given_rows(given)
    known = []
    for row in rows:
        words, _ = desk.vocabulary.split(row["label"])
        if words and desk.counts[row["feature"]]:
            known.append((row, desk.vocabulary.encode_text(row["label"])))
    if not known:
        return rows
    s = desk.settings
    features = np.array([row["feature"] for row, _ in known], np.int64)
    exam = naming.make_exam(
        desk.by_feature, features, desk.judge, s.graded_images, s.silent_images, s.seed
    )
    grades = naming.grade(exam, desk.vectors, np.stack([vector for _, vector in known]))
    for at, (row, _) in enumerate(known):
        row.update(_graded(grades, at))
    return rows


def label_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as the table labels."""
    import pyarrow as pa

    kinds = {"feature": pa.int32(), "rank": pa.int32(), "label": pa.string(), "source": pa.string(),
             "author": pa.string()}  # fmt: skip
    numbers = ("score", "null_score", "cosine", "auroc", "auroc_low", "auroc_high")
    schema = pa.schema([*kinds.items(), *((name, pa.float64()) for name in numbers)])
    return pa.Table.from_pylist(list(rows), schema=schema)


# --- near misses ---------------------------------------------------------------------------------


def judge_near_misses(desk: Desk, named: Named, misses: pa.Table, job: Job) -> pa.Table:
    """Add to each near miss whether the name holds there, and who fires instead.

    The name holds where the image's caption or tags have its first word, or where the word
    scores as high as on half of the strongest tenth of the images on which it fires. Such an image is no
    counterexample: the feature missed it. Where a feature with a like decoder direction fires
    there, that one may have absorbed it.
    """
    feature, image = (np.asarray(misses[name]).astype(np.int64) for name in ("feature", "image"))
    place = place_of(named, feature)
    score, holds = name_holds(desk, named, place, image)
    siblings = sibling_firing(job, desk.settings.sibling_cosine, feature, image)
    known = place >= 0
    missed = known & holds
    verdict = np.where(missed, np.where(siblings >= 0, "absorption suspect", "missed"), "negative")
    return (
        misses.append_column("name_score", _nullable(score, known, "float32"))
        .append_column("verdict", _nullable(verdict, known, "string"))
        .append_column("sibling", _nullable(siblings, missed & (siblings >= 0), "int32"))
    )


def place_of(named: Named, features: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each feature's place among the named ones; -1 where it has no name."""
    kept = np.flatnonzero(named.kept)
    held = named.chosen.features[kept]
    at = np.minimum(np.searchsorted(held, features), max(len(held) - 1, 0))
    if not len(held):
        return np.full(len(features), -1)
    return np.where(held[at] == features, kept[at], -1)


def name_holds(
    desk: Desk, named: Named, place: NDArray[np.int64], images: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return of each pair the first word's score on the image, and whether the name holds there.

    Args:
        desk: Images, words and captions.
        named: The names.
        place: (pair,) places in named; -1 holds nowhere.
        images: (pair,).
    """
    words = named.chosen.words[np.maximum(place, 0), 0]
    directions = naming.directions_of(desk.lexicon, named.chosen.words[:, :1])
    at = np.maximum(place, 0)
    score = np.round(inner_products(desk.vectors, images, directions, at), naming.DECIMALS)
    usual = np.array(
        [
            np.median(inner_products(desk.vectors, fires, directions, np.full(len(fires), row)))
            if len(fires)
            else np.inf
            for row, fires in enumerate(_strongest_tenths(named.exam))
        ]
    )
    told = desk.captions.has(images, desk.rows[words])
    return score, (place >= 0) & (told | (score >= np.round(usual[at], naming.DECIMALS)))


def _strongest_tenths(exam: Exam) -> list[NDArray[np.int64]]:
    """Return the strongest tenth of each feature's firing images, one at least where any fires."""
    pairs = zip(exam.firing, exam.places, strict=True)
    return [images[places < 1 / naming.TENTHS] for images, places in pairs]


def sibling_firing(
    job: Job, least_cosine: float, feature: NDArray[np.int64], image: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return of each pair the feature of like direction that fires strongest there; else -1."""
    table = read_parquet(job.inputs["neighbors"] / "feature_neighbors.parquet")
    near: dict[int, set[int]] = {}
    for one, other, cosine in zip(
        *(table[name].to_pylist() for name in ("feature", "neighbor", "cosine")), strict=True
    ):
        if cosine >= least_cosine:
            near.setdefault(one, set()).add(other)
    fires = ImageActivations(job.inputs["scan"])
    found = np.full(len(feature), -1, np.int64)
    for at in np.lexsort((feature, image)).tolist():
        like = near.get(int(feature[at]))
        if not like:
            continue
        others, strength = fires[int(image[at])]
        mine = np.isin(others, list(like))
        if mine.any():
            found[at] = int(others[mine][np.argmax(strength[mine])])
    return found


def _nullable(values: NDArray[Any], known: NDArray[np.bool_], kind: str) -> pa.Array:
    import pyarrow as pa

    return pa.array(values.tolist(), mask=~known, type=getattr(pa, kind)())


# --- figures --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NameFigure:
    """One figure of the report; fields as in the table metrics."""

    name: str
    value: float
    unit: str
    n: int
    null_value: float | None
    null_name: str
    command: str = COMMAND
    note: str = ""


SHUFFLED = "names of other features of like density"


def name_figures(named: Named) -> list[NameFigure]:
    """Return the figures of all names, medians over the features that get one."""
    kept = named.kept
    n = int(kept.sum())
    features = len(kept)
    if not n:
        return [NameFigure("names_share", 0.0, "share", features, None, "")]
    low, high = wilson(n, features)
    whole, shuffled = named.grades[-1], named.shuffled
    figures = [
        NameFigure(
            "names_share", n / features, "share", features, None, "",
            note=f"95 %: {low:.3f} to {high:.3f}; of the features that fire {naming.FEWEST_FIRINGS} times or more; the others' words tell their images from others too poorly",
        ),
        _median("names_auroc", named.grades[0].auroc[kept], shuffled[0].auroc[kept], SHUFFLED,
                "the first word alone, on images that did not choose it; 0.5 is chance"),
        _median("names_auroc_three_words", whole.auroc[kept], shuffled[1].auroc[kept], SHUFFLED,
                "the three words together; the second and third were chosen to separate images, which flatters them"),
        _median("names_auroc_of_all", named.grades[0].auroc, shuffled[0].auroc, SHUFFLED,
                "the first word of every feature, those without a name included"),
        _median("names_auroc_beside_random_images", named.grades[0].auroc[kept], named.random[0].auroc[kept],
                "the first word that as many random images choose", "the first word alone"),
        _median("names_auroc_three_words_beside_random_images", whole.auroc[kept], named.random[1].auroc[kept],
                "the three words that as many random images choose", "the three words together"),
        _median("names_auroc_beside_like_words", named.grades[0].auroc[kept], named.matched.auroc[kept],
                "a word of like frequency", "the first word alone"),
        NameFigure(
            "names_agree_with_cosine", float((named.chosen.cosine_ranks[kept] <= 10).mean()), "share", n,
            None, "", note="first words that are among the ten nearest by centered cosine alone",
        ),
    ]  # fmt: skip
    return [figure for figure in figures if not np.isnan(figure.value)]


def _median(
    name: str, values: NDArray[np.float64], null: NDArray[np.float64], null_name: str, what: str
) -> NameFigure:
    middle, low, high = naming.median_interval(values)
    n = int((~np.isnan(values)).sum())
    note = f"median over features; 95 %: {low:.3f} to {high:.3f}; {what}"
    return NameFigure(
        name, middle, "AUROC", n, naming.median_interval(null)[0], null_name, note=note
    )


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, in 0 to 1."""
    z = 1.96
    share = part / whole
    middle = (share + z * z / (2 * whole)) / (1 + z * z / whole)
    half = z * np.sqrt(share * (1 - share) / whole + z * z / (4 * whole**2)) / (1 + z * z / whole)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def reliability_table(named: Named) -> pa.Table:
    """Return the median AUROC of names for each tenth of their features' firings, weakest first."""
    import pyarrow as pa

    kept = named.kept
    rows = []
    for tenth in range(naming.TENTHS):
        values = named.grades[-1].tenths[kept, tenth]
        middle, low, high = naming.median_interval(values)
        if not np.isnan(middle):
            null = naming.median_interval(named.shuffled[1].tenths[kept, tenth])[0]
            first = naming.median_interval(named.grades[0].tenths[kept, tenth])[0]
            n = int((~np.isnan(values)).sum())
            rows.append({"quantile": tenth, "features": n, "auroc": middle, "auroc_low": low,
                         "auroc_high": high, "first_word": first, "shuffled": null})  # fmt: skip
    schema = pa.schema(
        [("quantile", pa.int32()), ("features", pa.int64())]
        + [
            (n, pa.float64())
            for n in ("auroc", "auroc_low", "auroc_high", "first_word", "shuffled")
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def caption_figures(desk: Desk, named: Named) -> list[NameFigure]:
    """Return how often the judging side's own captions bear a name out."""
    kept = np.flatnonzero(named.kept)
    words = desk.rows[named.chosen.words[kept, 0]] if len(kept) else np.empty(0, np.int64)
    base = desk.captions.counts(desk.judge, len(desk.vocabulary.words)) / len(desk.judge.images)
    shares, usual = [], []
    for at, word in zip(kept.tolist(), words.tolist(), strict=True):
        images = named.exam.firing[at][named.exam.places[at] < 1 / naming.TENTHS]
        if len(images):
            shares.append(desk.captions.has(images, np.full(len(images), word)).mean())
            usual.append(base[word])
    if not shares:
        return []
    return [
        NameFigure(
            "names_in_captions", float(np.mean(shares)), "share", len(shares), float(np.mean(usual)),
            "all images of the same side",
            note="images of the strongest tenth whose caption or tags hold the very word, mean over names; captions that trained nothing",
        )
    ]  # fmt: skip


def near_miss_figures(desk: Desk, named: Named, judged: pa.Table) -> list[NameFigure]:
    """Return how often a name holds where its feature stays silent, and who fires instead."""
    verdicts = np.array(judged["verdict"].to_pylist(), object)
    known = verdicts != None  # noqa: E711 - element by element
    if not known.any():
        return []
    missed = known & (verdicts != "negative")
    feature = np.asarray(judged["feature"]).astype(np.int64)[known]
    drawn = np.random.default_rng(desk.settings.seed).integers(0, len(desk.vectors), len(feature))
    _, chance = name_holds(desk, named, place_of(named, feature), drawn)
    n, n_missed = int(known.sum()), int(missed.sum())
    low, high = wilson(n_missed, n)
    suspects = int((verdicts == "absorption suspect").sum())
    figures = [
        NameFigure(
            "near_misses_where_name_holds", n_missed / n, "share", n, float(chance.mean()), "random images",
            note=f"95 %: {low:.3f} to {high:.3f}; recall that the feature misses, not counterexamples to its name",
        )
    ]  # fmt: skip
    if n_missed:
        low, high = wilson(suspects, n_missed)
        figures.append(
            NameFigure(
                "near_misses_absorption_suspect", suspects / n_missed, "share", n_missed, None, "",
                note=f"95 %: {low:.3f} to {high:.3f}; of those, a feature of like decoder direction fires instead",
            )
        )  # fmt: skip
    return figures
