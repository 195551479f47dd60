"""Pictures in terminals, each by its protocol."""

import pytest
from PIL import Image

from atlas.lookup.terminal import protocol_of, show_picture


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "1"}, "blocks"),
        ({"TERM": "dumb"}, "none"),
        ({}, "none"),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm-kitty", "NO_COLOR": ""}, "kitty"),
    ],
)
def test_a_terminal_is_known_by_its_own_variables(environment, protocol):
    assert protocol_of(environment) == protocol


@pytest.mark.parametrize(
    ("protocol", "start"),
    [
        ("kitty", "\x1b_G"),
        ("iterm", "\x1b]1337;File="),
        ("sixel", "\x1bPq"),
        ("blocks", "\x1b[38;2;"),
    ],
)
def test_each_protocol_begins_as_its_terminal_expects(tmp_path, protocol, start):
    path = tmp_path / "a.webp"
    Image.new("RGB", (32, 32), "red").save(path)
    assert show_picture(path, protocol).startswith(start)
    assert show_picture(path, "none") == show_picture(tmp_path / "no.webp", protocol) == ""
