"""The questions that the report answers: one figure each as a sentence, beside its baseline.

Every metric belongs to one question, by the beginning of its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from atlas.site.book import Book, MetricRow
from atlas.site.text import figure, percent

PUBLISHED_SAE = {
    "images": "5 million",
    "features": "81,920",
    "alive": "60,620",
    "dead_share": "about 0.26",
    "l0_mean": "about 60",
    "explained_variance": "0.65",
}
"""Figures of the published SAE (1280 dimensions, images of LAION-2B); not reproduced here."""
PUBLISHED_SHARES = {
    "l0_mean": (60 / 81_920, "about 60 of 81,920"),
    "explained_variance": (0.65, "65%"),
    "explained_variance_heldout": (0.65, "65%"),
}
"""Metric -> the published figure as a share of its bar, and in words."""
PUBLISHED_COUNTS = {"images": "5 million"}


class Claim(NamedTuple):
    """A metric told as a sentence; {value} and {features} stand for numbers."""

    metric: str
    sentence: str


class Question(NamedTuple):
    """A question, and which metrics answer it."""

    key: str
    """Its anchor on the page; charts name it too."""
    title: str
    claims: tuple[Claim, ...]
    """The first whose metric the atlas has is told."""
    beginnings: tuple[str, ...]
    """Beginnings of the names of its metrics."""


# fmt: off
QUESTIONS = (
    Question("sparse", "Is it sparse?", (
        Claim("l0_mean", "A picture makes {value} of {features} features fire, on average."),
    ), ("l0_", "alive", "dead_", "mass_")),
    Question("explained", "Does it explain?", (
        Claim("explained_variance_heldout", "The features account for {value} of what tells pictures apart, on pictures that trained nothing."),
        Claim("explained_variance", "The features account for {value} of what tells pictures apart."),
    ), ("explained_", "mean_cosine", "sae_heldout_explained")),
    Question("single", "Are features single things?", (
        Claim("coherence_share", "Of a feature’s nine strongest pictures, {value} show one specific thing, on average."),
        Claim("monosemanticity_mean", "To a second encoder, pictures on which the same feature fires are alike to a degree of {value}; 1 would be identical."),
    ), ("coherence_", "monosemanticity_", "attributes_", "pairs_", "features_with_", "nearest_in_", "sae_heldout_", "where_", "map_")),
    Question("names", "Are names right?", (
        Claim("names_right", "{value} of the features have a name that stands in the captions or tags of half or more of their strongest pictures."),
        Claim("names_auroc", "Shown a picture on which a feature fires and one on which it is silent, its name picks the right one in {value} of cases."),
    ), ("caption_", "names_", "near_misses_", "search_")),
    Question("icons", "Do icons show them?", (
        Claim("icons_round_trip_shown", "The model recognizes {value} of the icons: each fires the feature that it was drawn for, strongly and among its ten strongest."),
    ), ("icons_", "nearest_pictures_", "decoder_", "autoencoder_")),
    Question("concepts", "Do concepts cut well?", (
        Claim("separation_coarse_ari", "On pictures put together from known parts, concepts find the right cut to a degree of {value}; 1 would be perfect."),
        Claim("grouping_coarse_agreement_restarts", "Grouped again from another start, a picture’s concepts agree to a degree of {value}; 1 would be identical."),
    ), ("concept", "below_tau_", "grouping_", "separation_", "recurring_", "knobs_", "gender_", "skin_tone_")),
    Question("seeds", "Does it hold across seeds?", (
        Claim("stability_directions_close", "Trained again from another seed, {value} of the features come back."),
        Claim("features_seen_in_every_seed", "Trained again from other seeds, {value} of the features come back each time."),
        Claim("features_shared", "Another SAE of the same pictures has {value} of the features too."),
    ), ("stability_", "features_shared", "features_seen_")),
    Question("made", "How was it made?", (
        Claim("encoder_text_to_image_recall_at_10", "Given a caption, the encoder that all of this rests on finds its picture among the first ten in {value} of cases."),
        Claim("images", "{value} pictures were scanned."),
    ), ("",)),
)
# fmt: on
"""In the order of the page. The last takes every metric that no other does."""


class Scale(NamedTuple):
    """A bar from 0 to 1000, with marks for what it is held against."""

    value: int
    null: int | None
    published: int | None


class Headline(NamedTuple):
    """The answer to a question."""

    before: str
    value: str
    after: str
    """The sentence, around its value."""
    bar: Scale | None
    """None where the value is a count."""
    null: str
    """The baseline in words, with its value; may be empty."""
    published: str
    """May be empty."""
    n: str
    command: str


def question_of(name: str) -> Question:
    """Return the question to which a metric belongs."""
    return next(question for question in QUESTIONS if name.startswith(question.beginnings))


def headline(book: Book, question: Question) -> Headline | None:
    """Return the answer to a question; None if this atlas has not measured it."""
    found = {metric.name: metric for metric in book.metrics}
    claim = next((claim for claim in question.claims if claim.metric in found), None)
    return claim and _told(claim, found[claim.metric], book.n_features)


def _told(claim: Claim, metric: MetricRow, n_features: int) -> Headline:
    before, after = claim.sentence.replace("{features}", f"{n_features:,}").split("{value}")
    _, words = PUBLISHED_SHARES.get(metric.name, (0.0, ""))
    return Headline(
        before,
        _value(metric, metric.value),
        after,
        None if metric.name == "images" else _scale(metric, n_features),
        _baseline(metric),
        words or PUBLISHED_COUNTS.get(metric.name, ""),
        f"{metric.n:,}",
        metric.command,
    )


def _scale(metric: MetricRow, n_features: int) -> Scale:
    """Return the bar of a metric; that of L0 goes up to all features."""
    whole = n_features if metric.name == "l0_mean" else 1
    null, published = metric.null_value, PUBLISHED_SHARES.get(metric.name)
    return Scale(
        _place(metric.value / whole),
        None if null is None else _place(null),
        None if published is None else _place(published[0]),
    )


def _place(share: float) -> int:
    """Return where a share lies on a bar."""
    return round(1000 * min(1.0, max(0.0, share)))


def _value(metric: MetricRow, value: float) -> str:
    if metric.unit in ("share", "AUROC"):
        return percent(value)
    return f"{value:,.0f}" if value == round(value) else figure(value)


def _baseline(metric: MetricRow) -> str:
    """Return a metric's baseline in words, and whether the metric is any better."""
    if metric.null_value is None:
        return ""
    name = metric.null_name[:1].upper() + metric.null_name[1:]
    told = f"{name}: {_value(metric, metric.null_value)}"
    return told if metric.value > metric.null_value else f"{told}, so no better than that"


def by_question(metrics: Sequence[MetricRow]) -> Mapping[str, list[MetricRow]]:
    """Return the metrics of each question by its key."""
    held: dict[str, list[MetricRow]] = {question.key: [] for question in QUESTIONS}
    for metric in metrics:
        held[question_of(metric.name).key].append(metric)
    return held
