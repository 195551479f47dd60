"""Figures that the catalog makes itself, on tables small enough to count by hand."""

from __future__ import annotations

import duckdb
import pytest

from atlas.base.tables import TABLES, create_sql
from atlas.catalog.figures import _plane_figures


def catalog(rows):
    """One live feature for each (held, strong, verdict)."""
    db = duckdb.connect()
    for table in TABLES:
        db.execute(create_sql(table))
    for feature, (held, strong, verdict) in enumerate(rows):
        db.execute("INSERT INTO features BY NAME SELECT ? AS feature, true AS alive", [feature])
        db.execute("INSERT INTO icons BY NAME SELECT ? AS feature, ? AS verdict", [feature, verdict])  # fmt: skip
        if held is not None:
            db.execute("INSERT INTO names BY NAME SELECT ? AS feature, ? AS held, ? AS strong", [feature, held, strong])  # fmt: skip
    return db


def test_quarters_of_the_plane_stand_beside_what_chance_would_give():
    rows = [(10, 20, "shown"), (20, 20, "partly"), (9, 20, "shown"), (None, None, "not shown")]
    both, neither = _plane_figures(catalog(rows))
    assert (both.name, both.value, both.n) == ("names_and_icons_both", 0.25, 4)
    assert (neither.value, neither.null_value) == (0.25, 0.25)


def test_names_and_icons_that_go_together_are_above_chance():
    both, neither = _plane_figures(catalog([(20, 20, "shown")] * 3 + [(0, 20, "not shown")]))
    assert (both.value, neither.value) == (0.75, 0.25)
    assert (both.null_value, neither.null_value) == (pytest.approx(0.5625), pytest.approx(0.0625))


def test_without_evidence_of_names_or_icons_nothing_is_said():
    assert _plane_figures(catalog([(None, None, "shown")])) == []
    assert _plane_figures(catalog([(20, 20, None)])) == []
