"""The embedded demo: complete, licensed, split by base picture, and what its README says."""

import io
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from atlas.base.files import digest_file, list_files
from atlas.demo.evaluate import read_queries
from atlas.demo.pictures import TONES
from atlas.inputs.compositions import open_pictures, read_recipes
from atlas.inputs.encoder import embed_images, load_encoder

DATA = Path(__file__).parents[2] / "data"
DEMO = DATA / "demo"
README = (DATA / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def images():
    return pq.read_table(DEMO / "images.parquet").to_pydict()


def test_every_file_is_what_the_manifest_says():
    held = json.loads((DEMO / "manifest.json").read_text())
    found = {
        path.relative_to(DEMO).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": digest_file(path),
        }
        for path in list_files(DEMO)
        if path.name != "manifest.json"
    }
    assert found == held


def test_every_file_has_its_line_in_the_readme():
    for path in list_files(DEMO):
        name = path.relative_to(DEMO).as_posix()
        assert path.name in README or f"{name.split('/')[0]}/*" in README, name


def test_all_of_it_stays_under_sixty_megabytes():
    assert sum(path.stat().st_size for path in list_files(DEMO)) < 60e6


def test_the_readme_s_figures_are_the_measured_ones():
    for figure in json.loads((DEMO / "figures.json").read_text())["figures"]:
        (line,) = [row for row in README.split("\n") if row.startswith(f"| {figure['name']} |")]
        value = float(line.split("|")[2].replace(",", ""))
        assert value == pytest.approx(figure["value"], abs=0.051 if value > 1 else 0.0006)
        assert f"| {figure['n']:,} |" in line


def test_skin_tones_are_named_by_how_bright_they_are():
    """Of hands in their whole order; of people, whose hair changes too, in the order from medium-light."""
    columns = ["webp", "term", "base", "gender", "skin_tone", "subgroup"]
    hands, people = defaultdict(dict), defaultdict(dict)
    for row in pq.read_table(DEMO / "pictures.parquet", columns=columns).to_pylist():
        if row["skin_tone"]:
            pixels = np.asarray(Image.open(io.BytesIO(row["webp"])).convert("RGBA"), float)
            kind = hands if row["subgroup"].startswith("hand") else people
            variant = kind[row["base"], row["gender"], row["term"]]
            variant[row["skin_tone"]] = pixels[pixels[..., 3] > 200][:, :3].mean()

    def in_order(variant, tones):
        brightness = [variant[tone] for tone in tones]
        return brightness == sorted(brightness, reverse=True)

    tones = list(TONES.values())
    assert len(hands) == 18
    assert all(in_order(variant, tones) for variant in hands.values())
    assert np.mean([in_order(variant, tones[1:]) for variant in people.values()]) > 0.9


def test_variants_of_a_picture_are_all_on_one_side():
    table = pq.read_table(DEMO / "pictures.parquet", columns=["base", "split"]).to_pylist()
    sides = defaultdict(set)
    for row in table:
        sides[row["base"]].add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    assert {next(iter(side)) for side in sides.values()} == {"train", "heldout"}


def test_no_image_mixes_the_two_sides(images):
    split = pq.read_table(DEMO / "pictures.parquet", columns=["split"])["split"].to_pylist()
    recipes = read_recipes(DEMO / "compositions.parquet")
    assert len(recipes) == len(images["split"]) >= 20_000
    for recipe, side in zip(recipes, images["split"], strict=True):
        assert {split[placed.picture] for placed in recipe.placed} == {side}


def test_embeddings_are_raw_and_finite():
    for path in sorted((DEMO / "embeddings").glob("*.npy")):
        x = np.load(path).astype(np.float32)
        assert np.isfinite(x).all()
        lengths = np.linalg.norm(x, axis=1)
        assert lengths.std() > 0.5
        assert lengths.min() > 2


def test_the_encoder_makes_the_shipped_embeddings():
    source = open_pictures(DEMO / "pictures.parquet", DEMO / "compositions.parquet")
    encoder = load_encoder(DEMO / "encoder")
    chosen = [0, 1700, 5499]
    shipped = np.load(DEMO / "embeddings" / "0000.npy")[chosen].astype(np.float32)
    found = embed_images(encoder, [source.draw(i, encoder.image_px) for i in chosen])
    off = np.linalg.norm(found - shipped, axis=1) / np.linalg.norm(shipped, axis=1)
    assert off.max() < 0.02


def test_there_are_fifty_queries_and_twenty_later_ones_each_with_what_answers_it():
    queries = [*read_queries(), *read_queries("later")]
    assert len(queries) == 70 == len({query.text for query in queries})
    assert all(query.all and all(query.all) for query in queries)


def test_the_sae_keeps_the_promises_of_its_size():
    figures = {
        f["name"]: f["value"]
        for f in json.loads((DEMO / "sae/figures.json").read_text())["figures"]
    }
    assert figures["sae_heldout_alive"] >= 1000
    assert figures["sae_heldout_pictures_a_feature"] >= 20
    assert figures["sae_heldout_single_pictures_a_feature"] >= 2
    assert 4 <= figures["sae_heldout_l0_mean"] <= 60
    assert figures["sae_heldout_explained_variance"] >= 0.6
