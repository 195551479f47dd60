"""Somebody's own pictures: what encoder, crops and SAE are chosen, and an atlas of them from any folder."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from atlas.base.errors import MissingError
from atlas.base.files import list_files
from atlas.inputs.encoder import embed_images, load_encoder, trunk_features
from atlas.prepare.new_atlas import write_config
from atlas.prepare.own_pictures import chosen_crops, chosen_training, look_at
from atlas.settings.paths import demo_root


def photo(number):
    """A picture with a camera's noise."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (4, 6, 3), np.uint8))
    smooth = np.asarray(coarse.resize((90, 60), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray(np.clip(smooth + random.normal(0, 4, smooth.shape), 0, 255).astype("u1"))


def drawing(number):
    """Flat shapes on nothing."""
    found = Image.new("RGBA", (90, 60), (0, 0, 0, 0))
    color = tuple(np.random.default_rng(number).integers(0, 200, 3).tolist())
    ImageDraw.Draw(found).ellipse((10, 10, 80, 50), fill=(*color, 255))
    return found


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Twelve photographs with captions, and twelve drawings without."""
    root = tmp_path_factory.mktemp("sets")
    for name in ("photos", "drawings"):
        (root / name).mkdir()
    for number in range(12):
        photo(number).save(root / "photos" / f"{number}.jpg", quality=92)
        (root / "photos" / f"{number}.txt").write_text(f"a {'red' if number % 2 else 'blue'} thing")
        drawing(number).save(root / "drawings" / f"{number}.png")
    return root


def looked(folder):
    return look_at(folder, tuple(list_files(folder)))


def test_photographs_and_drawings_are_told_apart_by_equal_neighbors(sets):
    photos, drawings = looked(sets / "photos"), looked(sets / "drawings")
    assert not photos.drawn
    assert drawings.drawn
    assert (photos.n_pictures, photos.captioned) == (12, True)
    assert (drawings.n_pictures, drawings.captioned) == (12, False)


def test_few_pictures_are_cropped_more_and_get_a_narrower_sae():
    assert [chosen_crops(n) for n in (1, 542, 2048, 100_000)] == [15, 6, 1, 0]
    widths = [chosen_training(n)["n_features"] for n in (1, 542, 5000, 100_000)]
    assert widths == [32, 128, 2496, 4096]
    assert [chosen_training(n)["k"] for n in (542, 5000, 100_000)] == [4, 8, 32]


def test_the_encoder_for_photographs_gives_what_the_network_does_before_its_classifier():
    encoder = load_encoder(demo_root() / "photographs")
    pictures = [photo(1), photo(2)]
    found = embed_images(encoder, pictures)
    assert found.shape == (2, 1280)
    np.testing.assert_array_equal(found, trunk_features(encoder, pictures))


@pytest.mark.parametrize("name", ["photos", "drawings"])
def test_a_configuration_says_what_was_chosen(sets, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    new = write_config(sets / name, tmp_path / "out")
    made = tomllib.loads(new.path.read_text())
    folder = tmp_path / "out"
    encoder = (folder / made["embed"]["encoder"]).resolve()
    assert made["embed"]["crops"] == 15
    assert made["train"]["n_features"] == 32
    assert "sae" not in made
    assert (
        new.said[1]
        == "SAE: trained on 12 pictures and 15 crops of each: 32 features, 4 on an image"
    )
    if name == "photos":
        assert encoder == (demo_root() / "photographs").resolve()
        assert "for photographs (" in new.said[0]
        assert made["names"] == {"captions": True}
        assert "vocabulary" not in made["catalog"]
        assert "icons" not in made, "the demo's decoder reads the demo's embeddings"
    else:
        assert encoder == demo_root() / "encoder"
        assert "for drawings (" in new.said[0]
        assert "names" not in made
        assert (folder / made["catalog"]["vocabulary"] / "words.txt").exists()
        assert (folder / made["icons"]["decoder"] / "decoder.json").exists()
    assert write_config(sets / name, tmp_path / "out").said == (), "kept as it was left"


def test_photographs_without_captions_are_named_by_imagenets_classes(sets, tmp_path):
    for path in (sets / "photos").glob("*.jpg"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    new = write_config(tmp_path, tmp_path / "out")
    made = tomllib.loads(new.path.read_text())
    words = (tmp_path / "out" / made["catalog"]["vocabulary"] / "words.txt").read_text()
    assert words.splitlines()[:2] == ["tench", "goldfish"]
    assert "names" not in made


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"no pictures at .*; name where it is with --pictures"):
        write_config(tmp_path / "nowhere", tmp_path / "out")
    assert not list(tmp_path.iterdir())
