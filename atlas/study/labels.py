"""The table of labels: names from outside, then the words chosen here, with their grades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.study.feature_names import Named, NamingInputs
from atlas.study.grading import Grades, grade, make_exam
from atlas.study.intervals import auroc_interval
from atlas.study.name_files import GivenName

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]


def given_rows(given: Sequence[GivenName]) -> list[Row]:
    """Return names from outside as rows of the table, in the order in which they came."""
    ranks: dict[int, int] = {}
    rows = []
    for name in given:
        rank = ranks.get(name.feature, 0)
        ranks[name.feature] = rank + 1
        rows.append({**empty_row(name.feature, rank, name.label, "imported"),
                     "author": name.author, "score": name.score})  # fmt: skip
    return rows


def empty_row(feature: int, rank: int, label: str, source: str) -> Row:
    """Return a row of the table without scores."""
    empty = ("score", "null_score", "cosine", "auroc", "auroc_low", "auroc_high")
    row: Row = dict.fromkeys(empty)
    return {"feature": feature, "rank": rank, "label": label, "source": source, "author": "",
            "perhaps": False, **row}  # fmt: skip


def all_rows(inputs: NamingInputs, named: Named, given: Sequence[GivenName]) -> list[Row]:
    """Return all labels: a feature's names from outside first, then the words chosen here."""
    outside = graded_rows(inputs, given)
    before = {row["feature"]: row["rank"] + 1 for row in outside}
    rows = outside
    for at in np.flatnonzero(named.kept).tolist():
        feature = int(named.chosen.features[at])
        for place, word in enumerate(named.chosen.words[at].tolist()):
            if word >= 0:
                rank = before.get(feature, 0) + place
                label = inputs.vocabulary.words[int(inputs.rows[word])]
                rows.append(_word_row(named, at, place, empty_row(feature, rank, label, "images")))
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
    low, high = auroc_interval(auroc, int(grades.firing[at]), int(grades.silent[at]))
    return {
        name: None if np.isnan(value) else value
        for name, value in (("auroc", auroc), ("auroc_low", low), ("auroc_high", high))
    }


def graded_rows(inputs: NamingInputs, given: Sequence[GivenName]) -> list[Row]:
    """Return names from outside as rows, graded where the vocabulary knows a word of them."""
    rows = given_rows(given)
    known = []
    for row in rows:
        words, _ = inputs.vocabulary.split(row["label"])
        if words and inputs.counts[row["feature"]]:
            known.append((row, inputs.vocabulary.encode_text(row["label"])))
    if not known:
        return rows
    s = inputs.settings
    features = np.array([row["feature"] for row, _ in known], np.int64)
    exam = make_exam(
        inputs.by_feature, features, inputs.judge, s.graded_images, s.silent_images, s.seed
    )
    grades = grade(exam, inputs.vectors, np.stack([vector for _, vector in known]))
    for at, (row, _) in enumerate(known):
        row.update(_graded(grades, at))
    return rows


def label_table(rows: Sequence[Row]) -> pa.Table:
    """Return rows as the table labels."""
    import pyarrow as pa

    kinds = {"feature": pa.int32(), "rank": pa.int32(), "label": pa.string(), "source": pa.string(),
             "author": pa.string(), "perhaps": pa.bool_()}  # fmt: skip
    numbers = ("score", "null_score", "cosine", "auroc", "auroc_low", "auroc_high")
    schema = pa.schema([*kinds.items(), *((name, pa.float64()) for name in numbers)])
    return pa.Table.from_pylist(list(rows), schema=schema)
