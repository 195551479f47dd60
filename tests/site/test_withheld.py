"""Nothing withheld or taken down is in anything that is published; canaries prove it."""

import hashlib
import io
import re
import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import atlas, contents, stamps
from PIL import Image
from planted import plant

from atlas.base.errors import ConfigError, SiteError
from atlas.base.progress import Progress
from atlas.inputs.picture import difference_hash
from atlas.inputs.takedown import read_takedown
from atlas.pipeline import build_atlas
from atlas.run.receipt import stage_source
from atlas.settings.load import load_config
from atlas.site import links
from atlas.site.withheld import check_atlas, check_withheld, read_withheld

CANARY = "xqcanary"


def mark(folder):
    """Give every image texts of its own; the withheld ones' are canaries."""
    path = folder / "images.parquet"
    rows = pq.read_table(path).to_pylist()
    for image, row in enumerate(rows):
        word = f"{CANARY} {image}" if row["sensitive"] else f"plainword {image}"
        slug = word.replace(" ", "-")
        row["name"] = f"{slug}.jpg"
        row["caption"] = f'{word} "of" <its> & own, {row["caption"]}'
        row["url"] = f"https://example.org/{slug}.jpg"
        row["tags"] = [f"{word} tag", *row["tags"]]
        row["terms"] = [f"{CANARY} term"] * row["sensitive"] + row["terms"]
    pq.write_table(pa.Table.from_pylist(rows), path)


def build(folder, *changes):
    build_atlas(load_config(folder / "atlas.toml", changes), progress=Progress(silent=True))
    return folder / "build"


@pytest.fixture(scope="module")
def marked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marked")
    plant(folder)
    mark(folder)
    build(folder, "site.tables=all")
    return folder


@pytest.fixture
def copy(marked, tmp_path):
    return shutil.copytree(marked, tmp_path / "atlas")


