"""The concepts stage of a planted atlas, its pages, and pictures opened by look-up."""

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from planted import plant
from safetensors.torch import load_file, save_file
from tiny_encoder import save_tiny_encoder

import atlas
from atlas.base.progress import Progress
from atlas.command.app import run
from atlas.concepts.examples import GroupedImage
from atlas.concepts.knobs import choose_drawn
from atlas.concepts.recurring import (
    concept_centers,
    cover,
    find_recurring,
    match,
    nearest_elsewhere,
)
from atlas.inputs.picture import KNOWN
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config


@pytest.fixture(scope="module")
def opening(tmp_path_factory):
    """A planted atlas with an encoder, so that pictures can be opened with it."""
    folder = tmp_path_factory.mktemp("opening")
    planted = plant(folder)
    save_tiny_encoder(folder / "encoder", planted.sae.width)
    text = (folder / "atlas.toml").read_text()
    text = text.replace("[sae]", 'encoder = "encoder"\n\n[sae]', 1)
    (folder / "atlas.toml").write_text(text.replace("examples = 12", "examples = 10\nchosen = [4]"))
    build_atlas(load_config(folder / "atlas.toml"), progress=Progress(silent=True))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder


def rows(folder: Path, query: str):
    with duckdb.connect(str(folder / "build/catalog/atlas.duckdb"), read_only=True) as db:
        return db.execute(query).fetchall()


def test_every_image_is_grouped_and_its_groups_hold_all_its_mass(opening):
    images = rows(opening, "SELECT count(*) FROM images")[0][0]
    assert rows(opening, "SELECT count(*) FROM groupings") == [(2 * images,)]
    off = rows(
        opening,
        """SELECT max(abs(list_sum(g.masses) - i.mass)) FROM groupings g JOIN images i USING (image)
           WHERE k > 0""",
    )
    assert off[0][0] < 1e-4
    assert rows(opening, "SELECT count(*) FROM groupings WHERE len(masses) <> k") == [(0,)]


def test_every_group_weighs_tau_which_is_scaled_by_the_median_mass(opening):
    facts = dict(rows(opening, "SELECT key, value FROM provenance"))
    median = json.loads((opening / "build/scan/scan.json").read_text())["mass_median"]
    assert float(facts["tau_scale"]) == median / 100
    assert float(facts["tau_coarse"]) == pytest.approx(20 * median / 100)
    for tau in ("coarse", "fine"):
        ((least,),) = rows(
            opening, f"SELECT min(list_min(masses)) FROM groupings WHERE tau = '{tau}' AND k > 0"
        )
        assert least >= float(facts[f"tau_{tau}"]) * (1 - 1e-6)


def test_twins_share_a_fine_concept(opening):
    table = pq.read_table(opening / "build/concepts/concept_features.parquet").to_pylist()
    held = {(r["image"], r["feature"]): r["concept"] for r in table if r["tau"] == "fine"}
    twins = [(held[i, f], held[i, f + 1]) for i, f in held if f % 2 == 0 and (i, f + 1) in held]
    apart = sum(one != other for one, other in twins)
    assert len(twins) > 3
    assert apart <= len(twins) / 4


def test_examples_chosen_by_hand_come_first_and_say_so(opening):
    assert rows(opening, "SELECT image, by_hand FROM examples ORDER BY rank")[0] == (4, True)
    assert rows(opening, "SELECT count(*) FROM examples WHERE by_hand") == [(1,)]
    page = (opening / "build/site/image/0/4.html").read_text()
    assert "chosen by hand" in page
    ((other,),) = rows(opening, "SELECT image FROM examples WHERE rank = 1")
    assert "chosen by rule" in (opening / f"build/site/image/0/{other}.html").read_text()


