"""The style sheet, scripts and fonts, copied into the site."""

from __future__ import annotations

from atlas.settings.paths import template_root
from atlas.site.output import Output

ASSETS = (
    "site.css",
    "mark.svg",
    "site.js",
    "table.js",
    "search.js",
    "picture.js",
    "sift.js",
    "tip.js",
    "browse.js",
    "map-points.js",
    "map-colors.js",
    "map-panel.js",
    "map.js",
    "game.js",
    "go.js",
    "embed.js",
)
FONTS = ("inter.woff2", "newsreader.woff2", "inter-OFL.txt", "newsreader-OFL.txt")


def write_assets(out: Output) -> None:
    """Copy the style sheet, scripts and fonts."""
    root = template_root()
    for name in ASSETS:
        out.put(f"assets/{name}", (root / name).read_bytes())
    for name in FONTS:
        out.put(f"assets/fonts/{name}", (root / "fonts" / name).read_bytes())
