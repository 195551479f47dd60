"""Names of a site's files, on hosts and systems that refuse some."""

import pytest

from atlas.base.files import list_files
from atlas.site import links
from atlas.site.names import NO_JEKYLL, name_problems
from atlas.site.search_index import file_name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("assets/con.js", "can not be a file's name on Windows"),
        ("assets/Aux", "can not be a file's name on Windows"),
        ("a:b.html", "can not be a file's name on Windows"),
        ("end.", "can not be a file's name on Windows"),
        ("assets/_.js", "dropped by Jekyll"),
    ],
)
def test_a_name_that_some_host_or_system_lacks_is_a_problem(name, said):
    (problem,) = name_problems([name])
    assert said in problem


def test_names_that_differ_in_case_alone_are_a_problem_and_others_are_none():
    assert list(name_problems(["a/B.js", "a/b.js"])) == ["a/b.js and a/B.js differ in case alone"]
    assert list(name_problems([NO_JEKYLL, "_redirects", "assets/wcon.js", "icon/1.webp"])) == []


def test_a_site_has_no_such_name(planted_atlas):
    site = planted_atlas / "site"
    assert (
        list(name_problems([path.relative_to(site).as_posix() for path in list_files(site)])) == []
    )
    hostile = [links.search_script(file_name(word)) for word in ("", "con", "aux", "é", "l p")]
    assert list(name_problems(hostile)) == []
