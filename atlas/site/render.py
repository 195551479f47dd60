"""Pages from templates. Nothing leaves here unescaped.

A page is rendered from a view: a dictionary of strings, numbers and addresses that a module of
`pages` returns. Every template is Jinja2's own; there is no cache and no second way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from atlas.settings.paths import template_root
from atlas.site import links

Templates = Environment
"""What open_templates returns."""


def open_templates(
    root: Path | None = None, *, icons_2x: bool = False, thumbnails_2x: bool = False
) -> Templates:
    """Return the environment that renders every page.

    Args:
        root: Folder of the templates; those of this package by default.
        icons_2x: Whether sheets of icons have a second one beside them for dense screens.
        thumbnails_2x: Whether sheets of thumbnails have one.
    """
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
    env.globals["icons_2x"] = icons_2x
    env.globals["thumbnails_2x"] = thumbnails_2x
    return env


def render(env: Templates, template: str, view: Mapping[str, Any]) -> str:
    """Return a page as text.

    Args:
        env: From open_templates.
        template: Name without ending, for instance "feature".
        view: What it shows; its "page" is the page's own address, and `to` in the template
            turns any other address into a relative link; into one from the host's root if the
            view has a "site_root"; a picture's into one at the view's "media", if it has that.
    """
    root = view.get("site_root")
    to = _way_from(view) if root is None else partial(links.rooted, root)
    return env.get_template(f"{template}.html.jinja").render({**view, "to": to})


def _way_from(view: Mapping[str, Any]) -> Callable[[str], str]:
    """Return what makes links on a page of addresses."""
    return partial(links.relative, view["page"], media=view.get("media", ""))


def render_feature(env: Templates, frame: Mapping[str, Any], view: Mapping[str, Any]) -> str:
    """Return the page of one feature.

    Args:
        env: From open_templates.
        frame: From pages.feature.frame_view.
        view: From pages.feature.feature_view.
    """
    to = _way_from(frame)
    own = {name: view[name] for name in ("title", "about", "citation", "says", "card", "oembed")}
    ways = {way: view[way] and to(view[way]) for way in ("before", "after")}
    article = render_article(env, view, to, rank=1)
    shared = {"address": view["page"], **own, **ways}
    return render(env, "feature", {**frame, **shared, "article": article})


def render_group(
    env: Templates, frame: Mapping[str, Any], views: Sequence[Mapping[str, Any]]
) -> str:
    """Return a page that shows several features, each as its own page would.

    Args:
        env: From open_templates.
        frame: From pages.feature.group_view.
        views: From pages.feature.feature_view.
    """
    to = _way_from(frame)
    articles = [render_article(env, view, to, rank=2) for view in views]
    return render(env, "group", {**frame, "articles": articles})


def render_article(
    env: Templates, view: Mapping[str, Any], to: Callable[[str], str], rank: int
) -> Markup:
    """Return a feature by itself.

    Args:
        env: From open_templates.
        view: From pages.feature.feature_view.
        to: Makes the link of an address.
        rank: Of its heading, 1 or 2.
    """
    template = env.get_template("article.html.jinja")
    return Markup(template.render({**view, "rank": rank, "to": to}))
