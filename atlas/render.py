"""Pages from templates. Nothing leaves here unescaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from atlas import links
from atlas.paths import template_root

Templates = Environment
"""What open_templates returns."""
BLANK = "\0"
"""Where a pattern has a place for a value."""
LISTS = ("top", "film", "near")
"""The lists of a feature's small pictures; in a sheet their order, see site.css."""


def open_templates(root: Path | None = None, *, icons_2x: bool = False) -> Templates:
    """Return the environment that renders every page.

    Args:
        root: Folder of the templates; those of this package by default.
        icons_2x: Whether sheets of icons have a second one beside them for dense screens.
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


def pattern(markup: str) -> str:
    """Return rendered markup as a pattern of fill: each BLANK becomes a place for a value."""
    return markup.replace("%", "%%").replace(BLANK, "%s")


def fill(patterns: Sequence[str], values: Sequence[str]) -> Markup:
    """Return patterns one after the other, filled with as many values as they have places.

    Every value is escaped, all in one go: pages of features are tens of thousands, alike but
    for some hundred values each.

    Args:
        patterns: From pattern.
        values: Text; none holds a BLANK, which pages.clean takes out.
    """
    if not patterns:
        return Markup("")
    safe = str.split(escape(BLANK.join(values)), BLANK) if values else []
    return Markup("".join(patterns) % tuple(safe))


class Press:
    """Prints pages of features: their frame and parts are patterns, made once by the templates."""

    def __init__(
        self, env: Templates, frame: Mapping[str, Any], *, thumbnails_2x: bool = False
    ) -> None:
        """Take the templates, and whether a feature's sheet has a second one for dense screens.

        Args:
            env: From open_templates.
            frame: What the frame of every feature's page shows; links count from its "page", see
                links.any_feature_page.
            thumbnails_2x: Whether sheets of thumbnails have a second one beside them.
        """
        self._env = env
        self._thumbnails_2x = thumbnails_2x
        self._frame = frame
        self._to = _way_from(frame)
        self._article = env.get_template("article.html.jinja")
        self._parts = cast(Any, env.get_template("macros.html.jinja").module)
        self._data = self._to(links.DATA)
        self._frames: dict[tuple[bool, bool], tuple[str, str]] = {}
        self._pictures: dict[tuple[bool, bool, bool], str] = {}
        self._relations: dict[int, str] = {}

    def page(self, view: Mapping[str, Any]) -> str:
        """Return the page of one feature, from pages.feature_view."""
        ways = [self._to(view[way]) for way in ("before", "after") if view[way]]
        head, tail = self._frame_of(bool(view["before"]), bool(view["after"]))
        said = [view["title"], view["about"], view["citation"], *ways]
        return f"{fill([head], said)}{self.article(view, rank=1)}{tail}"

    def article(self, view: Mapping[str, Any], rank: int) -> Markup:
        """Return a feature by itself.

        Args:
            view: From pages.feature_view.
            rank: Of its heading, 1 or 2.
        """
        sheet = self._to(view["sheet"]) if view["sheet"] else ""
        drawn = {name: self._list(view[name], sheet, name != "film") for name in LISTS}
        drawn["occurs"] = self._list(view["occurs"], "", True)
        return Markup(
            self._article.render(
                {
                    **view,
                    **drawn,
                    "rank": rank,
                    "to": self._to,
                    "related": self._related,
                    "data": self._data,
                }
            )
        )

    def _frame_of(self, before: bool, after: bool) -> tuple[str, str]:
        """Return what stands above the article, as a pattern, and what stands below it."""
        if (before, after) not in self._frames:
            blank = dict.fromkeys(("title", "about", "citation"), BLANK)
            ways = {"before": BLANK if before else "", "after": BLANK if after else ""}
            page = render(self._env, "feature", {**self._frame, **blank, **ways, "article": BLANK})
            head, tail = page.rsplit(BLANK, 1)
            self._frames[before, after] = pattern(head), tail
        return self._frames[before, after]

    def _list(self, pictures: Sequence[Any], sheet: str, captioned: bool) -> Markup:
        """Return pictures as the items of a list.

        Args:
            pictures: Of type pages.Picture.
            sheet: The sheet that holds them, by their places in the list; empty where each is a file.
            captioned: Whether captions are printed; else they are told to who can't see pictures.
        """
        patterns, values = [], []
        sheets = [sheet, links.twice(sheet)] if self._thumbnails_2x else [sheet]
        for picture in pictures:
            linked = bool(picture.page)
            patterns.append(self._picture(bool(sheet), linked, captioned))
            if linked:
                values.append(self._to(picture.page))
            values += sheets if sheet else [self._to(picture.thumb)]
            told = linked or not captioned
            values.append((picture.caption or f"picture {picture.image}") if told else "")
            if captioned:
                values.append(picture.caption or "no caption")
            values.append(picture.value)
        return fill(patterns, values)

    def _picture(self, in_sheet: bool, linked: bool, captioned: bool) -> str:
        key = in_sheet, linked, captioned
        if key not in self._pictures:
            parts = self._parts
            if in_sheet:
                picture = parts.in_row(BLANK, BLANK if self._thumbnails_2x else "", BLANK)
            else:
                picture = parts.in_file(BLANK, BLANK)
            picture = parts.opening(BLANK, picture) if linked else picture
            item = parts.shown(picture, BLANK, BLANK) if captioned else parts.small(picture, BLANK)
            self._pictures[key] = pattern(item)
        return self._pictures[key]

    def _related(self, items: Sequence[Any]) -> Markup:
        """Return features, of type pages.Link, as the items of a list."""
        patterns = []
        for item in items:
            if item.feature not in self._relations:
                self._relations[item.feature] = self._relation(item)
            patterns.append(self._relations[item.feature])
        return fill(patterns, [item.value for item in items])

    def _relation(self, item: Any) -> str:
        """Return how lists show a feature, as a pattern of its value alone."""
        macros = self._parts
        picture = macros.image(item.thumb, self._to, "", 64) if item.thumb else macros.no_picture()
        name = item.name or "no name"
        return pattern(macros.relation(self._to(item.page), picture, name, BLANK))


def render_group(
    env: Templates, press: Press, frame: Mapping[str, Any], views: Sequence[Mapping[str, Any]]
) -> str:
    """Return a page that shows several features, each as its own page would.

    Args:
        env: From open_templates.
        press: For pages of this layout.
        frame: What the page around them shows.
        views: What each feature shows.
    """
    return render(
        env, "group", {**frame, "articles": [press.article(view, rank=2) for view in views]}
    )
