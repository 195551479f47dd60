"""The check of a finished site: what it counts, what it names, and what it reads again."""

import os
import re
import shutil

import pytest

from atlas.base.errors import MissingError, SiteError
from atlas.base.files import list_files
from atlas.site.check import check_site


def test_the_check_passes_and_counts(site):
    checked = check_site(site)
    assert checked.pages == len(list(site.rglob("*.html")))
    assert checked.files == len(list_files(site))
    assert checked.links > checked.pages * 10


DAMAGES = {
    "leads nowhere": lambda text: text.replace('href="report.html"', 'href="reports.html"', 1),
    "no such anchor": lambda text: text.replace('href="report.html"', 'href="report.html#x"', 1),
    "is not relative": lambda text: text.replace('href="report.html"', 'href="/report.html"', 1),
    "an inline script": lambda text: text.replace("</main>", "<script>1</script></main>"),
    "has onclick": lambda text: text.replace("<main", '<main onclick="x()"'),
    "has style": lambda text: text.replace("<main", '<main style="color:red"'),
    "an inline style sheet": lambda text: text.replace("</main>", "<style></style></main>"),
    "without alt": lambda text: text.replace(' alt="', ' data-alt="', 1),
    "leads out": lambda text: text.replace('href="report.html"', 'href="https://example.org"', 1),
    "policy is not first": lambda text: text.replace("default-src 'none'", "default-src *"),
    "2 headings of the first rank": lambda text: text.replace("</main>", "<h1>x</h1></main>"),
    "is there twice": lambda text: text.replace("</main>", '<p id="content"></p></main>'),
    "a control character": lambda text: text.replace("</main>", "\x07</main>"),
    "no language": lambda text: text.replace(' lang="en"', ""),
    "gives an attribute twice": lambda text: text.replace("<main ", '<main id="content" ', 1),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_the_check_names_page_and_problem(site, tmp_path, problem):
    copy = shutil.copytree(site, tmp_path / "site")
    page = copy / "index.html"
    text = page.read_text()
    damaged = DAMAGES[problem](text)
    assert damaged != text
    page.write_text(damaged)
    with pytest.raises(SiteError, match=re.escape(problem)) as raised:
        check_site(copy)
    assert "index.html" in str(raised.value)


def test_the_check_needs_a_site(tmp_path):
    with pytest.raises(MissingError, match="no site at"):
        check_site(tmp_path)


@pytest.fixture
def again(site, tmp_path):
    """The same site once more, of the same files."""
    return shutil.copytree(site, tmp_path / "again", copy_function=os.link)


def rewrite(page, old, new):
    text = page.read_text()
    assert old in text
    page.unlink()
    page.write_text(text.replace(old, new, 1))


def test_a_page_that_was_checked_is_not_read_again(site, again):
    assert check_site(again).read == check_site(again).pages
    assert check_site(again, site).read == 0
    rewrite(again / "about.html", "</main>", "</main><!-- -->")
    checked = check_site(again, site)
    assert (checked.read, checked.pages) == (1, check_site(site).pages)
    assert f"{checked.pages - 1:,} unchanged" in checked.summary()
    rewrite(again / "about.html", 'href="map.html"', 'href="index.html#none"')
    with pytest.raises(SiteError, match=r"about.html: index.html#none: no such anchor"):
        check_site(again, site)


def test_pages_that_were_checked_are_read_again_where_what_they_lead_to_is_gone(site, again):
    rewrite(again / "families.html", 'id="c0"', 'id="c-0"')
    with pytest.raises(SiteError, match=r"families.html#c0: no such anchor"):
        check_site(again, site)
    rewrite(again / "families.html", 'id="c-0"', 'id="c0"')
    assert check_site(again, site).read == 1
    (again / "report.html").unlink()
    with pytest.raises(SiteError, match=r"report.html leads nowhere"):
        check_site(again, site)
