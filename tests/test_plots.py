"""Plots say in their titles what is in the catalog, and draw it."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest

import atlas
from atlas import plots
from atlas.base.errors import InputError, MissingError

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def opened(planted_atlas):
    return atlas.open(planted_atlas)


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def test_every_live_feature_is_in_the_histogram_of_densities(opened):
    ax = plots.density(opened)
    ((alive,),) = opened.rows("SELECT count(*) FROM features WHERE alive")
    assert sum(heights(ax)) == alive
    assert ax.get_xscale() == "log"


def test_every_image_is_in_the_histogram_of_sparsity(opened):
    ax = plots.l0(opened)
    ((images,),) = opened.rows("SELECT count(*) FROM images")
    assert sum(heights(ax)) == images


def test_shares_of_mass_add_up_to_one(opened):
    (line,) = plots.mass(opened).lines
    y = line.get_ydata()
    assert y[-1] == pytest.approx(1)
    assert (np.diff(y) >= 0).all()


def test_a_feature_s_histogram_has_all_images_on_which_it_fires(opened):
    feature = opened.rows("SELECT feature FROM features WHERE alive ORDER BY count DESC")[0][0]
    ax = plots.histogram(opened, feature)
    assert sum(heights(ax)) == opened.feature(feature).count
    with pytest.raises(MissingError):
        plots.histogram(opened, 10**6)


def test_without_icons_there_are_no_round_trips_and_no_plane(opened):
    for draw in (plots.round_trips, plots.plane):
        with pytest.raises(InputError, match="rendered icons"):
            draw(opened)


def test_round_trips_agree_with_the_catalog(drawn_atlas):
    opened = atlas.open(drawn_atlas / "build")
    rows = dict(opened.rows("SELECT verdict, count(*) FROM icons GROUP BY 1"))
    assert heights(plots.round_trips(opened)) == [rows.get(one, 0) for one in plots.VERDICTS]


def test_a_curve_has_the_columns_that_training_wrote_and_no_others():
    ax = plots.curve("data/demo/sae", "l0")
    assert len(ax.lines[0].get_xdata()) > 10
    with pytest.raises(InputError, match="it has loss, l0"):
        plots.curve("data/demo/sae", "nothing")


def test_without_matplotlib_a_plot_is_one_line_that_names_its_extra(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingError, match=r"feature-atlas\[plots\]"):
        plots.density(opened)


def test_what_is_opened_and_what_is_found_say_what_they_are_in_one_line(opened):
    assert str(opened.n_features) in repr(opened)
    feature = opened.feature(opened.rows("SELECT feature FROM features WHERE alive")[0][0])
    assert "\n" not in repr(feature)
    assert len(repr(feature)) < 200
    html = feature._repr_html_()
    assert html.count("<tr>") == 1 + min(9, len(feature.top_images))
