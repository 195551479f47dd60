"""Show a picture in a terminal, by its own graphics protocol or in half blocks."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

CELLS = 16
"""Width of a picture in columns; a column is half as wide as a line is high."""
PIXELS_A_CELL = 10
KITTY_CHUNK = 4096
"""Characters that the Kitty protocol takes at once."""
SIXEL_COLORS = 64
ESC = "\x1b"


def protocol_of(environment: Mapping[str, str]) -> str:
    """Return how a terminal takes pictures: kitty, iterm, sixel, blocks or none.

    Args:
        environment: Variables that terminals set of themselves.
    """
    if environment.get("NO_COLOR"):  # https://no-color.org; a picture is nothing but color
        return "none"
    term = environment.get("TERM", "")
    program = environment.get("TERM_PROGRAM", "").lower()
    if not term or term == "dumb":
        return "none"
    inside = "TMUX" in environment or term.startswith("screen")
    if not inside and (
        "kitty" in term or "KITTY_WINDOW_ID" in environment or "ghostty" in (term + program)
    ):
        return "kitty"
    if not inside and program in ("iterm.app", "wezterm"):
        return "iterm"
    if not inside and ("sixel" in term or term.startswith(("foot", "mlterm", "contour"))):
        return "sixel"
    return "blocks"


def show_picture(path: Path, protocol: str) -> str:
    """Return the text that makes a terminal show a picture; empty where it can't.

    Args:
        path: A WebP file.
        protocol: As protocol_of returns it.
    """
    if protocol == "none" or not path.exists():
        return ""
    with Image.open(path, formats=("WEBP",)) as opened:
        picture = opened.convert("RGB")
    return {"kitty": _kitty, "iterm": _iterm, "sixel": _sixel, "blocks": _blocks}[protocol](picture)


def _png(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def _kitty(picture: Image.Image) -> str:
    text = base64.standard_b64encode(_png(picture)).decode("ascii")
    chunks = [text[start : start + KITTY_CHUNK] for start in range(0, len(text), KITTY_CHUNK)]
    parts = []
    for i, chunk in enumerate(chunks):
        head = f"a=T,f=100,c={CELLS},r={CELLS // 2}," if i == 0 else ""
        parts.append(f"{ESC}_G{head}m={int(i + 1 < len(chunks))};{chunk}{ESC}\\")
    return "".join(parts) + "\n"


def _iterm(picture: Image.Image) -> str:
    data = _png(picture)
    text = base64.standard_b64encode(data).decode("ascii")
    head = f"inline=1;size={len(data)};width={CELLS};height={CELLS // 2}"
    return f"{ESC}]1337;File={head}:{text}\x07\n"


def _sixel(picture: Image.Image) -> str:
    side = CELLS * PIXELS_A_CELL // 6 * 6
    small = picture.resize((side, side)).quantize(SIXEL_COLORS)
    palette = small.getpalette() or []
    pixels = small.tobytes()
    parts = [f"{ESC}Pq"]
    for color in range(len(palette) // 3):
        r, g, b = (round(level * 100 / 255) for level in palette[3 * color : 3 * color + 3])
        parts.append(f"#{color};2;{r};{g};{b}")
    for top in range(0, side, 6):
        band = [pixels[(top + row) * side : (top + row + 1) * side] for row in range(6)]
        for color in sorted({pixel for line in band for pixel in line}):
            bits = (
                sum(1 << row for row in range(6) if band[row][column] == color)
                for column in range(side)
            )
            parts.append(f"#{color}{''.join(chr(63 + bit) for bit in bits)}$")
        parts.append("-")
    return "".join(parts) + f"{ESC}\\\n"


def _blocks(picture: Image.Image) -> str:
    """Return two pixels a character: the upper one as ink, the lower one as ground."""
    small = picture.resize((CELLS, CELLS), Image.Resampling.LANCZOS)
    lines = []
    for top in range(0, CELLS, 2):
        cells = []
        for column in range(CELLS):
            ink, ground = (small.getpixel((column, top + row)) for row in (0, 1))
            assert isinstance(ink, tuple)
            assert isinstance(ground, tuple)
            cells.append(
                f"{ESC}[38;2;{';'.join(map(str, ink))}m{ESC}[48;2;{';'.join(map(str, ground))}m▀"
            )
        lines.append("".join(cells) + f"{ESC}[0m")
    return "\n".join(lines) + "\n"
