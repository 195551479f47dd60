"""A misspelt or impossible setting stops the build before it starts."""

from pathlib import Path

import pytest

from atlas.base.errors import ConfigError
from atlas.command.app import run
from atlas.settings.load import Config, load_config
from atlas.settings.section import Section

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scan]\ntop_image = 3", "unknown setting scan.top_image; did you mean scan.top_images?"),
        ("[scna]\ntop_images = 3", "unknown setting scna; did you mean scan?"),
        ("[scan]\ntop_images = '3'", "scan.top_images: input should be a valid integer, got '3'"),
        (
            "[scan]\ntop_images = 0",
            "scan.top_images: input should be greater than or equal to 1, got 0",
        ),
        ("scan = 3", "scan must be a section, got 3"),
        ("[scan]\ntop_images = true", "scan.top_images: input should be a valid integer, got True"),
    ],
)
def test_bad_settings_name_the_key(tmp_path, text, message):
    path = tmp_path / "atlas.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{message}; see {path}"


def test_a_setting_from_the_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "atlas.toml"
    path.write_text("[scan]\ntop_images = 8")
    config = load_config(path, ["scan.top_images=9", "catalog.title=Fruit"])
    assert (config.scan.top_images, config.catalog.title) == (9, "Fruit")


def test_texts_of_the_site_are_cleaned(tmp_path):
    path = tmp_path / "atlas.toml"
    path.write_text('[catalog]\ntitle = "A\\u001b[31m red\\u0000 title"\n')
    assert load_config(path).catalog.title == "A red title"


def test_an_override_without_a_value_is_refused(tmp_path):
    path = tmp_path / "atlas.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"--set takes section.key=value, got 'scan.top_images'"):
        load_config(path, ["scan.top_images"])


def test_paths_count_from_the_configuration(tmp_path):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "atlas.toml"
    path.write_text(
        'out_dir = "../out"\n[embed]\nvectors = "v/*.npy"\nimages = "i.parquet"\n[sae]\npath = "s"'
    )
    config = load_config(path)
    assert config.out_dir == tmp_path / "out"
    assert config.embed.vectors == str(tmp_path / "deep" / "v/*.npy")
    assert config.sae.path == tmp_path / "deep" / "s"


def test_the_command_reports_without_a_traceback(tmp_path, capsys):
    assert run(["status", str(tmp_path / "none.toml")]) == 1
    assert (
        capsys.readouterr().err
        == f"atlas: no configuration at {tmp_path}/none.toml; name a .toml file\n"
    )


def sections(kind=Config):
    yield kind
    for field in kind.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation)


def test_every_setting_is_described():
    for section in sections():
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
