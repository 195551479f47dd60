"""From heavy stages in one folder to a site below a folder of nginx, by an installation without torch."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from building import atlas
from chromium import PATH

import atlas as package

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(NGINX is None, reason="NO NGINX: on Debian: apt install nginx-light"),
    pytest.mark.skipif(PATH is None, reason="NO BROWSER: on Debian: apt install chromium"),
]
QUERY = """SELECT (SELECT count(*) FROM features) AS n,
    (SELECT value FROM provenance WHERE key = 'title') AS title"""
CONF = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {server}
}}
"""


def documented_server(root: Path, port: int) -> str:
    """The server of docs/hosting.md, with this machine's folder and port."""
    text = (ROOT / "docs" / "hosting.md").read_text()
    (server,) = re.findall(r"<!-- nginx -->\n```nginx\n(.*?)```", text, re.DOTALL)
    return server.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("/srv;", f"{root};")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The `atlas` command of an environment with the wheel, what the core needs, and fsspec."""
    place = tmp_path_factory.mktemp("clean")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", place, ROOT]
    subprocess.run(build, cwd=place, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    python = place / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{wheel}[remote]"], cwd=place, check=True, capture_output=True)
    absent = "from importlib.util import find_spec; import sys; sys.exit(bool(find_spec('torch')))"
    subprocess.run([python, "-c", absent], check=True)

    def run(*arguments: object) -> list[str]:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [place / "venv" / "bin" / "atlas", *map(str, arguments)],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.fixture(scope="module")
def published(command, drawn_atlas, tmp_path_factory):
    """A project of a bundle, published twice below nginx: (project, address, what the second run said)."""
    place = tmp_path_factory.mktemp("publisher")
    bundle, project, root = place / "atlas.zip", place / "project", place / "srv"
    assert atlas("bundle", "--atlas", drawn_atlas / "build", "--out", bundle)[0] == 0
    root.mkdir()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/atlas"
    command("init", project, "--bundle", bundle, "--title", "Before")
    config = project / "atlas.toml"
    text = config.read_text().replace("[site]\n", f'[site]\nbase_url = "{address}"\n')
    config.write_text(text)
    first = command("ci", config, "--site", root / "atlas", "--gzip")
    assert first[0] == "built: catalog, site"
    assert first[-1] == "nothing to compare with"
    conf = place / "nginx.conf"
    conf.write_text(CONF.format(folder=place, server=documented_server(root, port)))
    with subprocess.Popen([NGINX, "-c", conf, "-p", place, "-e", place / "error.log"]) as server:
        try:
            wait_for(f"{address}/index.html")
            config.write_text(config.read_text().replace('"Before"', '"After"'))
            said = command(
                *("ci", config, "--site", root / "atlas", "--gzip"),
                *("--summary", place / "summary.md", "--diff", place / "diff.html"),
            )
            yield project, address, said
        finally:
            server.terminate()


def wait_for(address: str) -> None:
    for _ in range(100):
        try:
            urlopen(address).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(address)


def get(address: str, **headers: str):
    """(status, headers, body) of an address."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(address, headers=named)) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        return error.code, error.headers, error.read()


def test_the_second_run_builds_the_title_alone_and_compares_with_what_is_published(published):
    project, address, said = published
    assert said[0] == "built: catalog, site"
    assert said[-1] == "0 of 96 features changed"
    assert "0 of 96 features changed" in (project.parent / "summary.md").read_text()
    page = (project.parent / "diff.html").read_text()
    assert "<b>Before</b>" in page
    assert "<b>After</b>" in page
    assert b"After" in get(f"{address}/index.html")[2]


def test_the_restored_site_is_checked_and_has_no_raw_input(command, published):
    project, _, _ = published
    said = command("check", project / "build" / "site", "--host", "github")
    assert ", all good; " in said[0]
    assert not list((project / "build").rglob("*.safetensors"))
    assert not list((project / "build" / "embed").rglob("*.npy"))


def test_nginx_sends_compressed_texts_ranges_of_tables_and_says_how_long_to_keep(published):
    _, address, _ = published
    status, headers, body = get(f"{address}/index.html", Accept_Encoding="gzip")
    assert (status, headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == get(f"{address}/index.html")[2]
    assert headers["Cache-Control"] == "no-cache"
    assert (
        get(f"{address}/index.html", If_None_Match=headers["ETag"], Accept_Encoding="gzip")[0]
        == 304
    )
    status, headers, body = get(f"{address}/parquet/features.parquet", Range="bytes=0-3")
    assert (status, body) == (206, b"PAR1")
    icon = next(re.finditer(rb'src="([^"]+\.webp)"', get(f"{address}/index.html")[2]))[1].decode()
    status, headers, _ = get(f"{address}/{icon}")
    assert (status, headers["Cache-Control"]) == (200, "max-age=3600")


def test_a_missing_page_is_the_sites_own(published):
    _, address, _ = published
    status, _, body = get(f"{address}/feature/9/nothing.html")
    assert status == 404
    assert b"Not here" in body


def test_a_browser_finds_everything_below_the_folder(published):
    from playwright.sync_api import sync_playwright

    _, address, _ = published
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = browser.new_context(color_scheme=theme).new_page()
            page.on("console", lambda m: complaints.append(f"{m.type} {m.text}"))
            page.on(
                "response", lambda r: r.status < 400 or complaints.append(f"{r.status} {r.url}")
            )
            for path in (
                "index.html",
                "browse.html",
                "search.html?q=shape",
                "map.html",
                "report.html",
            ):
                page.goto(f"{address}/{path}")
                page.wait_for_load_state("networkidle")
                assert page.locator("h1").count() == 1, path
            page.goto(f"{address}/search.html?q=4")
            page.locator("#found a").first.click()
            page.wait_for_url(f"{address}/feature/0/4.html")
        assert [one for one in complaints if "ViewTransition" not in one] == []
        page.goto(f"{address}/f/4")  # no such file: the site's 404.html leads on
        page.wait_for_url(f"{address}/feature/0/4.html")
        browser.close()


def test_what_is_published_answers_look_ups_and_sql(command, published, drawn_atlas):
    _, address, _ = published
    before = package.open(drawn_atlas / "build")
    assert package.open(address).feature(4) == before.feature(4)
    (answer,) = json.loads("\n".join(command("sql", QUERY, "--atlas", address, "--json")))
    assert answer == {"n": 96, "title": "After"}
    (first, *_) = command("feature", 4, "--atlas", address)
    assert first.startswith(f"{before.id}/f4")


def test_a_changed_name_is_told_against_what_is_published(published, drawn_atlas, tmp_path):
    _, address, _ = published
    elsewhere = shutil.copytree(drawn_atlas, tmp_path / "elsewhere")
    names = tmp_path / "names.csv"
    names.write_text("feature,name\n4,a name of ours\n")
    assert atlas("names", "--from", names, "--atlas", elsewhere / "build")[0] == 0
    status, _, err = atlas("build", elsewhere / "atlas.toml", "catalog")
    assert status == 0, err
    status, out, _ = atlas("diff", address, elsewhere / "build", "--json")
    found = json.loads("\n".join(out))
    changed = {one["feature"]: one["new"]["name"] for one in found["features"]}
    assert (status, changed) == (0, {4: "a name of ours"})
