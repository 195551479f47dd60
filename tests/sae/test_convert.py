"""An atlas of somebody else's SAE: converted once, found in the Hub's cache, fetched and checked."""

import http.server
import shutil
import threading
from pathlib import Path

import pytest
import torch
from planted import plant

from atlas.base.errors import AtlasError, ConfigError, InputError, MissingError
from atlas.base.files import digest_file, list_files
from atlas.base.progress import Progress
from atlas.command.app import run
from atlas.sae.checkpoints import load_sae
from atlas.sae.fetch import _fetch_url, fetch_sae
from atlas.settings.load import load_config
from atlas.settings.outside import sae_dir, sae_path
from atlas.settings.sae import SaeSettings

REPO = "someone/their-sae"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A planted atlas scanned with its own SAE, and with the same weights in the seed's format."""
    root = tmp_path_factory.mktemp("foreign")
    for name in ("own", "foreign"):
        plant(root / name, n_images=60, n_shards=1)
    save_seed(root / "foreign")
    for name in ("own", "foreign"):
        assert run(["build", str(root / name / "atlas.toml"), "scan"]) == 0
    return root


def save_seed(folder: Path) -> Path:
    """Keep a planted SAE as the seed's release keeps one, and its configuration naming that."""
    sae = load_sae(folder / "sae")
    shutil.rmtree(folder / "sae")
    tensors = {
        "enc_bias": sae.b_enc,
        "encoder.weight": sae.W_enc,
        "dec_bias": sae.b_dec,
        "decoder.weight": sae.W_dec.T.copy(),
    }
    path = folder / "theirs.pth"
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, path)
    name_sae(folder, 'path = "theirs.pth"')
    return path


def name_sae(folder: Path, line: str) -> None:
    path = folder / "atlas.toml"
    text = path.read_text()
    assert 'path = "sae"' in text
    path.write_text(text.replace('path = "sae"', line))


def test_a_foreign_sae_gives_the_scan_that_its_own_copy_gives(both):
    found = [
        {path.relative_to(root).as_posix(): path.read_bytes() for path in list_files(root)}
        for root in (both / name / "build" / "scan" for name in ("own", "foreign"))
    ]
    names = {name for name in found[0] if name.startswith(("features", "top_images"))}
    assert names
    assert {name: found[0][name] for name in names} == {name: found[1][name] for name in names}
    folder = both / "foreign" / "build" / "convert"
    assert load_sae(folder).digest() == load_sae(both / "own" / "sae").digest()


def test_a_second_build_converts_nothing(both, capsys):
    assert run(["build", str(both / "foreign" / "atlas.toml"), "scan"]) == 0
    assert "up to date" in capsys.readouterr().out


def test_the_conversion_follows_what_the_user_says(both, capsys):
    config = str(both / "foreign" / "atlas.toml")
    command = ["build", config, "convert", "--set", "sae.threshold=0.25", "--set", "out_dir=other"]
    assert run(command) == 0
    found = load_sae(both / "foreign" / "other" / "convert")
    assert found.activation.kind == "jumprelu"
    assert (found.activation.threshold == 0.25).all()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the Hub, and no network."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plant(tmp_path / "it", n_images=40, n_shards=1)
    return tmp_path


def test_a_checkpoint_in_the_hub_s_cache_is_found_there(hub):
    weights = save_seed(hub / "it")
    snapshot = hub / "home/hub/models--someone--their-sae/snapshots/abc"
    snapshot.mkdir(parents=True)
    shutil.move(weights, snapshot / "theirs.pth")
    reference = snapshot.parents[1] / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("abc")
    path = hub / "it" / "atlas.toml"
    path.write_text(path.read_text().replace('path = "theirs.pth"', f'repo = "{REPO}"'))
    config = load_config(path)
    assert fetch_sae(config, Progress(silent=True)) == snapshot
    assert run(["build", str(path), "convert"]) == 0
    assert load_sae(sae_dir(config)).n_features == load_sae(snapshot).n_features


def test_a_checkpoint_that_is_missing_offline_is_one_line(hub, capsys):
    name_sae(hub / "it", f'repo = "{REPO}"')
    assert run(["build", str(hub / "it" / "atlas.toml")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(
        f"atlas: {REPO} at main is not in the Hub's cache and can't be fetched ("
    )
    assert said.endswith(f"; where there is a network: hf download {REPO}")


@pytest.fixture
def address(tmp_path):
    """A server of this machine, with a file."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "sae.pth").write_bytes(b"weights")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "served"))

        def log_message(self, *arguments):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_from_an_address_is_kept_only_if_it_is_the_one_meant(tmp_path, address):
    place = tmp_path / "fetched" / "sae.pth"
    digest = digest_file(tmp_path / "served" / "sae.pth")
    with pytest.raises(InputError, match="it is not the file that was meant"):
        _fetch_url(SaeSettings(url=f"{address}/sae.pth", sha256="0" * 64), place)
    assert list(tmp_path.glob("fetched/*")) == []
    with pytest.raises(MissingError, match=r"can't be fetched \(.*\); put the file at "):
        _fetch_url(SaeSettings(url=f"{address}/none.pth", sha256=digest), place)
    _fetch_url(SaeSettings(url=f"{address}/sae.pth", sha256=digest), place)
    assert place.read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['path="a"', 'repo="b/c"'], "sae.path and sae.repo are both set; set one of them"),
        (['url="https://x.org/a.pth"'], "requires sae.sha256; set both"),
        (['url="http://x.org/a.pth"', f'sha256="{"0" * 64}"'], "must begin with https://"),
    ],
)
def test_the_place_of_an_sae_is_named_once_and_whole(tmp_path, lines, message):
    path = tmp_path / "atlas.toml"
    path.write_text("\n".join(["[sae]", *lines]))
    with pytest.raises(ConfigError) as caught:
        sae_path(load_config(path))
    assert message in str(caught.value)


def test_an_address_names_a_place_in_the_atlas(tmp_path):
    path = tmp_path / "atlas.toml"
    path.write_text(f'[sae]\nurl="https://x.org/a/b.pth?raw=1"\nsha256="{"ab" * 32}"')
    config = load_config(path, ["out_dir=o"])
    assert sae_path(config) == tmp_path / "o" / "fetched" / "abababababab" / "b.pth"


def test_a_repository_that_is_none_is_one_line(hub):
    name_sae(hub / "it", 'repo = "no repo at all"')
    with pytest.raises(AtlasError) as caught:
        fetch_sae(load_config(hub / "it" / "atlas.toml"), Progress(silent=True))
    assert "\n" not in str(caught.value)
