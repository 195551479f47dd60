"""Progress of long jobs, as lines and as JSON."""

import json
from datetime import datetime

from atlas.base import progress
from atlas.base.progress import Progress


def test_progress_as_json_is_an_object_a_line(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    said = Progress(as_json=True)
    said.say("  scan: input embed changed")
    said.start("scan", total=10, unit="images")
    said.advance(4, note="3 alive")
    said.stop()
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["text"] == "scan: input embed changed"
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert {key: second[key] for key in ("stage", "done", "total", "unit", "note")} == {
        "stage": "scan", "done": 4, "total": 10, "unit": "images", "note": "3 alive",
    }  # fmt: skip
    assert second["left_s"] >= 0
    assert second["text"].startswith("scan: 4 of 10 images")


def test_a_silent_one_prints_nothing(capsys):
    said = Progress(silent=True, as_json=True)
    said.say("x")
    assert capsys.readouterr().err == ""
