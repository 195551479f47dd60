"""What a page says of itself to those who share it: only where the site knows its address."""

import json
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from chromium import PATH
from planted import make_job
from site_fixture import column, inputs_of

from atlas.base.errors import SiteError
from atlas.settings.site import SiteSettings
from atlas.site import links, site
from atlas.site.check import check_site

BASE = "https://example.org/my/atlas"
UNSHARED = (links.NOT_FOUND, links.SHORT, links.EMBED)


def build(atlas, folder, **settings):
    job = make_job(
        "site", SiteSettings(base_url=BASE, **settings), inputs_of(atlas), folder / "site"
    )
    site.run(job)
    return job.published_dir if (job.published_dir / "index.html").exists() else job.out_dir


@pytest.fixture(scope="module")
def shared(planted_atlas, tmp_path_factory):
    """The planted site, knowing its address."""
    return build(planted_atlas, tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def shared_groups(planted_atlas, tmp_path_factory):
    """The same in groups, with joined pictures."""
    folder = tmp_path_factory.mktemp("shared_groups")
    return build(planted_atlas, folder, layout="groups", pictures="sheets")


def head_of(path):
    text = path.read_text()
    return text[: text.index("</head>")]


def told(head, name):
    return re.findall(rf'<meta (?:property|name)="{name}" content="([^"]*)">', head)


@pytest.mark.parametrize("layout", ["shared", "shared_groups"])
def test_every_page_says_its_full_address_and_a_picture_that_is_there(request, layout):
    folder = request.getfixturevalue(layout)
    pages = [p for p in folder.rglob("*.html") if p.relative_to(folder).as_posix() not in UNSHARED]
    assert len(pages) > 20
    for path in pages:
        head, name = head_of(path), path.relative_to(folder).as_posix()
        assert re.findall(r'<link rel="canonical" href="([^"]*)">', head) == [f"{BASE}/{name}"]
        assert told(head, "og:url") == [f"{BASE}/{name}"]
        assert len(told(head, "og:title")) == len(told(head, "og:description")) == 1
        (picture,) = told(head, "og:image")
        assert (folder / picture.removeprefix(f"{BASE}/")).exists()
        assert len(told(head, "twitter:card")) == 1


def test_a_site_that_does_not_know_its_address_says_nothing_of_it(planted_atlas):
    folder = planted_atlas / "site"
    for path in folder.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r'canonical|"og:|twitter:|oembed|<iframe|copy the link', text), path
    assert not (folder / links.EMBED).exists()
    assert not (folder / "oembed").exists()
    assert not (folder / links.CARD).exists()


def test_a_feature_s_page_leads_to_its_record_of_oembed(shared, db):
    for feature in column(db, "SELECT feature FROM features WHERE alive ORDER BY feature"):
        head = head_of(shared / links.feature_page(feature))
        (address,) = re.findall(r'type="application/json\+oembed" href="([^"]*)"', head)
        record = json.loads((shared / address.removeprefix(f"{BASE}/")).read_text())
        assert (record["version"], record["type"]) == ("1.0", "rich")
        assert f'src="{BASE}/{links.EMBED}#{feature}"' in record["html"]
        assert f'width="{record["width"]}" height="{record["height"]}"' in record["html"]


def test_a_page_that_says_another_s_address_or_a_lost_picture_is_found(
    shared, planted_atlas, tmp_path
):
    copy = tmp_path / "site"
    shutil.copytree(shared, copy)
    page = copy / "about.html"
    text = page.read_text()
    page.write_text(
        text.replace(f'canonical" href="{BASE}/about.html', f'canonical" href="{BASE}/map.html')
    )
    with pytest.raises(SiteError, match=r"about.html: .*map.html is not the page's own"):
        check_site(copy)
    page.write_text(text.replace("assets/card.webp", "assets/none.webp"))
    with pytest.raises(SiteError, match=r"assets/none.webp leads nowhere"):
        check_site(copy)


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.browser
@pytest.mark.skipif(PATH is None, reason="NO BROWSER: on Debian: apt install chromium")
@pytest.mark.parametrize("layout", ["shared", "shared_groups"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_frame_shows_the_feature_that_its_address_names(request, browser, db, layout, theme):
    folder = request.getfixturevalue(layout)
    (feature,) = column(db, "SELECT max(feature) FROM features WHERE alive AND NOT sensitive")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder.parent))
    Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context(viewport={"width": 360, "height": 440}, color_scheme=theme)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/{folder.name}/{links.EMBED}#{feature}")
    page.locator("p", has_text=f"Feature {feature} fires on").wait_for()
    page.wait_for_load_state("networkidle")
    layout_name = "groups" if layout == "shared_groups" else "pages"
    assert (
        page.locator("h1 a")
        .evaluate("a => a.href")
        .endswith(links.feature_page(feature, layout_name))
    )
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.locator(".nine > *").count() >= 1
    assert complaints == []
    context.close()
    server.shutdown()
    server.server_close()
