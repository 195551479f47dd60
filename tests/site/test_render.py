"""Templates."""

import re

import pytest
from jinja2 import UndefinedError
from planted import HOSTILE

from atlas.settings.paths import template_root
from atlas.site.page_check import POLICY
from atlas.site.render import open_templates, render

TEMPLATES = sorted(template_root().glob("*.html.jinja"))


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_escaped_in_elements_and_attributes(tmp_path, text):
    (tmp_path / "x.html.jinja").write_text('<p title="{{ text }}">{{ text }}</p>')
    found = render(open_templates(tmp_path), "x", {"page": "x.html", "text": text})
    assert found.count("<") == 2
    assert found.count('"') == 2


def test_a_missing_value_is_an_error(tmp_path):
    (tmp_path / "x.html.jinja").write_text("{{ nothing }}")
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        render(open_templates(tmp_path), "x", {"page": "x.html"})


ALONE = {"curves.html.jinja", "diff.html.jinja"}
"""Pages of one file, outside a site and its style sheet."""
ELSEWHERE = ALONE | {"tune.html.jinja", "judge.html.jinja", "review.html.jinja"}
"""Pages outside a site."""


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_never_switch_escaping_off_or_leave_attributes_unquoted(path):
    source = path.read_text()
    assert not re.search(r"\|\s*safe|autoescape|Markup|xmlattr", source)
    assert not re.search(r"<[^>{]*=\{\{", source)
    assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*src=)", source)
    assert ("<style" in source) == (path.name in ALONE)


def test_every_page_begins_with_the_policy():
    pictures = (
        "'self'{% if media %} {{ links.origin(media) }}{% endif %}{% if remote %} https:{% endif %}"
    )
    source = (template_root() / "policy.html.jinja").read_text()
    assert f'content="{POLICY.format(pictures)}"' in source
    for path in TEMPLATES:
        text = path.read_text()
        if "<head>" in text and path.name not in ELSEWHERE:
            head = text[text.index("<head>") :]
            first = '<head>\n<meta charset="utf-8">\n{% include "policy.html.jinja" %}\n'
            assert head.startswith(first), path.name
