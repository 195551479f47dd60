"""What comes from others: fonts as they are noted, locked packages with digests and from nowhere in particular."""

import json
import re
import tomllib
from pathlib import Path

from audited import say
from lock import locked

from atlas.base.files import digest_file

ROOT = Path(__file__).parents[1]
FONTS = ROOT / "templates" / "fonts"


def test_every_font_is_noted_with_version_license_and_digest():
    noted = json.loads((FONTS / "fonts.json").read_text())
    assert {one["file"] for one in noted} == {path.name for path in FONTS.glob("*.woff2")}
    for one in noted:
        assert digest_file(FONTS / one["file"]) == one["sha256"]
        assert re.fullmatch(r"\d+\.\d+", one["version"])
        assert one["license"] == "OFL-1.1"
        assert "SIL Open Font License, Version 1.1" in (FONTS / one["license_file"]).read_text()


def requirements():
    """Name -> text of each requirement of the lock, on one line."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {re.split(r"[=<>@ ]", line)[0]: line for line in lines}


def test_every_locked_package_has_a_version_and_digests_and_no_address():
    for name, line in requirements().items():
        assert re.match(r"[a-z0-9-]+==\S+ ", line), name
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), name
        assert not re.search(r"://| @ |--index-url|--find-links", line), name


def test_the_lock_has_what_the_project_needs_but_torch():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for name in re.findall(r"\w+", extras["all"][0].partition("[")[2]):
        wanted += extras[name]
    names = {
        re.split(r"[\[<>=; ]", one)[0].lower().replace("_", "-")
        for one in wanted
        if isinstance(one, str)
    }
    assert names - {"torch"} <= requirements().keys()
    assert not {"torch", "triton"} & requirements().keys()


def test_what_comes_with_torch_is_left_out_of_the_lock():
    resolved = (
        "a==1 \\\n    --hash=sha256:0\nnvidia-cuda-cccl==2 ; sys_platform == 'linux' \\\n"
        "    --hash=sha256:1\ntorch==3 \\\n    --hash=sha256:2\ntorchvision==4 \\\n    --hash=sha256:3\n"
    )
    kept = [line for line in locked(resolved).splitlines() if not line.startswith("#")]
    assert kept == [
        "a==1 \\",
        "    --hash=sha256:0",
        "torchvision==4 \\",
        "    --hash=sha256:3",
    ]


def test_an_audit_says_what_is_wrong_or_that_nothing_was_checked():
    bad = {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}
    good = {"name": "b", "version": "1", "vulns": []}
    unknown = {"name": "c", "skip_reason": "not found"}

    def told(*packages):
        return say(json.dumps({"dependencies": packages}), "")

    assert told(bad, good, unknown) == (
        "a 1: PYSEC-1; mended in 2\nvulnerabilities: 1 of 2 packages; 1 are not known",
        1,
    )
    assert told(good) == ("vulnerabilities: 0 of 1 packages; 0 are not known", 0)
    assert told(unknown)[1] == 0
    assert told(unknown)[0].endswith("nothing was checked")
    text, status = say("", "Traceback\nConnectionError: no route")
    assert (text.count("\n"), status) == (0, 0)
    assert "ConnectionError: no route" in text
