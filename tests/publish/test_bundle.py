"""A bundle carries what catalog and site read: restored elsewhere it builds the same bytes, or says why not."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from building import atlas, contents
from planted import plant

from atlas.base.errors import ConfigError, InputError, MissingError
from atlas.base.progress import Progress
from atlas.lookup.manifest import read_manifest
from atlas.publish.restore import restore
from atlas.settings.load import load_config

SILENT = Progress(silent=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A planted atlas with another title than its configuration's; read it, never write to it."""
    folder = tmp_path_factory.mktemp("bundled") / "planted"
    plant(folder)
    status, _, err = atlas("build", folder / "atlas.toml", "--set", "catalog.title=Before")
    assert status == 0, err
    return folder


@pytest.fixture(scope="module")
def bundle(built, tmp_path_factory) -> Path:
    """Its bundle."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    status, said, err = atlas("bundle", "--atlas", built / "build", "--out", out)
    assert status == 0, err
    assert said[1] == f"elsewhere: atlas build --from {out} --out DIR"
    return out


@pytest.fixture
def served(bundle):
    """The address of the bundle on a web server of this machine, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(bundle)))
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def manifest_of(bundle: Path):
    return read_manifest((bundle / "manifest.json").read_bytes(), "the manifest")


def test_a_restored_atlas_builds_a_changed_title_to_the_same_bytes(built, bundle, tmp_path):
    restored, changed = tmp_path / "restored", ("--set", "catalog.title=After")
    status, out, err = atlas("build", "--from", bundle, "--out", restored, *changed)
    assert status == 0, err
    assert out[0] == f"built catalog, site in {restored}"
    whole = shutil.copytree(built, tmp_path / "whole")
    assert atlas("build", whole / "atlas.toml", *changed)[0] == 0
    for stage in ("catalog", "site"):
        assert contents(restored / stage) == contents(whole / "build" / stage)


@pytest.mark.slow
def test_a_restored_atlas_is_built_by_force_and_gives_the_same_bytes(bundle, tmp_path):
    restored = tmp_path / "restored"
    assert atlas("build", "--from", bundle, "--out", restored)[0] == 0
    before = contents(restored)
    status, out, err = atlas("build", "--from", bundle, "--out", restored, "--force")
    assert status == 0, err
    assert out[0] == f"built catalog, site in {restored}"
    assert contents(restored) == before
    assert atlas("build", restored / "atlas.toml", "catalog", "--force")[0] == 0
    line = (
        "atlas: scan is stale (forced), and only catalog, site may run here; where its inputs are, "
        "run: atlas build CONFIG scan, then atlas bundle"
    )
    forced = atlas("build", "--from", bundle, "--out", restored, "scan", "--force")
    assert (forced[0], forced[2][-1]) == (1, line)


def test_the_last_stage_can_be_named_and_the_restored_settings_edited(bundle, tmp_path):
    folder = tmp_path / "restored"
    status, out, err = atlas("build", "--from", bundle, "--out", folder, "catalog")
    assert status == 0, err
    assert out[0] == f"{folder} is up to date: nothing to do"
    config = folder / "atlas.toml"
    config.write_text(config.read_text().replace('title = "Before"', 'title = "After"'))
    _, out, _ = atlas("build", "--from", bundle, "--out", folder, "catalog")
    assert out[0] == f"built catalog in {folder}"


def test_what_was_taken_down_stays_so_where_a_bundle_is_restored(built, tmp_path):
    folder = shutil.copytree(built, tmp_path / "planted")
    (folder / "gone.txt").write_text("feature 0\n")
    change = ("--set", "catalog.takedown=gone.txt")
    status, _, err = atlas("build", folder / "atlas.toml", *change)
    assert status == 0, err
    assert atlas("bundle", "--atlas", folder / "build", "--out", tmp_path / "bundle")[0] == 0
    shutil.rmtree(folder)
    restored, retitled = tmp_path / "restored", ("--set", "catalog.title=After")
    status, _, err = atlas("build", "--from", tmp_path / "bundle", "--out", restored, *retitled)
    assert status == 0, err
    assert (restored / "site" / "takedown.txt").is_file()


def test_a_configuration_of_ones_own_is_built_from_a_bundle(built, bundle, tmp_path):
    shutil.copy(built / "atlas.toml", tmp_path)
    status, out, err = atlas("build", tmp_path / "atlas.toml", "--from", bundle)
    assert status == 0, err
    assert out[0] == f"built catalog, site in {tmp_path / 'build'}"
    assert "inputs not here: vectors, images, pictures, sae; trusted as of the receipts" in err


def test_a_bundle_leaves_embeddings_weights_and_activations_out(bundle):
    names = manifest_of(bundle).files
    assert {name.split("/")[0] for name in names} == {
        "embed", "scan", "neighbors", "families", "concepts", "catalog",
    }  # fmt: skip
    parts = {name.split("-")[0] for name in names if "/parts/" in name}
    kept = {"map", "decompositions", "prototypes", "sae"}
    assert parts == {"embed/parts/thumbnails", *(f"catalog/parts/{name}" for name in kept)}


def test_a_bundle_names_no_place_of_the_machine_it_was_made_on(built, bundle):
    text = (bundle / "manifest.json").read_text()
    assert str(built) not in text
    assert json.loads(text)["settings"]["embed"]["vectors"] == "not-here/vectors/*.npy"


