"""What the demo's encoder learns from, and how its features are judged, on answers that are known."""

import numpy as np
import pytest
from PIL import Image

from atlas.demo.coherence import World, judge
from atlas.demo.colors import colors_of
from atlas.demo.lessons import draw_batch, read_lessons


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((220, 30, 30), "red"),
        ((240, 140, 30), "orange"),
        ((250, 220, 60), "yellow"),
        ((40, 160, 70), "green"),
        ((40, 90, 220), "blue"),
        ((140, 60, 200), "purple"),
        ((250, 120, 190), "pink"),
        ((110, 70, 40), "brown"),
        ((20, 20, 20), "black"),
        ((250, 250, 250), "white"),
        ((130, 130, 130), "gray"),
    ],
)
def test_a_picture_of_one_color_has_that_color(rgb, name):
    assert colors_of(Image.new("RGBA", (40, 40), (*rgb, 255))) == [name]


def test_what_is_transparent_has_no_color():
    assert colors_of(Image.new("RGBA", (40, 40), (220, 30, 30, 0))) == []


@pytest.fixture(scope="module")
def lessons():
    return read_lessons("train")


def test_a_text_holds_of_an_image_where_it_holds_of_something_shown(lessons):
    batch = draw_batch(lessons, np.random.default_rng(0), 32, 32)
    assert batch.pixels.shape == (32, 32, 32, 3)
    pictures = [n for base in lessons.bases for n in base]
    terms = {lessons.of_picture[n][0] for n in pictures}
    shown = batch.holds.numpy()[:, [n in terms for n in batch.asked.tolist()]]
    assert shown.sum(axis=1).min() >= 1
    assert shown.sum(axis=1).max() >= 3
    assert 0 < batch.holds.mean() < 0.1


def test_the_training_split_shows_no_held_out_picture(lessons):
    everything = read_lessons("all")
    assert len(lessons.bases) < len(everything.bases)
    assert lessons.texts == everything.texts
    assert "skin tone" in " ".join(lessons.texts)


def planted(random):
    """Return a world of twelve attributes, five of them specific, and codes that follow them."""
    holds = random.random((6000, 12)) < np.linspace(0.02, 0.3, 12)
    order = random.permutation(len(holds))
    return World(holds, order[:2000], order[2000:4000], order[4000:])


def test_features_that_follow_attributes_are_judged_coherent_and_random_ones_not():
    random = np.random.default_rng(1)
    world = planted(random)
    noise = random.random(world.holds.shape, dtype=np.float32)
    right = judge(world, world.holds * (1 + noise), ("seen", "unseen"))
    wrong = judge(world, noise * (noise > 0.9), ("seen", "unseen"))
    for side in ("seen", "unseen"):
        assert right[side].f1 > 0.99
        assert right[side].n_attributes >= 10
        assert right[side].share > wrong[side].share + 0.2
        assert wrong[side].f1 < 0.35
        assert abs(wrong[side].share - wrong[side].random_share) < 0.15
        assert right[side].name > wrong[side].name + 0.2