def published(out):
    """Every text of the site, the catalog's Parquet and its database, by file."""
    found = {}
    for path in sorted([*(out / "site").rglob("*"), *(out / "catalog").rglob("*")]):
        if path.suffix == ".parquet":
            found[path] = str(pq.read_table(path).to_pydict())
        elif path.is_file() and path.suffix not in (".webp", ".duckdb", ".npy"):
            found[path] = path.read_text(errors="replace")
    with duckdb.connect(str(out / "catalog/atlas.duckdb"), read_only=True) as db:
        for (table,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall():
            found[f"duckdb {table}"] = str(db.execute(f"FROM {table}").fetchall())
    return found


def holding(out, text):
    return [str(path) for path, held in published(out).items() if text in held.lower()]


def test_texts_of_withheld_images_are_in_no_output(marked):
    assert holding(marked / "build", CANARY) == []
    assert holding(marked / "build", "plainword")  # what may be shown is there


def test_withheld_features_have_no_labels_in_any_table(marked):
    with duckdb.connect(str(marked / "build/catalog/atlas.duckdb"), read_only=True) as db:
        hidden = "SELECT feature FROM features WHERE sensitive"
        assert db.execute(hidden).fetchall()
        assert db.execute("SELECT count(*) FROM labels").fetchone()[0]
        found = db.execute(f"SELECT * FROM labels WHERE feature IN ({hidden})").fetchall()
    assert found == []


@pytest.mark.parametrize(
    "plant_in",
    ["index.html", "api/v1/index.json", "parquet/images.parquet", "assets/site.css", "new.txt"],
)
def test_the_check_finds_a_withheld_text_in_any_file(copy, plant_in):
    site = copy / "build/site"
    said = f'{CANARY} 7 "of" <its> & own'
    path = site / plant_in
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        rows[0]["name"] = f"{CANARY}-7.jpg"
        pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    elif path.suffix == ".html":
        path.write_text(path.read_text().replace("<main", f'<p title="{CANARY}-7.jpg"></p><main'))
    else:
        kept = path.read_text() if path.exists() else ""
        path.write_text(f'{kept}\n"{CANARY} 7 tag"\n{said}')
    with pytest.raises(SiteError, match=re.escape(plant_in)) as error:
        check_atlas(copy / "build")
    assert CANARY not in str(error.value)


def test_the_check_finds_a_withheld_picture_and_page(copy):
    site = copy / "build/site"
    for address in (links.thumbnail(7), links.image_page(7)):
        path = site / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        with pytest.raises(SiteError, match=re.escape(f"{address} is of image 7")):
            check_atlas(copy / "build")
        path.unlink()
    assert check_atlas(copy / "build") > 100


def test_atlas_check_looks_for_what_is_withheld(copy):
    status, out, _ = atlas("check", copy / "build/site")
    assert (status, out[-1].split(" in ")[0]) == (0, "withheld: nothing of it")
    (copy / "build/site/new.txt").write_text(f"{CANARY}-7.jpg")
    status, _, err = atlas("check", copy / "build/site")
    assert status == 1
    assert "new.txt has a text of a withheld image" in err[-1]


def thumbnail(out, image):
    for path in sorted((out / "embed/parts").glob("thumbnails-*.parquet")):
        table = pq.read_table(path).to_pydict()
        if image in table["image"]:
            return table["webp"][table["image"].index(image)]
    raise AssertionError(image)


def on_a_page(out, n):
    """Images that have a page, repeat none and are repeated by none."""
    pages = [int(path.stem) for path in (out / "site/image").rglob("*.html")]
    copies = pq.read_table(out / "embed/images.parquet").to_pydict()["duplicate_of"]
    return [i for i in sorted(pages) if i > 8 and copies[i] is None and i not in copies][:n]


def test_what_is_taken_down_is_in_no_output_and_little_else_is_rewritten(copy):
    out = copy / "build"
    by_key, by_url, by_caption = on_a_page(out, 3)
    with duckdb.connect(str(out / "catalog/atlas.duckdb"), read_only=True) as db:
        (feature,) = db.execute("SELECT min(feature) FROM labels").fetchone()
    entries = [
        f"key plainword-{by_key}.jpg",
        f"url https://example.org/plainword-{by_url}.jpg",
        f'caption PlainWord {by_caption} "of',
        f"feature {feature}",
    ]
    (copy / "takedown.txt").write_text("# asked for by letter\n\n" + "\n".join(entries) + "\n")
    before = stamps(out / "site")
    build(copy, "site.tables=all", f"catalog.takedown={copy / 'takedown.txt'}")
    for image in (by_key, by_url, by_caption):
        assert holding(out, f"plainword {image} ") == []
        assert holding(out, f"plainword-{image}.jpg") == []
        assert not (out / "site" / links.image_page(image)).exists()
        assert not (out / "site" / links.thumbnail(image)).exists()
    with duckdb.connect(str(out / "catalog/atlas.duckdb"), read_only=True) as db:
        assert db.execute("SELECT * FROM labels WHERE feature = ?", [feature]).fetchall() == []
    assert not (out / "site" / links.icon(feature)).exists()
    assert ">no name</h1>" in (out / "site" / links.feature_page(feature)).read_text()
    lines = (out / "site/takedown.txt").read_text().splitlines()
    assert sorted(lines) == sorted(
        hashlib.sha256(e.casefold().encode() if "caption" in e else e.encode()).hexdigest()
        for e in entries
    )
    after = stamps(out / "site")
    kept = [name for name in before if after.get(name) == before[name]]
    assert len(kept) > 0.3 * len(before)
    assert check_atlas(out) > 100


def test_a_picture_taken_down_is_found_by_its_looks(copy):
    out = copy / "build"
    webp = thumbnail(out, 20)
    with Image.open(io.BytesIO(webp)) as opened:
        bits = difference_hash(opened.convert("RGB")) % 2**64
        opened.convert("RGB").save(copy / "again.png")
    for entry in (f"dhash {bits:016x}", "picture again.png"):
        (copy / "takedown.txt").write_text(entry + "\n")
        build(copy, "catalog.takedown=" + str(copy / "takedown.txt"))
        with duckdb.connect(str(out / "catalog/atlas.duckdb"), read_only=True) as db:
            hidden = [
                i for (i,) in db.execute("SELECT image FROM images WHERE sensitive").fetchall()
            ]
        assert {20, 20 + 48} <= set(hidden)  # the planted pictures repeat
        assert not any((out / "site" / links.thumbnail(image)).exists() for image in hidden)


def test_a_picture_taken_down_that_was_fetched_since_is_named_with_the_line_to_add(copy):
    out = copy / "build"
    webp = thumbnail(out, 20)
    with Image.open(io.BytesIO(webp)) as opened:
        bits = difference_hash(opened.convert("RGB")) % 2**64
    (copy / "takedown.txt").write_text(f"dhash {bits:016x}\n")
    digest = stage_source(out / "embed").digest
    url = "https://example.org/plainword-21.jpg"
    rows = [{"image": 21, "url": url, "webp": webp}]
    (out / "fetched").mkdir()
    pq.write_table(
        pa.Table.from_pylist(rows), out / f"fetched/thumbnails-{digest[:12]}-0000.parquet"
    )
    change = f"catalog.takedown={copy / 'takedown.txt'}"
    with pytest.raises(ConfigError, match=re.escape(f"add to it: url {url}")):
        build(copy, change)
    with (copy / "takedown.txt").open("a") as file:
        file.write(f"url {url}\n")
    build(copy, change)
    assert not (out / "site" / links.thumbnail(21)).exists()


def test_copies_of_an_image_are_taken_down_with_it(copy):
    out = copy / "build"
    copies = pq.read_table(out / "embed/images.parquet").to_pydict()["duplicate_of"]
    twin = next(image for image, first in enumerate(copies) if first is not None)
    (copy / "takedown.txt").write_text(f"url https://example.org/plainword-{twin}.jpg\n")
    build(copy, "catalog.takedown=" + str(copy / "takedown.txt"))
    with duckdb.connect(str(out / "catalog/atlas.duckdb"), read_only=True) as db:
        hidden = {i for (i,) in db.execute("SELECT image FROM images WHERE sensitive").fetchall()}
    assert {twin, copies[twin]} <= hidden


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mail a@b.org", "line 1 begins with 'mail'; write one of key, url"),
        ("sha256 12", "line 1: sha256 needs 64 hex digits, got '12'"),
        ("caption cat", "line 1: caption needs a text of 6 characters or more, got 'cat'"),
        ("feature x", "line 1: feature needs a number, got 'x'"),
        ("picture none.jpg", "none.jpg can't be read"),
        ("url", "line 1: url needs an address, got ''"),
    ],
)
def test_a_line_that_says_nothing_is_refused(tmp_path, line, said):
    (tmp_path / "takedown.txt").write_text(line + "\n")
    with pytest.raises(ConfigError, match=re.escape(said)):
        read_takedown(tmp_path / "takedown.txt")