def test_a_bundle_is_brought_up_to_date_and_keeps_what_is_still_used(built, tmp_path):
    whole, out = shutil.copytree(built, tmp_path / "whole"), tmp_path / "bundle"
    assert atlas("bundle", "--atlas", whole / "build", "--out", out)[0] == 0
    first = {path.name: path.stat().st_ino for path in out.rglob("objects/*/*")}
    assert atlas("build", whole / "atlas.toml", "--set", "catalog.title=After")[0] == 0
    assert atlas("bundle", "--atlas", whole / "build", "--out", out)[0] == 0
    second = {path.name: path.stat().st_ino for path in out.rglob("objects/*/*")}
    assert second.keys() == {one.sha256 for one in manifest_of(out).files.values()}
    shared = first.keys() & second.keys()
    assert len(shared) > len(second) / 2
    assert all(first[name] == second[name] for name in shared)


def test_a_stale_atlas_is_not_bundled(built, tmp_path):
    whole = shutil.copytree(built, tmp_path / "whole")
    (whole / "build" / "scan" / "top_images.parquet").unlink()
    line = (
        "atlas: scan is stale (top_images.parquet is missing or changed (1 such files)), so there "
        "is nothing to bundle yet; build it first: atlas build CONFIG catalog"
    )
    assert atlas("bundle", "--atlas", whole / "build", "--out", tmp_path / "b") == (1, [], [line])


def test_a_bundle_is_fetched_from_an_address_and_nothing_twice(served, tmp_path):
    address, asked = served
    restore(address, tmp_path / "atlas", SILENT)
    assert len(asked) > 20
    before = contents(tmp_path / "atlas")
    asked.clear()
    restore(address, tmp_path / "atlas", SILENT)
    receipts = [path for path in asked if path.startswith("/objects/")]
    assert len(receipts) == 6, "each stage's receipt, and no other file"
    assert contents(tmp_path / "atlas") == before


def test_a_bundle_in_one_file_has_the_same_bytes_each_time_and_restores_the_same_atlas(
    built, bundle, tmp_path
):
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    for out in (first, second):
        assert atlas("bundle", "--atlas", built / "build", "--out", out)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"first.zip", "second.zip"}
    for place in (first, bundle):
        restore(str(place), tmp_path / f"of {place.name}", SILENT)
    assert contents(tmp_path / "of first.zip") == contents(tmp_path / "of bundle")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(second.read_bytes()[10:])  # its first member begins before its first byte
    with pytest.raises(InputError, match=r"cut\.zip: .* is damaged"):
        restore(str(cut), tmp_path / "of cut", SILENT)
    first.write_bytes(b"PK no zip")
    with pytest.raises(InputError, match=r"first\.zip is no bundle; make one with: atlas bundle"):
        restore(str(first), tmp_path / "none", SILENT)


def test_an_interrupted_restoration_goes_on_where_it_was(served, tmp_path, bundle):
    address, asked = served
    whole = manifest_of(bundle)
    last = sorted(whole.files)[-1]
    object_file = bundle / whole.files[last].address
    away = object_file.rename(tmp_path / "away")
    try:
        with pytest.raises(MissingError, match="run the same command to go on"):
            restore(address, tmp_path / "atlas", SILENT)
    finally:
        away.rename(object_file)
    assert not (tmp_path / "atlas" / "scan").exists(), "no stage is there in part"
    asked.clear()
    restore(address, tmp_path / "atlas", SILENT)
    assert len([path for path in asked if path.startswith("/objects/")]) < len(whole.files)


def test_a_damaged_file_is_named_and_never_published(bundle, tmp_path):
    copy = shutil.copytree(bundle, tmp_path / "bundle")
    one = manifest_of(copy).files["scan/features.parquet"]
    data = bytearray((copy / one.address).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / one.address).write_bytes(data)
    with pytest.raises(InputError, match=r"scan/features\.parquet of the bundle .* is damaged"):
        restore(str(copy), tmp_path / "atlas", SILENT)
    assert not (tmp_path / "atlas" / "scan").exists()


def test_results_of_this_machine_are_never_replaced(bundle, tmp_path):
    plant(tmp_path, seed=1)
    assert atlas("build", tmp_path / "atlas.toml", "scan")[0] == 0
    before = contents(tmp_path / "build")
    with pytest.raises(ConfigError, match="was built here"):
        restore(str(bundle), load_config(tmp_path / "atlas.toml").out_dir, SILENT)
    assert contents(tmp_path / "build") == before


@pytest.mark.parametrize("name", ["../x", "/etc/x", "scan/../../x", "x/y", "scan", "scan//x"])
def test_a_manifest_can_t_name_a_file_outside_the_atlas(name):
    text = {"version": 1, "made_with": "", "atlas": "", "settings": {}, "files": {}}
    text["files"] = {name: [1, "0" * 64]}
    with pytest.raises(InputError, match="which no bundle may hold"):
        read_manifest(json.dumps(text).encode(), "it")


def test_a_newer_bundle_and_what_is_none_are_refused_in_a_line(tmp_path):
    with pytest.raises(InputError, match="is no manifest"):
        read_manifest(b"[]", "it")
    newer = {"version": 2, "made_with": "later", "atlas": "", "settings": {}, "files": {}}
    with pytest.raises(InputError, match="is of version 2"):
        read_manifest(json.dumps(newer).encode(), "it")
    line = f"atlas: no bundle at {tmp_path}: it holds no manifest.json; make one with: atlas bundle"
    status = atlas("build", "--from", tmp_path, "--out", tmp_path / "out")
    assert status == (1, [], [line])


def test_an_address_must_be_encrypted(tmp_path):
    with pytest.raises(ConfigError, match="name an https address"):
        restore("http://example.org/bundle", tmp_path, SILENT)
