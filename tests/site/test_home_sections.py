"""What the home page shows: chosen by rules and digests, never by hand."""

from types import SimpleNamespace

import duckdb
import pytest
from site_fixture import thumbnail_parts

from atlas.settings.site import SiteSettings
from atlas.site.book import read_book
from atlas.site.hash_order import hash_order
from atlas.site.pages.game import PICTURES_A_ROUND, game_section
from atlas.site.pages.home_sections import choose_sections, most_telling
from atlas.site.pages.one_word import flips, of_things, one_word_apart, one_word_section


@pytest.fixture(scope="module")
def drawn(drawn_atlas):
    with duckdb.connect(str(drawn_atlas / "build/catalog/atlas.duckdb"), read_only=True) as db:
        yield db, read_book(db, SiteSettings(), thumbnail_parts(drawn_atlas / "build"))


def test_a_hash_order_is_the_same_on_any_machine():
    assert hash_order(range(6), "round") == hash_order(reversed(range(6)), "round")
    assert hash_order(range(40), "round") != hash_order(range(40), "side")


def test_captions_one_word_apart_are_found_and_no_others():
    captions = {
        4: "a red apple",
        1: "a green apple",
        2: "a red pear",
        3: "red apple",
        5: "a red apple",
    }
    found = [(change.images, change.words) for change in one_word_apart(captions)]
    assert found == [
        ((1, 4), ("green", "red")),
        ((1, 5), ("green", "red")),
        ((2, 4), ("pear", "apple")),
        ((2, 5), ("pear", "apple")),
    ]


@pytest.mark.parametrize(
    ("caption", "tags", "wanted"),
    [
        ("artist: dark skin tone", ["painter"], False),
        ("person taking bath", [], False),
        ("thumbs up", ["hand", "good"], False),
        ("flag: New Zealand", ["country"], True),
        ("red paper lantern", [], True),
    ],
)
def test_one_word_changes_things_and_never_people(caption, tags, wanted):
    assert of_things(caption, tags) is wanted


def test_flips_count_what_fires_on_one_image_alone():
    codes = {0: {1: 3.0, 2: 1.0}, 1: {1: 4.0, 3: 2.0}}
    assert flips(codes, (0, 1)) == (1 - 1 / 3, 1 - 7 / 10)
    assert flips(codes, (0, 0)) == (0, 0)


def test_the_game_shows_nine_pictures_and_the_right_icon_on_either_side(drawn):
    db, book = drawn
    rounds = game_section(db, book)["rounds"]
    assert {a_round.right for a_round in rounds} == {0, 1}
    for a_round in rounds:
        assert len(set(a_round.pictures)) == PICTURES_A_ROUND
        assert len(set(a_round.icons)) == 2
        assert not [image for image in a_round.pictures if _sensitive(db, image)]


def _sensitive(db, address):
    image = int(address.rsplit("/", 1)[1].removesuffix(".webp"))
    return db.execute("SELECT sensitive FROM images WHERE image = ?", [image]).fetchone()[0]


def test_the_opened_picture_is_the_one_whose_concepts_are_named_after_what_it_shows():
    db = duckdb.connect()
    db.execute("""CREATE TABLE examples AS SELECT * FROM (VALUES (1, 0, true), (2, 1, true), (3, 2, true), (4, 3, false)) t(image, rank, drawn)""")  # fmt: skip
    db.execute("""CREATE TABLE images AS SELECT * FROM (VALUES
        (1, ['cat'], 'cat', ['pet']), (2, ['cat', 'tent'], 'cat and tent', []),
        (3, ['cat', 'dog'], 'cat and dog', []), (4, ['cat', 'tent'], 'cat and tent', [])) t(image, terms, caption, tags)""")  # fmt: skip
    db.execute("""CREATE TABLE names AS SELECT * FROM (VALUES (10, 'cat · tabby'), (11, 'pet'), (12, 'tent'), (13, 'bird')) t(feature, name)""")  # fmt: skip
    pairs = [(1, 0, 10), (1, 1, 11), (2, 0, 10), (2, 1, 12), (3, 0, 10), (3, 1, 13), (4, 0, 10), (4, 1, 12)]  # fmt: skip
    db.execute("CREATE TABLE concept_features (image INT, tau VARCHAR, concept INT, feature INT, activation FLOAT)")  # fmt: skip
    for image, concept, feature in pairs:
        db.execute("INSERT INTO concept_features VALUES (?, 'coarse', ?, ?, 2)", [image, concept, feature])  # fmt: skip
        db.execute("INSERT INTO concept_features VALUES (?, 'coarse', ?, 13, 1)", [image, concept])
    assert most_telling(db, SimpleNamespace(drawn={1, 2, 3, 4})) == 2
    assert most_telling(db, SimpleNamespace(drawn={1, 3})) == 1
    assert most_telling(db, SimpleNamespace(drawn=set())) is None


def test_what_changed_lists_features_of_one_image_alone(drawn):
    db, book = drawn
    room = one_word_section(db, book)
    if room is None:
        pytest.skip("the planted captions hold no such pair")
    sides = [{link.feature for link in side["alone"]} for side in room["sides"]]
    assert not sides[0] & sides[1]


def test_without_icons_the_home_page_has_no_game_and_no_knobs(planted_atlas):
    with duckdb.connect(str(planted_atlas / "catalog/atlas.duckdb"), read_only=True) as db:
        rooms = choose_sections(db, read_book(db, SiteSettings(), thumbnail_parts(planted_atlas)))
    assert rooms["game"] is None
    assert rooms["opened"]["knobs"] == []
    assert rooms["opened"]["features"]