def test_a_caption_of_a_takedown_list_may_not_even_be_part_of_a_text(copy):
    (copy / "takedown.txt").write_text("caption Jane Q. Doe\n")
    build(copy, "catalog.takedown=" + str(copy / "takedown.txt"))
    with duckdb.connect(str(copy / "build/catalog/atlas.duckdb"), read_only=True) as db:
        withheld = read_withheld(db, copy / "build/embed", copy / "takedown.txt", ())
    (copy / "build/site/new.json").write_text('{"note": "seen with Jane Q. Doe in 1990"}')
    with pytest.raises(SiteError, match=r"new\.json has caption text number 1"):
        check_withheld(copy / "build/site", withheld, ())


def test_a_list_that_is_emptied_brings_everything_back(copy):
    whole = contents(copy / "build/catalog")
    (copy / "takedown.txt").write_text("feature 3\nkey plainword-20.jpg\n")
    build(copy, "site.tables=all", f"catalog.takedown={copy / 'takedown.txt'}")
    assert contents(copy / "build/catalog") != whole
    build(copy, "site.tables=all")
    assert contents(copy / "build/catalog") == whole


@pytest.fixture
def drawn(drawn_atlas, tmp_path):
    return shutil.copytree(drawn_atlas, tmp_path / "drawn")


def name_and_word(out):
    """A feature that may be shown and one of its labels, which is a word of the vocabulary."""
    with duckdb.connect(str(out / "catalog/atlas.duckdb"), read_only=True) as db:
        query = "SELECT feature, label FROM labels WHERE length(label) > 6 ORDER BY feature LIMIT 1"
        return db.execute(query).fetchone()


def test_a_feature_taken_down_has_no_name_in_any_table(drawn):
    out = drawn / "build"
    feature, _ = name_and_word(out)
    (drawn / "takedown.txt").write_text(f"feature {feature}\n")
    build(drawn, f"catalog.takedown={drawn / 'takedown.txt'}")
    for table in ("names", "labels"):
        rows = pq.read_table(out / f"catalog/parquet/{table}.parquet").to_pydict()
        assert feature not in rows["feature"]
        assert rows["feature"]  # others are named
    assert not (out / "site" / links.strip(feature)).exists()
    (out / "site" / links.strip(feature)).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16)).save(out / "site" / links.strip(feature), "WEBP")
    with pytest.raises(SiteError, match=f"is of feature {feature}, which is withheld"):
        check_atlas(out)


