"""Sites without pictures of their own: captions, links to where images were found, and stand-ins."""

import re
from dataclasses import replace

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import make_job, plant
from site_fixture import inputs_of

from atlas.base.errors import ConfigError, SiteError
from atlas.base.progress import Progress
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config
from atlas.settings.site import SiteSettings
from atlas.site import site
from atlas.site.check import check_site
from atlas.site.page_check import policy_of

HOSTILE = '"><script>alert(1)</script> & a caption'


@pytest.fixture(scope="module")
def linked_atlas(tmp_path_factory):
    """A planted atlas as LAION's rows would give it: captions and urls, no picture."""
    folder = tmp_path_factory.mktemp("linked")
    planted = plant(folder)
    rows = len(planted.x)
    urls = [f"https://www.host{row % 5}.example/{row}/photo.jpg?w=1&h=2" for row in range(rows)]
    urls[0], urls[1], urls[2] = "javascript:alert(1)", "http://plain.example/1.jpg", ""
    captions = [f"A thing number {row}" for row in range(rows)]
    captions[3] = HOSTILE
    table = pa.table({"URL": urls, "TEXT": captions, "punsafe": [0.0] * rows})
    pq.write_table(table, folder / "laion.parquet")
    toml = folder / "atlas.toml"
    named = 'images = "images.parquet"\npictures = "pictures.parquet"\n'
    text = toml.read_text()
    assert named in text
    toml.write_text(text.replace(named, 'images = "laion.parquet"\n'))
    build_atlas(load_config(toml), progress=Progress(silent=True))
    return folder / "build"


def make_site(atlas, folder, **given):
    job = make_job("site", SiteSettings(**given), inputs_of(atlas), folder / "site")
    site.run(replace(job, published_dir=folder / "none"))
    return job.out_dir


def pages(folder):
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*.html")}


def test_rows_with_urls_and_no_pictures_become_a_site_of_links(linked_atlas):
    folder = linked_atlas / "site"
    check_site(folder)
    texts = pages(folder)
    whole = "".join(texts.values())
    assert "thumb/" not in whole
    assert not (folder / "thumb").exists()
    with duckdb.connect(str(linked_atlas / "catalog/atlas.duckdb"), read_only=True) as db:
        ((feature, image),) = db.execute(
            "SELECT feature, image FROM top_images WHERE rank = 0 AND image > 3 ORDER BY feature LIMIT 1"
        ).fetchall()
    page = texts[(folder / f"feature/0/{feature}.html").relative_to(folder)]
    href = f"https://www.host{image % 5}.example/{image}/photo.jpg?w=1&amp;h=2"
    link = f'<a class="source" href="{href}" rel="noopener noreferrer nofollow">'
    assert f"{link}host{image % 5}.example</a>" in page
    assert '<q class="words">A thing number' in page
    assert "javascript:" not in whole
    assert HOSTILE not in whole


def test_nothing_is_loaded_from_elsewhere_unless_the_owner_says_so(linked_atlas, tmp_path):
    for text in pages(linked_atlas / "site").values():
        assert policy_of("") in text
        assert not re.search(r'<img[^>]*src="http', text)
    loaded = make_site(linked_atlas, tmp_path, load_images=True)
    texts = pages(loaded)
    assert all(policy_of("", remote=True) in text for text in texts.values())
    remote = re.findall(r'<img class="remote"[^>]*>', "".join(texts.values()))
    assert remote
    for tag in remote:
        assert 'src="https://' in tag
        assert 'loading="lazy"' in tag
        assert 'referrerpolicy="no-referrer"' in tag


@pytest.mark.parametrize("layout", ["pages", "groups"])
@pytest.mark.parametrize("pictures", ["files", "sheets"])
def test_links_and_captions_stand_in_every_layout(linked_atlas, tmp_path, layout, pictures):
    for images, shown in (("links", True), ("none", False)):
        folder = make_site(
            linked_atlas, tmp_path / images, layout=layout, pictures=pictures, images=images
        )
        check_site(folder)
        features = "".join(path.read_text() for path in (folder / "feature").rglob("*.html"))
        assert ('class="source"' in features) == shown
        assert "A thing number" in features
        assert 'class="hidden-picture stand-in"' in (folder / "browse.html").read_text()


def test_pictures_that_are_not_there_can_not_be_asked_for(linked_atlas, planted_atlas, tmp_path):
    with pytest.raises(ConfigError, match=r"site\.images is thumbnails and there are none"):
        make_site(linked_atlas, tmp_path / "a", images="thumbnails")
    with pytest.raises(ConfigError, match=r"site\.images is links and no image has a url"):
        make_site(planted_atlas, tmp_path / "b", images="links")


def test_a_page_that_loads_a_picture_against_its_policy_is_refused(linked_atlas, tmp_path):
    loaded = make_site(linked_atlas, tmp_path, load_images=True)
    page = next(path for path in loaded.rglob("*.html") if 'class="remote"' in path.read_text())
    whole = page.read_text()
    page.unlink()
    page.write_text(whole.replace(" https:;", ";"))
    with pytest.raises(SiteError, match="content security policy"):
        check_site(loaded)
    page.write_text(whole.replace(' referrerpolicy="no-referrer"', "", 1))
    with pytest.raises(SiteError, match="leads out to"):
        check_site(loaded)
