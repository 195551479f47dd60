"""The command line beside its documentation."""

import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import typer

from atlas.command.app import run
from atlas.command.options import app
from atlas.site.serve import serve_folder

TABLE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
COMMANDS = sorted(typer.main.get_command(app).commands)


def test_the_table_names_every_command_and_no_other():
    table = TABLE[TABLE.index("| command | what it does |") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `atlas ([a-z]+)", table, re.MULTILINE)) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert run([command, "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


def test_wrong_usage_ends_with_two(capsys):
    assert run(["feature"]) == 2
    assert run(["feature", "x"]) == 2
    assert run(["fly"]) == 2
    assert run(["search", "x", "--limit", "0"]) == 2


def test_a_build_of_nothing_and_of_two_things_is_wrong_usage(tmp_path, capsys):
    assert run(["build"]) == 2
    assert "build needs CONFIG, or --pictures DIR and --out DIR" in capsys.readouterr().err
    assert run(["build", "--from", str(tmp_path)]) == 2


@pytest.mark.parametrize("command", [[], ["build"], ["export", "directions"]])
def test_help_has_a_short_form(command, capsys):
    assert run([*command, "-h"]) == 0
    short = capsys.readouterr().out
    assert run([*command, "--help"]) == 0
    assert short == capsys.readouterr().out


def test_commands_can_be_completed(capsys, monkeypatch):
    monkeypatch.setenv("_ATLAS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "atlas neigh")
    monkeypatch.setenv("COMP_CWORD", "1")
    code = "import sys; sys.argv = ['atlas']; from atlas.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "neighbors\n"


def test_look_ups_ask_the_atlas_of_the_current_folder(planted_atlas, tmp_path, capsys, monkeypatch):
    config = tmp_path / "atlas.toml"
    config.write_text(f"out_dir = '{planted_atlas}'\n")
    answers = []
    for folder in (planted_atlas, planted_atlas / "site", tmp_path):
        monkeypatch.chdir(folder)
        assert run(["sql", "SELECT count(*) FROM features"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers == 3 * ["count_star()\n96\n"]
    config.write_text("not TOML")
    assert run(["report"]) == 1
    assert capsys.readouterr().err == (
        "atlas: no atlas at build/demo; build one with: atlas build CONFIG\n"
    )


def test_the_version_is_the_package_s(capsys):
    from atlas import __version__

    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"feature-atlas {__version__}\n"


def test_serve_shows_the_site_to_this_machine_only(planted_atlas):
    command = [sys.executable, "-u", "-m", "atlas", "serve", "--port", "0"]
    with subprocess.Popen(
        [*command, "--atlas", str(planted_atlas)], stdout=-1, stderr=-1, text=True
    ) as process:
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line).group()
        with urllib.request.urlopen(f"{address}/index.html") as answer:
            assert b"SYNTHETIC" in answer.read()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert said == "\natlas: stopped\n", "there is nothing to resume"


def test_serve_shows_what_a_build_has_put_in_place(planted_atlas, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(planted_atlas / "site", site)
    told = queue.SimpleQueue()
    serving = partial(serve_folder, site, 0, announce=told.put)
    threading.Thread(target=serving, daemon=True).start()
    address = re.search(r"http://127\.0\.0\.1:\d+", told.get(timeout=60)).group()
    with urllib.request.urlopen(f"{address}/about.html") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
    shutil.copytree(site, tmp_path / "new")
    for name in ("index.html", "about.html"):
        page = tmp_path / "new" / name
        page.write_text(
            page.read_text().replace("<html ", '<html data-media="https://p.example" ')
            + '"https://p.example/thumb/0/1.webp"'
        )
    site.rename(tmp_path / "old")
    (tmp_path / "new").rename(site)
    with urllib.request.urlopen(f"{address}/about.html") as answer:
        assert answer.read().endswith(b'"/media/thumb/0/1.webp"')


def test_serve_needs_a_site_and_a_free_port(tmp_path, capsys):
    assert run(["serve", "--atlas", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"atlas: no site at {tmp_path / 'site'}; ")