def test_a_text_taken_down_is_no_name_and_no_word_of_the_search(drawn):
    out = drawn / "build"
    _, name = name_and_word(out)
    assert name in (out / "catalog/search/vocabulary/words.txt").read_text().splitlines()
    (drawn / "takedown.txt").write_text(f"caption {name.upper()}\n")
    build(drawn, f"catalog.takedown={drawn / 'takedown.txt'}")
    assert holding(out, name) == []
    assert name.encode() not in (out / "catalog/atlas.duckdb").read_bytes()
    words = (out / "catalog/search/vocabulary/words.txt").read_text().splitlines()
    vectors = np.load(out / "catalog/search/vocabulary/vectors.npy")
    assert len(words) == len(vectors) > 0
    given = (drawn / "words/words.txt").read_text().splitlines()
    for word, vector in zip(words, vectors, strict=True):
        at = given.index(word)
        assert (vector == np.load(drawn / "words/vectors.npy")[at]).all()


def test_a_text_taken_down_is_looked_for_in_tags_too(copy):
    path = copy / "images.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[20]["tags"] = ["portrait of Jane Q. Doe"]
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    (copy / "takedown.txt").write_text("caption jane q. doe\n")
    build(copy, "site.tables=all", f"catalog.takedown={copy / 'takedown.txt'}")
    with duckdb.connect(str(copy / "build/catalog/atlas.duckdb"), read_only=True) as db:
        query = "SELECT sensitive FROM images WHERE image = 20"
        assert db.execute(query).fetchone() == (True,)
    assert holding(copy / "build", "jane q. doe") == []


@pytest.mark.parametrize("pictures", ["files", "sheets"])
def test_the_check_knows_a_withheld_picture_by_its_looks(copy, pictures):
    """In a file of its own or a cell of a sheet, made smaller and saved again."""
    out = copy / "build"
    webp = thumbnail(out, 20)
    with Image.open(io.BytesIO(webp)) as opened:
        shown = opened.convert("RGB")
    bits = difference_hash(shown) % 2**64
    (copy / "takedown.txt").write_text(f"dhash {bits:016x}\n")
    change = f"catalog.takedown={copy / 'takedown.txt'}"
    build(copy, change, f"site.pictures={pictures}", "site.thumbnail_px=48")
    assert check_atlas(out) > 100
    if pictures == "files":
        path = out / "site" / links.thumbnail(21)
        whole, at = Image.open(path).convert("RGB"), (0, 0)
        px = whole.width
    else:
        path = out / "site" / links.thumbnail_sheet(0)
        whole, px = Image.open(path).convert("RGB"), 48
        at = (2 * px, px)
    whole.paste(shown.resize((px, px), Image.Resampling.LANCZOS), at)
    path.unlink()  # it may be linked to from elsewhere
    whole.save(path, "WEBP", quality=60)
    with pytest.raises(SiteError, match=r"\.webp looks like image \d+, which is withheld"):
        check_atlas(out)


def test_a_withheld_picture_that_looks_like_a_shown_one_is_no_find(marked):
    """The planted pictures repeat: each sensitive image has twins that may be shown."""
    out = marked / "build"
    rows = pq.read_table(out / "embed/images.parquet").to_pydict()["sensitive"]
    assert any(hidden and not rows[image + 48] for image, hidden in enumerate(rows[:-48]))
    assert check_atlas(out) > 100


def test_the_check_reads_the_catalog_and_its_database(copy):
    path = copy / "build/catalog/atlas.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute(f"UPDATE images SET name = '{CANARY}-7.jpg' WHERE image = 9")
    with pytest.raises(SiteError, match=r"atlas\.duckdb: images\.name has a text of a withheld"):
        check_atlas(copy / "build")


def test_the_page_about_says_whose_pictures_these_are_and_what_is_withheld(copy):
    about = (copy / "build/site/about.html").read_text()
    assert "is not stated; ask before you use them" in about
    assert "thumbnails, 128 pixels wide at most" in about
    assert not re.search(r"<a[^>]*license", about)
    (copy / "takedown.txt").write_text("feature 3\nkey plainword-20.jpg\n")
    build(
        copy,
        f"catalog.takedown={copy / 'takedown.txt'}",
        "catalog.credit=Pictures: <b>someone</b>, CC BY 4.0.",
        "catalog.license_url=https://example.org/license?a=1&b=2",
    )
    about = (copy / "build/site/about.html").read_text()
    assert "Pictures: &lt;b&gt;someone&lt;/b&gt;, CC BY 4.0." in about
    link = '<a href="https://example.org/license?a=1&amp;b=2" rel="license'
    assert about.count(link) == 2  # on the page and in its footer
    assert link in (copy / "build/site/index.html").read_text()
    with duckdb.connect(str(copy / "build/catalog/atlas.duckdb"), read_only=True) as db:
        (n,) = db.execute("SELECT count(*) FROM images WHERE sensitive").fetchone()
    assert f"Of the scanned pictures {n} are withheld" in about
    assert '<a href="takedown.txt">2 hashes</a>' in about
