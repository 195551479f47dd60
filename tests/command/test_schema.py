import json
import tomllib
from pathlib import Path

import pytest

from atlas.command.app import run

jsonschema = pytest.importorskip("jsonschema")
CONFIGS = [Path("data/demo/atlas.toml"), *sorted(Path("data/presets").glob("*.toml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_configuration_here_is_valid_by_the_schema_and_a_misspelled_setting_is_not(
    path, capsys
):
    assert run(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    settings = tomllib.loads(path.read_text("utf-8"))
    jsonschema.validate(settings, schema)
    with pytest.raises(jsonschema.ValidationError, match="top_imges"):
        jsonschema.validate({**settings, "scan": {"top_imges": 9}}, schema)