def test_an_example_that_is_not_there_or_sensitive_is_one_line(opening, capsys):
    config = str(opening / "atlas.toml")
    assert run(["build", config, "concepts", "--set", "concepts.chosen=[999]"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "atlas: concepts.chosen names image 999; there are images 0 to 299"
    assert run(["build", config, "concepts", "--set", "concepts.chosen=[7]"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "atlas: concepts.chosen names image 7, which is sensitive; drop it"


def test_a_recurring_concept_has_a_page_of_its_images(opening):
    assert (opening / "build/site/concepts.html").exists()
    ((first,),) = rows(opening, "SELECT n_images FROM recurring_concepts WHERE recurring = 0")
    page = (opening / "build/site/concepts/0.html").read_text()
    assert f"In {first} pictures" in page
    assert first >= 2


def test_any_picture_opens_into_concepts(opening):
    opened = atlas.open(opening / "build")
    found = opened.decompose(opening / "photo.png", tau=0.5)
    assert found.features
    assert found.mass == pytest.approx(sum(f.activation for f in found.features))
    assert all(concept.mass >= 0.5 for concept in found.concepts)
    assert sum(len(c.features) for c in found.concepts) == len(found.features)
    assert found.tau == 0.5


def test_an_opened_picture_is_most_like_itself_among_the_images(opening, capsys):
    opened = atlas.open(opening / "build")
    stored = pq.read_table(opening / "build/embed/images.parquet", columns=["image", "sensitive"])
    hidden = {row["image"] for row in stored.to_pylist() if row["sensitive"]}
    found = opened.decompose(opening / "photo.png", tau=0.5).similar
    assert len(found) == 8
    assert not hidden & {one.image for one in found}
    cosines = [one.cosine for one in found]
    assert cosines == sorted(cosines, reverse=True)
    assert run(["image", str(opening / "photo.png"), "--atlas", str(opening / "build")]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("Images of the atlas that look like it:")
    assert lines[place + 2].split()[0] == str(found[0].image)


def test_the_command_opens_pictures_for_people_and_for_machines(opening, capsys):
    where = ["--atlas", str(opening / "build")]
    assert run(["image", str(opening / "photo.png"), *where]) == 0
    assert capsys.readouterr().out.startswith(f"{opening / 'photo.png'}: ")
    assert run(["image", str(opening / "photo.png"), *where, "--tau", "coarse", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["features"]


def test_a_picture_on_which_nothing_fires_is_one_line(opening, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(opening, copy)
    weights = load_file(copy / "encoder" / "open_clip_model.safetensors")
    weights["visual.proj"] *= 0  # every picture lies where the planted biases keep all silent
    save_file(weights, copy / "encoder" / "open_clip_model.safetensors")
    photo = copy / "photo.png"
    assert run(["image", str(photo), "--atlas", str(copy / "build")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"atlas: no feature fires on {photo}; try a picture more like those of the atlas"
    ]


def test_what_can_not_be_opened_is_one_line(opening, planted_atlas, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    photo, where = str(opening / "photo.png"), str(opening / "build")

    def said(*arguments):
        assert run(["image", *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    broken, none = tmp_path / "broken.png", tmp_path / "none.png"
    assert said(str(broken), "--atlas", where) == (
        f"atlas: cannot read the picture {broken}: it is no {KNOWN}; name a {KNOWN} file"
    )
    assert said(str(none), "--atlas", where) == (
        f"atlas: no picture at {none}; name a {KNOWN} file"
    )
    assert said(photo, "--atlas", where, "--tau", "rough") == (
        "atlas: tau is coarse, fine or a number above 0, not rough"
    )
    assert said(photo, "--atlas", str(planted_atlas)) == (
        f"atlas: {planted_atlas} was built without an encoder, so no picture can be opened; "
        "set embed.encoder and build again"
    )


@given(seed=st.integers(0, 200))
def test_centers_and_matches_are_the_obvious_sums(seed):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(9, 4)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    features, weights = rng.integers(0, 9, 12), rng.exponential(size=12).astype(np.float32)
    concepts = rng.permutation(np.r_[0, 1, 2, rng.integers(0, 3, 9)])
    found = concept_centers(directions, features, weights, concepts, 3)
    for concept in range(3):
        mine = concepts == concept
        whole = (directions[features[mine]] * weights[mine, None]).sum(axis=0)
        np.testing.assert_allclose(found[concept], whole / np.linalg.norm(whole), atol=1e-4)
    nearest, cosine = match(found, found[::-1].copy(), 0.999)
    assert nearest.tolist() == [2, 1, 0]
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_only_concepts_of_several_images_recur_and_the_commonest_comes_first():
    centers = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 2, 2]]
    found = find_recurring(centers, np.array([0, 0, 1, 2, 3, 3]), 0.9, 5)
    np.testing.assert_allclose(found, np.eye(3)[[1]])


def test_the_nearest_concepts_are_of_other_images():
    centers = np.eye(2, dtype=np.float32)
    near, _ = nearest_elsewhere(centers, np.array([0, 1]), centers, np.array([0, 1]), 2)
    assert near.tolist() == [[1, -1], [0, -1]]


def test_examples_cover_features_greedily_and_the_first_of_equal_ones_is_taken():
    starts, features = np.array([0, 1, 3, 4]), np.array([0, 0, 1, 2])
    assert cover(starts, features, np.array([1.0, 1.0, 0.5, 0.4]), 3, 9) == [1, 2, 0]


def test_pictures_that_the_decoder_draws_well_are_turned_first_and_those_named_by_hand_before_them():
    fit = [
        GroupedImage(image, image == 7, np.arange(2), np.ones(2, np.float32), {}, {}, {})
        for image in (3, 5, 7, 9, 11)
    ]
    shown = {3: 0.2, 5: 0.6, 7: 0.0, 9: 0.4, 11: 0.9}
    assert choose_drawn(fit, shown, 1) == {7}
    assert choose_drawn(fit, shown, 3) == {7, 5, 11}
    assert choose_drawn(fit, shown, 4) == {7, 5, 11, 9}
