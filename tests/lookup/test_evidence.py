"""How a search weighs what captions say against what is near in meaning."""

from __future__ import annotations

import pytest

from atlas.lookup.evidence import Evidence, _weigh
from atlas.lookup.search import judge


def test_images_count_by_their_activation_and_words_by_how_many_an_image_has():
    rows = [(6.0, 10.0, 3, "a red apple"), (3.0, 10.0, 3, "apples"), (1.0, 10.0, 3, "a cherry")]
    found = _weigh(rows, ["red", "apple"], {"cherry": 0.5})
    assert (found.held, found.shown) == (1, 3)
    assert (found.share, found.part, found.near) == pytest.approx((0.6, 0.75, 0.05))


def test_what_captions_say_comes_before_what_is_near_in_meaning():
    held = Evidence(held=5, shown=9, share=0.5, part=0.5, near=0.0)
    borne_out, near = judge("", held, 0.1), judge("", None, 0.9)
    assert borne_out.score > near.score
    assert (borne_out.why, near.why) == ("caption", "meaning")


def test_a_name_that_is_the_query_comes_first():
    full = Evidence(held=9, shown=9, share=1.0, part=1.0, near=0.0)
    assert judge("label", full, 0.0).score > judge("", full, 1.0).score
    assert judge("label", full, 0.0).why == "label"
    assert judge("prefix", None, 0.0).why == "prefix"
