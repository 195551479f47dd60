"""Pages from templates. Nothing leaves here unescaped."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from atlas.settings.paths import template_root
from atlas.site import links

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
    """Return rendered markup as a pattern of fill: each BLANK becomes a place for a value.

    It is no Markup, which would escape once more what it is filled with.
    """
    return str(markup).replace("%", "%%").replace(BLANK, "%s")


def fill(patterns: Sequence[str], values: Sequence[str]) -> Markup:
    """Return patterns one after the other, filled with as many values as they have places.

    Every value that is not Markup is escaped, all in one go: pages of features are tens of
    thousands, alike but for some hundred values each.

    Args:
        patterns: From pattern.
        values: Text; none holds a BLANK, which pages.clean takes out.
    """
    return Markup("".join(patterns) % tuple(escape_all(values)))


def escape_all(values: Sequence[str]) -> list[str]:
    """Return texts escaped, in one go; what is Markup stays as it is.

    Raises:
        ValueError: A text holds a BLANK.
    """
    texts = [value for value in values if type(value) is not Markup]
    safe = str.split(escape(BLANK.join(texts)), BLANK) if texts else []
    if len(safe) != len(texts):
        raise ValueError("a text of a page holds the character that stands for its place")
    if len(safe) == len(values):
        return safe
    left = iter(safe)
    return [value if type(value) is Markup else next(left) for value in values]


class ArticlePattern(NamedTuple):
    """The article of every view of one outline."""

    pattern: str
    places: list[tuple[int, bool]]
    """Which text stands in each place, and whether it is an address that becomes a link."""


def set_apart(value: Any, texts: list[str]) -> Hashable:
    """Return the outline of a view, and put the texts in it into a list.

    Views of the same outline are the same markup around other texts: a template may ask of a text
    whether it is empty, and how many there are, but not what it says. Numbers are of the outline.
    """
    if isinstance(value, str):
        texts.append(value)
        return bool(value), type(value) is Markup
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return cast(Hashable, value)
    return tuple([set_apart(held, texts) for held in value])


def mark(value: Any, numbers: Iterator[int]) -> Any:
    """Return a view with each text's number between BLANKs in its place, in set_apart's order."""
    if isinstance(value, str):
        number = f"{BLANK}{next(numbers)}{BLANK}"
        return (Markup(number) if type(value) is Markup else number) if value else ""
    if isinstance(value, dict):
        return {key: mark(held, numbers) for key, held in value.items()}
    if isinstance(value, list | tuple):
        held = [mark(one, numbers) for one in value]
        return type(value)(*held) if hasattr(value, "_fields") else held
    return value


LINKED = "to"
"""Stands before the number of an address that becomes a link."""


def mark_linked(number: str) -> str:
    """Return a text's number, from mark, as that of a link."""
    return f"{BLANK}{LINKED}{number.strip(BLANK)}{BLANK}"


class Press:
    """Prints pages of features: frame, article and parts are patterns, made once by the templates."""

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
        self._relation_patterns: dict[int, str] = {}
        self._article_patterns: dict[Hashable, ArticlePattern] = {}

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
        told, texts = self.told(view, rank), list[str]()
        outline = set_apart(told, texts)
        if outline not in self._article_patterns:
            self._article_patterns[outline] = self._article_pattern(told)
        made, places = self._article_patterns[outline]
        values = [self._to(texts[i]) if linked else texts[i] for i, linked in places]
        return Markup(made % tuple(escape_all(values)))

    def _article_pattern(self, told: Mapping[str, Any]) -> ArticlePattern:
        """Return what the template makes of a view, as a pattern for all of its outline."""
        page = self._article.render({**mark(told, count()), "to": mark_linked})
        between, numbers = page.split(BLANK)[::2], page.split(BLANK)[1::2]
        places = [(int(n.removeprefix(LINKED)), n.startswith(LINKED)) for n in numbers]
        return ArticlePattern("%s".join(part.replace("%", "%%") for part in between), places)

    def told(self, view: Mapping[str, Any], rank: int) -> dict[str, Any]:
        """Return what the template of an article is told: lists and pictures as markup.

        Args:
            view: From pages.feature_view.
            rank: Of its heading, 1 or 2.
        """
        sheet = self._to(view["sheet"]) if view["sheet"] else ""
        rendered, icon, image = view["rendered"], view["icon"], self._parts.image
        thumb, alt = icon.thumb if icon else "", ""
        if rendered:
            thumb = rendered["thumb"]
            alt = f"Icon of feature {view['number']}{view['name'] and ', ' + view['name']}"
        return {
            **view,
            **{name: self._list(view[name], sheet, name != "film") for name in LISTS},
            "occurs": self._list(view["occurs"], "", True),
            "neighbors": self._related(view["neighbors"]),
            "coactive": self._related(view["coactive"]),
            "kin": [(title, note, self._related(held)) for title, note, held in view["kin"]],
            "rendered": rendered and {**rendered, "effects": self._related(rendered["effects"])},
            "where": [
                (image(thumb, self._to, caption or "a picture", 128), *shown)
                for thumb, caption, *shown in view["where"]
            ],
            "portrait": image(thumb, self._to, alt, 384, lazy=rank > 1) if thumb else "",
            "icon": icon and {"value": icon.value, "caption": icon.caption},
            "feature": f"{view['feature']}",
            "row": f"{view['row']}",
            "rank": f"{rank}",
            "data": self._data,
        }

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
        cell = links.as_cell(item.thumb) if item.thumb else None
        if cell:
            picture = [f"{number}" for number in cell]
        else:
            picture = [self._to(item.thumb)] if item.thumb else []
        texts = [self._to(item.page), *picture, item.name or "no name"]
        return pattern(self._relation_of(len(picture)) % (*escape_all(texts), BLANK))

    def _relation_of(self, n_texts: int) -> str:
        """Return how lists show features whose pictures take so many texts, as a pattern."""
        if n_texts not in self._relation_patterns:
            macros = self._parts
            if n_texts > 1:
                picture = macros.icon(dict.fromkeys(links.Cell._fields, BLANK), self._to, "")
            else:
                picture = macros.image(BLANK, str, "", 64) if n_texts else macros.no_picture()
            made = pattern(macros.relation(BLANK, picture, BLANK, BLANK))
            self._relation_patterns[n_texts] = made
        return self._relation_patterns[n_texts]


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
