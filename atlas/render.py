"""Pages from templates. Nothing leaves here unescaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from atlas import links
from atlas.paths import template_root

Templates = Environment
"""What open_templates returns."""


def open_templates(root: Path | None = None) -> Templates:
    """Return the environment that renders every page."""
    env = Environment(
        loader=FileSystemLoader(root or template_root()),
        autoescape=True,  # select_autoescape() would leave *.html.jinja unescaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    env.globals["links"] = links
    return env


def render(env: Templates, template: str, view: Mapping[str, Any]) -> str:
    """Return a page as text.

    Args:
        env: From open_templates.
        template: Name without ending, for instance "feature".
        view: What it shows; its "page" is the page's own address, and `to` in the template
            turns any other address into a relative link.
    """
    to = partial(links.relative, view["page"])
    return env.get_template(f"{template}.html.jinja").render({**view, "to": to})


def render_group(
    env: Templates, frame: Mapping[str, Any], views: Sequence[Mapping[str, Any]]
) -> str:
    """Return a page that shows several features, each by the template of a feature's own page.

    Args:
        env: From open_templates.
        frame: What the page around them shows.
        views: What each feature shows; links count from the frame's page.
    """
    articles = [
        Markup(render(env, "article", {**view, "page": frame["page"], "rank": 2})) for view in views
    ]
    return render(env, "group", {**frame, "articles": articles})
