"""Templates."""

import re

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup, escape
from planted import HOSTILE

from atlas.settings.paths import template_root
from atlas.site.page_check import POLICY
from atlas.site.press import BLANK, escape_all, fill, open_templates, pattern, render, set_apart

TEMPLATES = sorted(template_root().glob("*.html.jinja"))


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_escaped_in_elements_and_attributes(tmp_path, text):
    (tmp_path / "x.html.jinja").write_text('<p title="{{ text }}">{{ text }}</p>')
    found = render(open_templates(tmp_path), "x", {"page": "x.html", "text": text})
    assert found.count("<") == 2
    assert found.count('"') == 2


@pytest.mark.parametrize("text", [text for text in HOSTILE if BLANK not in text])
def test_values_that_fill_a_pattern_are_escaped(tmp_path, text):
    (tmp_path / "x.html.jinja").write_text('<p title="{{ text }}">100 %s {{ text }}</p>')
    env = open_templates(tmp_path)
    made = pattern(render(env, "x", {"page": "x.html", "text": BLANK}))
    whole = render(env, "x", {"page": "x.html", "text": text})
    assert fill([made, made], [text] * 4) == whole * 2


def test_a_pattern_takes_as_many_values_as_it_has_places():
    assert fill([], []) == ""
    with pytest.raises(TypeError):
        fill([pattern(BLANK)], ["a", "b"])
    with pytest.raises(ValueError, match="the character that stands for its place"):
        fill([pattern(BLANK)], [f"a{BLANK}b"])


class Other(str):
    """Text of a type of its own, such as NumPy's."""


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_is_no_markup_is_escaped(text):
    assert escape_all([text, Markup("<b>"), Other(text)]) == [escape(text), "<b>", escape(text)]


def test_texts_are_of_no_outline_and_numbers_are():
    def outline(value):
        return set_apart(value, [])

    assert outline({"a": "x", "b": ["y", 1]}) == outline({"a": "longer", "b": [Other("z"), 1]})
    for other in ({"a": "", "b": ["y", 1]}, {"a": "x", "b": ["y", 2]}, {"a": "x", "b": ["y", 1, "z"]}, {"a": Markup("x"), "b": ["y", 1]}):  # fmt: skip
        assert outline({"a": "x", "b": ["y", 1]}) != outline(other)


def test_a_missing_value_is_an_error(tmp_path):
    (tmp_path / "x.html.jinja").write_text("{{ nothing }}")
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        render(open_templates(tmp_path), "x", {"page": "x.html"})


ALONE = {"curves.html.jinja"}
"""Pages of one file, outside a site and its style sheet."""


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_never_switch_escaping_off_or_leave_attributes_unquoted(path):
    source = path.read_text()
    assert not re.search(r"\|\s*safe|autoescape|Markup|xmlattr", source)
    assert not re.search(r"<[^>{]*=\{\{", source)
    assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*src=)", source)
    assert ("<style" in source) == (path.name in ALONE)


def test_every_page_begins_with_the_policy():
    source = (template_root() / "base.html.jinja").read_text()
    pictures = "'self'{% if media %} {{ links.origin(media) }}{% endif %}"
    assert f'content="{POLICY.format(pictures)}"' in source
