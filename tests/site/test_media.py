"""A site whose pictures are published elsewhere: files, the check, the server, the plan, and a browser."""

import json
import re
import shutil
import urllib.request
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from chromium import PATH
from planted import make_job
from site_fixture import inputs_of, names_of

from atlas.base.errors import ConfigError, SiteError
from atlas.prepare.site_size import site_tally
from atlas.prepare.sizes import Size
from atlas.settings.load import load_config
from atlas.settings.site import SiteSettings
from atlas.site import links, site
from atlas.site.check import check_host, check_site
from atlas.site.page_check import policy_of
from atlas.site.serve import SiteHandler

ELSEWHERE = "https://pictures.example:8443/my/atlas-1"
JOINED = {"pictures": "sheets"}


def make_site(atlas, folder, **settings):
    inputs = {name: atlas / name for name in ("icons",) if (atlas / name).exists()}
    job = make_job("site", SiteSettings(**settings), inputs_of(atlas) | inputs, folder / "site")
    site.run(replace(job, published_dir=folder / "none"))
    return job.out_dir


@pytest.fixture(scope="module", params=[{}, JOINED], ids=["files", "sheets"])
def pair(request, drawn_atlas, tmp_path_factory):
    """The same site with its pictures beside the pages, and with them elsewhere."""
    folder, atlas = tmp_path_factory.mktemp("media"), drawn_atlas / "build"
    apart = make_site(atlas, folder / "apart", media_base_url=ELSEWHERE, **request.param)
    return make_site(atlas, folder / "together", **request.param), apart


def told_apart(name, text):
    """Return a page of the site with its pictures beside it as one of the other site would be."""
    text = text.replace('data-atlas="', f'data-media="{ELSEWHERE}" data-atlas="', 1)
    text = re.sub(r'(data-media="[^"]*") (data-atlas="[^"]*")', r"\2 \1", text, count=1)
    text = text.replace("img-src 'self'", f"img-src 'self' {links.origin(ELSEWHERE)}", 1)
    folders = "|".join(sorted(links.PICTURE_FOLDERS))
    return re.sub(rf'(src(?:set)?)="(?:\.\./)*((?:{folders})/)', rf'\1="{ELSEWHERE}/\2', text)


def test_only_the_addresses_of_pictures_differ(pair):
    together, apart = (names_of(folder) for folder in pair)
    assert {links.stored(name, ELSEWHERE) for name in together} == apart.keys()
    moved = 0
    for name, path in together.items():
        other = apart[links.stored(name, ELSEWHERE)]
        if name.endswith(".html"):
            assert told_apart(name, path.read_text()) == other.read_text(), name
        elif name.startswith(f"{links.API}/features/"):
            for number, record in json.loads(path.read_text()).items():
                icon = record["icon"] and f"{ELSEWHERE}/{record['icon']}"
                assert json.loads(other.read_text())[number] == record | {"icon": icon}
        elif name == links.ICONS_STYLE:
            assert (
                path.read_text().replace('"../sheet/', f'"{ELSEWHERE}/sheet/') == other.read_text()
            )
        else:
            assert path.read_bytes() == other.read_bytes(), name
            moved += other.is_relative_to(pair[1] / links.MEDIA)
    assert moved > 20


def test_the_check_counts_pictures_apart_and_misses_one_that_is_gone(pair, tmp_path):
    together, apart = check_site(pair[0]), check_site(pair[1])
    assert apart.links == together.links
    assert (apart.files, apart.pictures) == (together.files, apart.files - apart.tally.files)
    assert apart.tally.total_bytes == apart.size_bytes - apart.picture_bytes
    assert f"in media/ for {ELSEWHERE}" in apart.summary()
    assert (together.pictures, together.media) == (0, "")
    copy = shutil.copytree(pair[1], tmp_path / "site")
    named = "".join(path.read_text() for path in (*copy.glob("assets/*.css"), copy / "index.html"))
    gone = re.findall(rf'"{ELSEWHERE}/((?:icon|sheet)/[^"]+)"', named)[0]
    (copy / links.MEDIA / gone).unlink()
    with pytest.raises(SiteError, match=f"{ELSEWHERE}/{gone} leads nowhere: no media/{gone}"):
        check_site(copy)


def test_a_page_may_show_pictures_of_that_address_alone(pair, tmp_path):
    copy = shutil.copytree(pair[1], tmp_path / "site")
    page = copy / "about.html"
    text = page.read_text()
    page.write_text(text.replace("</main>", '<img src="https://pictures.example:8443/x" alt="" width="1" height="1"></main>'))  # fmt: skip
    with pytest.raises(SiteError, match=r"<img> leads out to https://pictures.example:8443/x"):
        check_site(copy)
    page.write_text(text.replace("img-src 'self' https://pictures", "img-src 'self' https: https://pictures"))  # fmt: skip
    with pytest.raises(SiteError, match=r"about.html: the content security policy is not first"):
        check_site(copy)


