"""Images drawn from recipes."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from atlas.base.errors import InputError
from atlas.inputs.compositions import Placed, Recipe, open_pictures, recipe_table


def encoded(picture, kind="PNG"):
    data = io.BytesIO()
    picture.save(data, kind)
    return data.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """A red square, a half-clear blue one, and one whose left half is green."""
    half = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    half.paste((0, 255, 0, 255), (0, 0, 10, 20))
    held = [
        Image.new("RGB", (20, 20), (255, 0, 0)),
        Image.new("RGBA", (20, 20), (0, 0, 255, 128)),
        half,
    ]
    path = tmp_path / "pictures.parquet"
    pq.write_table(pa.table({"webp": [encoded(p) for p in held]}), path)
    return path


def draw(pictures, recipe, px=100):
    path = pictures.with_name("recipes.parquet")
    pq.write_table(recipe_table([recipe]), path)
    return np.asarray(open_pictures(pictures, path).draw(0, px)).astype(int)


def test_a_picture_alone_fills_a_white_image(pictures):
    source = open_pictures(pictures)
    assert len(source) == 3
    assert (np.asarray(source.draw(0, 40)) == (255, 0, 0)).all()


def test_what_is_clear_shows_the_ground(pictures):
    found = np.asarray(open_pictures(pictures).draw(1, 10)).astype(int)
    assert np.abs(found - (127, 127, 255)).max() <= 1
    found = np.asarray(open_pictures(pictures).draw(2, 40))
    assert (found[20, 35] == (255, 255, 255)).all()


def test_place_and_size_are_thousandths_of_the_side(pictures):
    recipe = Recipe((0, 0, 0), (0, 0, 0), (Placed(0, 250, 750, 200, flip=False),))
    red = draw(pictures, recipe)[:, :, 0] > 127
    rows, columns = np.nonzero(red)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (65, 84, 15, 34)


def test_a_flip_mirrors_and_the_last_picture_is_on_top(pictures):
    recipe = Recipe((0, 0, 0), (0, 0, 0), (Placed(2, 500, 500, 1000, flip=True),))
    assert draw(pictures, recipe)[50, 90, 1] > 200
    both = (Placed(2, 500, 500, 1000, flip=False), Placed(0, 500, 500, 1000, flip=False))
    assert (draw(pictures, Recipe((0, 0, 0), (0, 0, 0), both)) == (255, 0, 0)).all()


def test_a_ground_runs_from_top_to_bottom(pictures):
    found = draw(pictures, Recipe((0, 10, 200), (100, 110, 0), ()))
    assert np.abs(found[0, 0] - (0, 10, 200)).max() <= 1
    assert np.abs(found[-1, -1] - (100, 110, 0)).max() <= 1
    assert (np.diff(found[:, 0, 0]) >= 0).all()


def test_the_digest_changes_with_what_an_image_shows_and_with_nothing_else(pictures):
    recipes = [
        Recipe((0, 0, 0), (0, 0, 0), (Placed(p, 500, 500, 900, flip=False),)) for p in (0, 1)
    ]
    path = pictures.with_name("recipes.parquet")
    pq.write_table(recipe_table(recipes), path)
    before = open_pictures(pictures, path)
    pq.write_table(recipe_table([*recipes, recipes[0]]), path)
    longer = open_pictures(pictures, path)
    assert longer.digest(0, 2) == before.digest(0, 2)
    assert longer.digest(0, 1) == longer.digest(2, 1) != longer.digest(1, 1)


def test_a_recipe_for_a_picture_that_is_not_there_is_refused(pictures):
    with pytest.raises(InputError, match=r"image 0 is made of picture 7, .* has 3"):
        draw(pictures, Recipe((0, 0, 0), (0, 0, 0), (Placed(7, 500, 500, 900, flip=False),)))


def test_bytes_that_are_no_picture_are_named(tmp_path):
    path = tmp_path / "pictures.parquet"
    pq.write_table(pa.table({"webp": [b"not a picture"]}), path)
    with pytest.raises(InputError, match="picture 0"):
        open_pictures(path).draw(0, 10)
