"""What is withheld, shown to the owner with why; the owner's decisions, read back by the next build."""

import csv
import shutil

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import atlas, built_stages, contents
from chromium import PATH
from planted import HOSTILE, plant

from atlas.base.errors import ConfigError
from atlas.inputs.review import Decision, image_key, match_decisions, read_decisions
from atlas.site import links

UNKNOWN, MARKED = 30, 31
"""Images with a mark that nobody knows, and with one that everybody does."""


def mark(folder):
    path = folder / "images.parquet"
    rows = pq.read_table(path).to_pylist()
    for image, row in enumerate(rows):
        row["rating"] = "safe"
        row["nsfw"] = {UNKNOWN: "hmm <b>", MARKED: "porn"}.get(image, "")
    rows[UNKNOWN]["caption"] = HOSTILE[0]
    rows[MARKED]["caption"] = HOSTILE[4]
    rows[MARKED]["name"] = '"><script>alert(1)</script>.jpg'
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marked")
    plant(folder)
    mark(folder)
    built_stages(folder)
    return folder


@pytest.fixture
def copy(marked, tmp_path):
    return shutil.copytree(marked, tmp_path / "atlas")


def sensitive(folder):
    with duckdb.connect(str(folder / "build/catalog/atlas.duckdb"), read_only=True) as db:
        rows = db.execute("SELECT image FROM images WHERE sensitive ORDER BY image").fetchall()
    return [image for (image,) in rows]


def table(folder):
    return pq.read_table(folder / "build/embed/images.parquet").to_pylist()


def decide(folder, **decisions):
    """Write review.csv: image -> decision, as the page would."""
    rows = table(folder)
    lines = ["image,key,decision"]
    for name, what in decisions.items():
        row = rows[int(name.removeprefix("i"))]
        lines.append(f"{row['image']},{image_key(row['name'], row['url'])},{what}")
    (folder / "review.csv").write_text("\n".join(lines) + "\n")
    return "--set", f"catalog.review={folder / 'review.csv'}"


def test_the_page_shows_what_is_withheld_and_why(copy):
    whole = contents(copy / "build/site")
    (copy / "takedown.txt").write_text(f"# by letter\nkey {table(copy)[40]['name']}\n")
    change = ("--set", f"catalog.takedown={copy / 'takedown.txt'}")
    status, out, _ = atlas("review", copy / "atlas.toml", *change)
    assert status == 0
    marked = [i for i in sensitive(copy) if i != UNKNOWN]
    assert out == [
        "asked: 1",
        f"marked: {len(marked)}",
        "taken down: 1",
        f"open {copy / 'build/review/index.html'}; then name what it saves in catalog.review",
    ]
    page = (copy / "build/review/index.html").read_text()
    assert page.count("<fieldset") == len(marked) + 2
    assert page.index(f'data-image="{UNKNOWN}"') < page.index(f'data-image="{MARKED}"')
    for why in ("nsfw hmm &lt;b&gt;, which is not known", "nsfw porn", "takedown line 2"):
        assert why in page
    assert (copy / f"build/review/pictures/{UNKNOWN}.webp").exists()
    assert contents(copy / "build/site") == whole
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_fewer_images_than_there_are_leave_the_least_urgent_out(copy):
    _, out, _ = atlas("review", copy / "atlas.toml", "--most", "1")
    n = len(sensitive(copy))
    assert out[-2] == f"{n - 1} are left out of the page; see more with --most"
    page = (copy / "build/review/index.html").read_text()
    assert page.count("<fieldset") == 1
    assert f'data-image="{UNKNOWN}"' in page


def test_decisions_change_catalog_and_site_alone(copy):
    before = sensitive(copy)
    assert {UNKNOWN, MARKED} <= set(before)
    shown = next(i for i in range(50, 200) if i not in before)
    change = decide(
        copy, **{f"i{UNKNOWN}": "show", f"i{MARKED}": "unsure", f"i{shown}": "withhold"}
    )
    assert built_stages(copy, *change) == ["catalog", "site"]
    assert sensitive(copy) == sorted({*before, shown} - {UNKNOWN})
    assert not (copy / "build/site" / links.thumbnail(shown)).exists()
    _, out, _ = atlas("review", copy / "atlas.toml", *change)
    assert out[:2] == ["asked: 1", "yours: 2"]  # what was unsure is asked again