def test_the_policy_names_the_origin_and_nothing_more():
    assert "img-src 'self' https://pictures.example:8443; font-src" in policy_of(ELSEWHERE)
    assert "img-src 'self'; font-src" in policy_of("")


@pytest.mark.parametrize(
    "url",
    [
        *("pictures.example", "ftp://x.example", "//x.example", "https://x.example/"),
        *("https://me@x.example", "https://x.example/a?b", "https://x.example/a#b"),
        *("https://x.example/a//b", "https://x.example; script-src *", "https://x.example/a,b"),
        *('https://x.example/"><script>', "https://x.example/'unsafe-inline'", "https://x.example\n"),
    ],
)  # fmt: skip
def test_an_address_of_pictures_is_plain(url, tmp_path):
    path = tmp_path / "atlas.toml"
    path.write_text(f"[site]\nmedia_base_url = {json.dumps(url)}\n")
    with pytest.raises(ConfigError, match=r"site.media_base_url") as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_the_plan_counts_what_the_host_gets():
    size = Size(100_000, 1280, 81_920, 1.0, 1.0)
    for pictures in ("files", "sheets"):
        together = site_tally(size, SiteSettings(pictures=pictures), 100)
        apart = site_tally(size, SiteSettings(pictures=pictures, media_base_url=ELSEWHERE), 100)
        assert apart.files < together.files
    assert 80_000 * 0.75 < apart.files < 70_000
    short = site_tally(size, SiteSettings(media_base_url="https://m.example"), 100)
    check_host(short, "github")
    assert short.total_bytes < apart.total_bytes  # every page says the address some sixty times


class Shelf:
    """Folders, each on a port of its own."""

    def __init__(self):
        self.servers = []

    def show(self, folder, handler=SimpleHTTPRequestHandler, **more):
        class Silent(handler):
            def log_message(self, *_):
                pass

        serving = partial(Silent, directory=str(folder), **more)
        self.servers.append(ThreadingHTTPServer(("127.0.0.1", 0), serving))
        Thread(target=self.servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.servers[-1].server_address[1]}"


@pytest.fixture
def shelf():
    held = Shelf()
    yield held
    for server in held.servers:
        server.shutdown()
        server.server_close()


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def test_the_server_shows_the_pictures_that_lie_here(pair, shelf):
    site_dir = pair[1]
    base = shelf.show(site_dir, SiteHandler)
    text = fetch(f"{base}/").decode()
    assert ELSEWHERE not in text
    pictures = re.findall(r'src="(/media/[^"]+)"', text)
    assert len(pictures) > 5
    assert {fetch(f"{base}{picture}")[:4] for picture in pictures} == {b"RIFF"}
    record = json.loads(fetch(f"{base}/api/v1/features/0.json"))
    assert any((one["icon"] or "").startswith("/media/") for one in record.values())
    assert fetch(f"{base}/assets/site.css") == (site_dir / "assets/site.css").read_bytes()


SHOWN = [
    "index.html",
    "feature",
    "browse.html#order=density",
    "search.html?q=shape",
    "map.html#f{}",
]


@pytest.mark.browser
@pytest.mark.skipif(PATH is None, reason="NO BROWSER; on Debian: apt install chromium")
@pytest.mark.parametrize("settings", [{}, JOINED], ids=["files", "sheets"])
def test_pictures_of_another_origin_are_shown(drawn_atlas, tmp_path, shelf, settings):
    from playwright.sync_api import sync_playwright

    pictures = shelf.show(tmp_path / "pictures")
    made = make_site(drawn_atlas / "build", tmp_path, media_base_url=pictures, **settings)
    shutil.move(made / links.MEDIA, tmp_path / "pictures")
    pages = shelf.show(made)
    feature = sorted((made / "feature" / "0").iterdir())[1]
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        for path in SHOWN:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.on("console", lambda m: complaints.append(f"{m.type} {m.text}"))
            page.on("response", lambda r: r.ok or complaints.append(f"{r.status} {r.url}"))
            asked = []
            page.on("request", lambda r, asked=asked: asked.append(r.url))
            name = f"feature/0/{feature.name}" if path == "feature" else path.format(feature.stem)
            page.goto(f"{pages}/{name}")
            page.wait_for_load_state("networkidle")
            loaded = page.evaluate(
                """() => Promise.all(Array.from(document.querySelectorAll("img"), function (image) {
                     image.loading = "eager";
                     return image.decode().then(() => image.naturalWidth);
                   }))"""
            )
            assert all(width > 0 for width in loaded), path
            drawn = [url for url in asked if url.endswith(".webp")]
            assert drawn, path
            assert all(url.startswith(f"{pictures}/") for url in drawn), path
            page.close()
        browser.close()
    skipped = ("ViewTransition opt-in disabled", "Transition was skipped")
    assert [c for c in complaints if not any(words in c for words in skipped)] == []