def test_what_is_taken_down_stays_so_whatever_was_decided(copy):
    (copy / "takedown.txt").write_text(f"key {table(copy)[40]['name']}\n")
    down = ("--set", f"catalog.takedown={copy / 'takedown.txt'}")
    built_stages(copy, *down, *decide(copy, i40="show"))
    assert 40 in sensitive(copy)


def test_decisions_stay_with_their_images_when_numbers_change(copy):
    rows = table(copy)
    decisions = [
        Decision(2, 0, image_key(rows[17]["name"], rows[17]["url"]), "withhold"),
        Decision(3, 5, "0" * 16, "show"),
        Decision(4, 6, "", "unsure"),
    ]
    decided = match_decisions(decisions, copy / "build/embed/images.parquet")
    assert (decided.images, decided.unmatched) == ({17: "withhold", 6: "unsure"}, (3,))


def test_of_two_images_of_one_key_none_is_shown_and_both_are_withheld(tmp_path):
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [0, 1], "name": ["a", "a"], "url": ["", ""]}), path)
    key = image_key("a", "")
    found = match_decisions([Decision(2, 7, key, "show")], path)
    assert (found.images, found.unmatched) == ({}, (2,))
    found = match_decisions([Decision(2, 7, key, "withhold"), Decision(3, 1, key, "show")], path)
    assert found.images == {0: "withhold", 1: "withhold"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n", "begins with 'a,b', expected 'image,key,decision'"),
        ("", "begins with '', expected"),
        ("image,key,decision\n1,00\n", "line 2 needs an image's number, its key and a decision"),
        ("image,key,decision\n\n-1,00,show\n", "line 3 needs an image's number"),
        (
            "image,key,decision\n1,00,maybe\n",
            "line 2 says 'maybe'; write one of show, withhold, un",
        ),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, text, said):
    (tmp_path / "review.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_decisions(tmp_path / "review.csv")


@pytest.mark.browser
@pytest.mark.skipif(PATH is None, reason="NO BROWSER")
def test_what_the_page_saves_is_what_was_chosen(copy):
    from playwright.sync_api import expect, sync_playwright

    shown = next(i for i in range(50, 200) if i not in sensitive(copy))
    change = decide(copy, **{f"i{shown}": "withhold"})
    with (copy / "review.csv").open("a") as file:
        file.write("7777,00ff00ff00ff00ff,show\n")  # of an image that is not here
    atlas("review", copy / "atlas.toml", *change)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        page = browser.new_page()
        alerts, wrong = [], []
        page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda said: wrong.append(said.text))
        page.goto((copy / "build/review/index.html").as_uri())
        n = len(sensitive(copy)) + 1
        expect(page.locator("#n")).to_have_text(f"1 of {n} decided")
        page.locator("section", has_text="Marked as sensitive").get_by_role(
            "button", name="withhold"
        ).click()
        page.locator(f'[data-image="{UNKNOWN}"] input[value="show"]').check()
        expect(page.locator("#n")).to_have_text(f"{n} of {n} decided")
        with page.expect_download() as download:
            page.locator("#save").click()
        download.value.save_as(copy / "review.csv")
        browser.close()
    assert (alerts, wrong) == ([], [])
    with (copy / "review.csv").open() as file:
        saved = {row["image"]: row["decision"] for row in csv.DictReader(file)}
    assert saved["7777"] == "show"
    assert saved[str(UNKNOWN)] == "show"
    assert saved[str(shown)] == "withhold"
    assert saved[str(MARKED)] == "withhold"
    before = sensitive(copy)
    assert built_stages(copy, *change) == ["catalog", "site"]
    assert sensitive(copy) == sorted({*before, shown} - {UNKNOWN})
