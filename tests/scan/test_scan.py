from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import KINDS, exact_sae, make_job, oracle, plant, write_embed
from safetensors.numpy import save_file

from atlas.base import progress
from atlas.base.errors import CheckError, InputError, MissingError
from atlas.base.files import digest_file, list_files, read_json, write_json
from atlas.base.progress import Progress
from atlas.sae.activations import (
    BY_FEATURE,
    FeatureActivations,
    ImageActivations,
    allocate,
    map_tensors,
    pack_ids,
    to_half,
    unpack_all_ids,
    unpack_ids,
    write_tensors,
)
from atlas.sae.encoding import Encoder
from atlas.sae.formats.own import write_own
from atlas.sae.int8_screen import Int8Screen
from atlas.sae.model import SAE
from atlas.scan import scan
from atlas.scan.by_feature import _strongest_first
from atlas.scan.encode import scan_batch
from atlas.scan.quantiles import _hash, pick_quantiles
from atlas.scan.scanner import open_scanner
from atlas.scan.tally import BINS, bin_edges, histogram_bins, merge, read_keys, tally, top_keys
from atlas.settings.runtime import Runtime
from atlas.settings.scan import ScanSettings


def write_shards(folder: Path, shards: list[np.ndarray], split: list[str]) -> Path:
    """Write what the embed stage would leave of these shards."""
    folder.mkdir(parents=True)
    items, first = [], 0
    for number, rows in enumerate(shards):
        path = folder / f"{number:04d}.npy"
        np.save(path, rows)
        items.append(
            {
                "name": path.stem,
                "path": path.name,
                "rows": len(rows),
                "first_image": first,
                "sha256": digest_file(path),
            }
        )
        first += len(rows)
    index = {"width": shards[0].shape[1], "rows": first, "encoder": {}, "normalized": False}
    write_json(folder / "embeddings.json", index | {"shards": items})
    images = pa.table({"image": np.arange(first), "split": split})
    pq.write_table(images, folder / "images.parquet")
    return folder


def run_scan(root: Path, sae: SAE, embed: Path, kept: ScanSettings, **runtime: Any) -> Path:
    write_own(root / "sae", sae)
    inputs = {"embed": embed, "sae": root / "sae"}
    job = make_job("scan", kept, inputs, root / "scan", **runtime)
    scan.run(job)
    return root / "scan"


def columns(path: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    return found


def strongest(a: np.ndarray, feature: int) -> list[int]:
    """Return the images on which a feature fires, strongest first, ties by image."""
    fires = np.flatnonzero(a[:, feature]).tolist()
    return sorted(fires, key=lambda image: (-a[image, feature], image))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    sizes=st.lists(st.integers(1, 23), min_size=1, max_size=3),
    top=st.integers(1, 9),
    batch=st.integers(8, 40),
)
def test_a_scan_is_exactly_the_float64_oracle(seed, kind, sizes, top, batch):
    rng = np.random.default_rng(seed)
    sae = exact_sae(rng, kind)
    x = (rng.integers(-8, 9, (sum(sizes), 4)) / 4).astype(np.float16)
    x[~x.any(axis=1)] = 1
    shards = np.split(x, np.cumsum(sizes)[:-1])
    kept = ScanSettings(top_images=top, quantiles=3, quantile_images=2)
    split = ["heldout" if image % 3 == 0 else "train" for image in range(len(x))]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        embed = write_shards(root / "embed", shards, split)
        out = run_scan(root, sae, embed, kept, batch_images=batch)
        a = oracle(sae, x)
        check_features(out, sae, a)
        check_images(out, sae, a, x)
        check_top_images(out, a, top)
        check_quantiles(out, a, kept)
        check_histogram(out, a)
        check_readers(out, a)
        check_figures(out, sae, a, x, np.array(split) == "heldout")


def check_features(out: Path, sae: SAE, a: np.ndarray) -> None:
    found = columns(out / "features.parquet")
    fires = a > 0
    norms = np.linalg.norm(sae.W_dec.astype(np.float64), axis=1).astype(np.float32)
    assert found["feature"] == list(range(a.shape[1]))
    assert found["alive"] == fires.any(axis=0).tolist()
    assert found["count"] == fires.sum(axis=0).tolist()
    assert found["density"] == (fires.sum(axis=0) / len(a)).tolist()
    assert found["sum"] == a.sum(axis=0).tolist()
    assert found["sum_squares"] == (a * a).sum(axis=0).tolist()
    assert found["decoder_norm"] == norms.tolist()
    assert found["sum_weighted"] == (a.sum(axis=0) * norms).tolist()
    assert np.allclose(found["mass_share"], a.sum(axis=0) / max(a.sum(), 1e-9))
    for feature, alive in enumerate(found["alive"]):
        names = ("mean", "median", "max", "max_weighted", "selectivity")
        if not alive:
            assert [found[name][feature] for name in names] == [None] * 5
            continue
        mine = a[fires[:, feature], feature]
        top = np.float32(mine.max())
        share = mine.sum() ** 2 / (len(mine) * (mine * mine).sum())
        expected = [mine.sum() / len(mine), np.median(mine), top, top * norms[feature], share]
        assert [found[name][feature] for name in names] == pytest.approx(expected, rel=1e-12)


def check_images(out: Path, sae: SAE, a: np.ndarray, x: np.ndarray) -> None:
    found = columns(out / "images.parquet")
    off = x.astype(np.float64) - (a @ sae.W_dec.astype(np.float64) + sae.b_dec)
    assert found["image"] == list(range(len(x)))
    assert found["l0"] == (a > 0).sum(axis=1).tolist()
    assert found["mass"] == a.sum(axis=1).tolist()
    assert found["squared_error"] == (off * off).sum(axis=1).tolist()
    assert found["norm"] == np.linalg.norm(x.astype(np.float64), axis=1).astype("f4").tolist()


def check_top_images(out: Path, a: np.ndarray, top: int) -> None:
    found = columns(out / "top_images.parquet")
    rows = [
        (feature, rank, image, a[image, feature])
        for feature in range(a.shape[1])
        for rank, image in enumerate(strongest(a, feature)[:top])
    ]
    assert list(zip(*found.values(), strict=True)) == rows


def check_quantiles(out: Path, a: np.ndarray, kept: ScanSettings) -> None:
    found = columns(out / "quantile_images.parquet")
    rows = list(zip(*found.values(), strict=True))
    assert rows == sorted(rows, key=lambda row: row[:3])
    place = {}
    for feature in range(a.shape[1]):
        weakest = strongest(a, feature)[::-1]
        for rank, image in enumerate(weakest):
            place[feature, image] = rank * kept.quantiles // len(weakest)
    cells: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for feature, quantile, rank, image, activation in rows:
        assert place[feature, image] == quantile
        assert activation == a[image, feature]
        picks = cells.setdefault((feature, quantile), [])
        assert rank == len(picks)
        picks.append((-activation, image))
    for picks in cells.values():
        assert picks == sorted(set(picks))
    for cell in {(feature, quantile) for (feature, _), quantile in place.items()}:
        members = sum((f, q) == cell for (f, _), q in place.items())
        assert len(cells[cell]) == min(members, kept.quantile_images)


def check_histogram(out: Path, a: np.ndarray) -> None:
    found = columns(out / "activation_histogram.parquet")
    rows = list(zip(*found.values(), strict=True))
    assert [row[:2] for row in rows] == sorted({row[:2] for row in rows})
    for feature, _, low, high, count in rows:
        mine = a[:, feature]
        assert count == ((mine >= low) & (mine < high) & (mine > 0)).sum() > 0
    assert sum(found["count"]) == (a > 0).sum()


def check_readers(out: Path, a: np.ndarray) -> None:
    by_feature, by_image = FeatureActivations(out), ImageActivations(out)
    assert (len(by_image), len(by_feature)) == a.shape
    for feature in range(a.shape[1]):
        images, activations = by_feature[feature]
        assert images.tolist() == np.flatnonzero(a[:, feature]).tolist()
        assert np.array_equal(activations, a[images, feature].astype(np.float16))
    for image in range(len(a)):
        features, activations = by_image[image]
        assert features.tolist() == np.flatnonzero(a[image]).tolist()
        assert np.array_equal(activations, a[image, features])
    whole = np.concatenate([block.features for block in by_image.blocks()])
    assert whole.tolist() == np.nonzero(a)[1].tolist()


def check_figures(out: Path, sae: SAE, a: np.ndarray, x: np.ndarray, held: np.ndarray) -> None:
    found = read_json(out / "scan.json")
    wide = x.astype(np.float64)
    off = wide - (a @ sae.W_dec.astype(np.float64) + sae.b_dec)
    assert found["alive"] == (a > 0).any(axis=0).sum()
    assert found["sae"] == sae.digest()
    for prefix, rows in (("", np.ones(len(x), bool)), ("heldout_", held)):
        chosen = wide[rows]
        total = ((chosen - chosen.mean(axis=0)) ** 2).sum()
        share = found[f"{prefix}explained_variance"]
        if total > 1e-9:
            assert share == pytest.approx(1 - (off[rows] ** 2).sum() / total)
        assert found[f"{prefix}images"] == rows.sum()
        assert found[f"{prefix}l0_mean"] == pytest.approx((a[rows] > 0).sum(axis=1).mean())
        assert found[f"{prefix}l0_median"] == np.median((a[rows] > 0).sum(axis=1))
        assert found[f"{prefix}mass_median"] == np.median(a[rows].sum(axis=1))


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 120),
    top=st.integers(1, 6),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_any_grouping_and_order_of_merges_gives_the_same_tally(seed, n, top, cuts):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, 40, n))
    feature = rng.integers(0, 5, n)
    _, once = np.unique(image * 5 + feature, return_index=True)
    image, feature = image[once], feature[once]
    activation = (rng.integers(1, 9, len(once)) / 4).astype(np.float32)
    whole = tally(5, feature, image, activation, top)
    edges = np.searchsorted(image, [0, *sorted(cuts), 40])
    pieces = [tally(5, feature[i:j], image[i:j], activation[i:j], top) for i, j in pairwise(edges)]
    rng.shuffle(pieces)
    while len(pieces) > 1:
        k = int(rng.integers(2, len(pieces) + 1))
        pieces = [merge(pieces[:k], top), *pieces[k:]]
    for name in whole.__slots__:
        assert np.array_equal(getattr(pieces[0], name), getattr(whole, name)), name


@given(
    rows=st.lists(st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=6).map(sorted)),
)
def test_packed_ids_come_back(rows):
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    flat = np.array([i for row in rows for i in row], np.int64)
    packed = pack_ids(starts, flat, "x")
    assert np.array_equal(unpack_all_ids(packed, "x", starts), flat)
    for row, start, stop in zip(rows, starts[:-1], starts[1:], strict=True):
        assert unpack_ids(packed, "x", start, stop).tolist() == row


def test_a_file_filled_piece_by_piece_is_the_librarys_own(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.integers(0, 99, shape).astype(dtype)
        for name, shape, dtype in [
            ("b", 5, np.uint16),
            ("a", (2, 3), np.float16),
            ("d", 0, np.int64),
            ("c", 3, np.float64),
            ("f", 1, np.int32),
            ("e", 4, np.uint32),
            ("g", (2, 2), np.float32),
        ]
    }
    write_tensors(tmp_path / "ours", tensors)
    save_file(tensors, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_file_that_the_disk_has_no_room_for_is_an_error_at_once(tmp_path):
    with pytest.raises(OSError, match=r"File too large|No space left"):
        allocate(tmp_path / "huge", 1 << 60)


def test_both_orders_of_the_matrix_take_at_most_4_7_bytes_a_firing(tmp_path):
    planted = plant(tmp_path / "in", n_features=256, n_images=4000, n_shards=1, l0=60.0)
    embed = write_embed(planted, tmp_path / "embed")
    out = run_scan(tmp_path, planted.sae, embed, ScanSettings())
    firings = sum(columns(out / "images.parquet")["l0"])
    (part,) = [map_tensors(path) for path in (out / "parts").glob("*.safetensors")]
    by_image = [part[name] for name in part if name.startswith(("feature_", "activation", "l0"))]
    for arrays in (by_image, map_tensors(out / BY_FEATURE).values()):
        assert 4 * firings < sum(array.nbytes for array in arrays) < 4.7 * firings


@given(st.floats(2.0**-126, 2.0**127, width=32))
def test_a_stored_firing_never_becomes_zero_or_infinite(value):
    half = float(to_half(np.array([value], np.float32))[0])
    assert 0 < half < np.inf
    if 2.0**-14 <= value <= 65504:
        assert abs(half - value) <= value * 2.0**-11


@given(st.floats(2.0**-126, 2.0**127, width=32))
def test_an_activation_lies_in_its_bin(value):
    one = histogram_bins(np.array([value], np.float32))[0]
    edges = bin_edges()
    assert edges[one] <= value < edges[one + 1]
    assert len(edges) == BINS + 1


def test_keys_order_by_activation_and_then_by_lower_image():
    activation = np.array([1, 2, 2, 0.5], np.float32)
    image = np.array([0, 4_294_967_295, 7, 3])
    key = top_keys(activation, image)
    assert np.argsort(-key).tolist() == [2, 1, 0, 3]
    assert np.array_equal(read_keys(key)[0], activation)
    assert np.array_equal(read_keys(key)[1], image)


@pytest.fixture(scope="module")
def planted_inputs(tmp_path_factory):
    """Return a planted atlas of real numbers, whose sums do depend on their order."""
    root = tmp_path_factory.mktemp("planted")
    planted = plant(root / "in", n_images=200, n_shards=3)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, *planted.sae.W_enc.shape)).astype(np.float32)
    sae = replace(planted.sae, W_enc=planted.sae.W_enc + noise[0], W_dec=noise[1])
    return sae, write_embed(planted, root / "embed")


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in list_files(folder)
        if path.name not in ("used", "agreed")
    }


def test_batches_and_threads_change_no_byte(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    runs = [(8, 1), (64, 2), (1024, 1)]
    found = [
        all_bytes(
            run_scan(
                tmp_path / str(batch), sae, embed, ScanSettings(), batch_images=batch, threads=n
            )
        )
        for batch, n in runs
    ]
    assert found[0] == found[1] == found[2]
    assert "scan.json" in found[0]


def test_all_processes_of_a_scan_take_the_screen_that_the_first_chose(
    tmp_path, planted_inputs, capsys
):
    sae, embed = planted_inputs
    write_own(tmp_path / "sae", sae)
    inputs = {"embed": embed, "sae": tmp_path / "sae"}
    job = make_job("scan", ScanSettings(), inputs, tmp_path / "scan")
    first = open_scanner(replace(job, runtime=Runtime(screen="int8")))
    assert first.screen.kind == "int8"
    other = open_scanner(job)
    assert other.screen == first.screen
    assert isinstance(other.encoder.screen, Int8Screen)
    scan.run(replace(job, progress=Progress()))
    assert "scan: screen int8 (as runtime.screen says)" in capsys.readouterr().err


def test_a_new_shard_rescans_only_itself_and_equals_a_fresh_scan(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    table = pq.read_table(embed / "images.parquet")
    index = read_json(embed / "embeddings.json")
    shards = [np.load(item["path"]) for item in index["shards"]]
    split = table["split"].to_pylist()
    n_before = len(shards[0]) + len(shards[1])
    root = tmp_path / "grown"
    before = write_shards(root / "before", shards[:2], split[:n_before])
    out = run_scan(root, sae, before, ScanSettings())
    marks = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.safetensors")}
    after = write_shards(root / "after", shards, split)
    run_scan(root, sae, after, ScanSettings())
    later = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.safetensors")}
    assert marks.items() < later.items()
    assert len(later) == len(marks) + 1 == 3
    fresh = run_scan(tmp_path / "fresh", sae, after, ScanSettings())
    assert all_bytes(out) == all_bytes(fresh)


def test_a_scan_resumes_after_a_failure_with_the_same_bytes(tmp_path, planted_inputs, monkeypatch):
    sae, embed = planted_inputs
    whole = run_scan(tmp_path / "whole", sae, embed, ScanSettings())
    real, calls = scan_batch, []

    def breaks_in_the_second_shard(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr("atlas.scan.scanner.scan_batch", breaks_in_the_second_shard)
    with pytest.raises(KeyboardInterrupt):
        run_scan(tmp_path / "broken", sae, embed, ScanSettings())
    names = [path.name for path in (tmp_path / "broken/scan/parts").glob("*")]
    assert sorted(name.split("-")[0] for name in names if not name.endswith(".lock")) == [
        "0000",
        "agreed",
        "used",
    ]
    run_scan(tmp_path / "broken", sae, embed, ScanSettings())
    assert len(calls) == 4
    assert all_bytes(tmp_path / "broken/scan") == all_bytes(whole)


def test_sums_are_taken_in_fixed_chunks(tmp_path, planted_inputs, monkeypatch):
    sae, embed = planted_inputs
    whole = all_bytes(run_scan(tmp_path / "whole", sae, embed, ScanSettings()))
    monkeypatch.setattr("atlas.scan.scanner.CHUNK_IMAGES", 24)
    found = [
        all_bytes(run_scan(tmp_path / str(batch), sae, embed, ScanSettings(), batch_images=batch))
        for batch in (9, 24, 100)
    ]
    assert found[0] == found[1] == found[2]
    for table in ("top_images", "quantile_images", "activation_histogram"):
        assert found[0][f"{table}.parquet"] == whole[f"{table}.parquet"]


def test_a_setting_that_changes_a_part_makes_new_parts(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    run_scan(tmp_path / "one", sae, embed, ScanSettings(top_images=2))
    out = run_scan(tmp_path / "one", sae, embed, ScanSettings(top_images=9))
    fresh = run_scan(tmp_path / "fresh", sae, embed, ScanSettings(top_images=9))
    table = "top_images.parquet"
    assert (out / table).read_bytes() == (fresh / table).read_bytes()


def test_quantile_picks_follow_their_seed(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    first = run_scan(tmp_path / "a", sae, embed, ScanSettings(seed=1, quantile_images=1))
    second = run_scan(tmp_path / "b", sae, embed, ScanSettings(seed=2, quantile_images=1))
    a, b = (columns(out / "quantile_images.parquet") for out in (first, second))
    assert a["feature"] == b["feature"]
    assert a["quantile"] == b["quantile"]
    assert a["image"] != b["image"]


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    quantiles=st.integers(1, 4),
    wanted=st.integers(1, 3),
    likely=st.sampled_from((1, 4)),
)
def test_picks_are_the_least_hashes_of_their_quantile(seed, counts, quantiles, wanted, likely):
    rng = np.random.default_rng(seed)
    kept = ScanSettings(quantiles=quantiles, quantile_images=wanted, seed=seed)
    owner = np.repeat(np.arange(len(counts)), counts)
    image = np.concatenate([np.sort(rng.choice(400, n, replace=False)) for n in counts])
    half = (rng.integers(1, 9, len(owner)) / 4).astype(np.float16)
    order = _strongest_first(owner, half)
    assert np.array_equal(order, np.lexsort((image, -half, owner)))
    expected = []
    for feature, n in enumerate(counts):
        mine = order[owner == feature][::-1]
        quantile = np.arange(n) * quantiles // max(n, 1)
        for cell in range(quantiles):
            one = mine[quantile == cell]
            value = _hash(seed, np.full(len(one), feature), image[one])
            picks = one[np.sort(np.argsort(value)[:wanted])][::-1]
            expected += [
                (feature, cell, rank, image[at], half[at]) for rank, at in enumerate(picks)
            ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlas.scan.quantiles.LIKELY", likely)
        found = pick_quantiles(owner, image[order], half[order].astype("f4"), kept)
    assert list(zip(*found.to_pydict().values(), strict=True)) == expected


def test_feature_blocks_change_nothing(tmp_path, planted_inputs, monkeypatch):
    sae, embed = planted_inputs
    whole = run_scan(tmp_path / "whole", sae, embed, ScanSettings())
    monkeypatch.setattr("atlas.scan.by_feature.FIRINGS_PER_BLOCK", 300)
    cut = run_scan(tmp_path / "cut", sae, embed, ScanSettings())
    assert all_bytes(whole) == all_bytes(cut)


def test_an_sae_that_never_fires_gives_empty_tables(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    silent = replace(sae, b_enc=np.full_like(sae.b_enc, -1e6))
    out = run_scan(tmp_path, silent, embed, ScanSettings())
    for table in ("top_images", "quantile_images", "activation_histogram"):
        assert pq.read_table(out / f"{table}.parquet").num_rows == 0
    assert read_json(out / "scan.json")["dead_share"] == 1
    assert FeatureActivations(out)[5][0].tolist() == []
    assert ImageActivations(out)[5][0].tolist() == []


@pytest.mark.parametrize("wrong", ["missing", "extra", "off"])
def test_a_scan_whose_sample_differs_from_float64_fails_and_leaves_nothing(
    tmp_path, planted_inputs, monkeypatch, wrong
):
    sae, embed = planted_inputs
    real = Encoder.fire_prepared

    def spoil(encoder, inputs):
        found = real(encoder, inputs)
        if wrong == "missing":
            kept = np.arange(len(found.image)) % 7 > 0
        else:
            kept = np.ones(len(found.image), bool)
        activation = found.activation.copy()
        if wrong == "off":
            activation[::7] *= np.float32(1 + 1e-5)
        image, feature = found.image[kept], found.feature[kept]
        if wrong == "extra":
            quiet = np.setdiff1d(np.arange(sae.n_features), feature[image == 0])[0]
            every = np.arange(len(inputs))
            silent = ~np.isin(every, image[feature == quiet])
            image = np.append(image, every[silent])
            feature = np.append(feature, np.full(silent.sum(), quiet))
            activation = np.append(activation, np.ones(silent.sum(), np.float32))
            order = np.lexsort((feature, image))
            return replace(
                found, image=image[order], feature=feature[order], activation=activation[order]
            )
        return replace(found, image=image, feature=feature, activation=activation[kept])

    monkeypatch.setattr(Encoder, "fire_prepared", spoil)
    with pytest.raises(CheckError, match=r"feature \d+ has activation .*, float64 says "):
        run_scan(tmp_path, sae, embed, ScanSettings())
    parts = tmp_path / "scan/parts"
    assert not [path for path in list_files(parts) if path.suffix not in (".lock", "")]


def test_embeddings_of_another_width_are_refused(tmp_path, planted_inputs):
    _, embed = planted_inputs
    sae = exact_sae(np.random.default_rng(0), "relu")
    with pytest.raises(InputError) as caught:
        run_scan(tmp_path, sae, embed, ScanSettings())
    assert str(caught.value) == (
        f"embeddings have 32 columns, the SAE expects 4: {embed}; "
        "use embeddings of the encoder that the SAE was trained on"
    )
    assert list_files(tmp_path / "scan") == []


def test_embeddings_of_another_length_are_refused(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    raw = replace(sae, provenance={"median_norm": 1.0})
    with pytest.raises(InputError) as caught:
        run_scan(tmp_path, raw, embed, ScanSettings())
    shard = np.load(read_json(embed / "embeddings.json")["shards"][0]["path"])
    length = np.median(np.linalg.norm(shard.astype(np.float64), axis=1))
    assert str(caught.value) == (
        f"embeddings have median length {length:.3g}, the SAE was trained on 1: {embed}; "
        "use raw embeddings, not normalized ones, of the encoder that the SAE was trained on"
    )


def test_normalized_embeddings_are_refused_by_an_sae_that_only_its_bias_betrays(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    embed = write_shards(tmp_path / "embed", [x.astype(np.float16)], [""] * 40)
    sae = replace(exact_sae(rng, "relu"), b_dec=np.array([3, 0, 4, 0], np.float32))
    with pytest.raises(InputError) as caught:
        run_scan(tmp_path, sae, embed, ScanSettings())
    assert str(caught.value) == (
        f"embeddings all have length 1, the SAE's decoder bias alone has 5: {embed}; use raw "
        "embeddings, not normalized ones, or set sae.input_scale to the raw embeddings' median length"
    )
    assert list_files(tmp_path / "scan") == []
    fits = replace(sae, b_dec=np.array([1, 0, 1, 0], np.float32))
    run_scan(tmp_path / "unit", fits, embed, ScanSettings())
    raw = write_shards(tmp_path / "raw", [(5 * x).astype(np.float16)], [""] * 40)
    run_scan(tmp_path / "long", sae, raw, ScanSettings())


def test_a_table_of_other_images_is_refused(tmp_path, planted_inputs):
    sae, embed = planted_inputs
    copy = shutil.copytree(embed, tmp_path / "embed")
    table = pq.read_table(copy / "images.parquet")
    pq.write_table(table.slice(1), copy / "images.parquet")
    with pytest.raises(InputError, match=r"has 199 rows, the embeddings 200"):
        run_scan(tmp_path, sae, copy, ScanSettings())


def test_a_damaged_part_is_named(tmp_path):
    path = tmp_path / "part.safetensors"
    with pytest.raises(MissingError, match="no file at"):
        map_tensors(path)
    for content in (b"", b"short", b"\xff" * 64, (8).to_bytes(8, "little") + b"{'a': 1}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            map_tensors(path)


def test_progress_counts_the_alive_while_a_part_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_S", 0.0)
    rng = np.random.default_rng(5)
    sae = exact_sae(rng, "relu")
    x = np.ones((30, 4), np.float16) + rng.integers(-8, 9, (30, 4)).astype(np.float16) / 4
    x[~x.any(axis=1)] = 1
    inputs = {"embed": write_shards(tmp_path / "embed", [x], [""] * 30), "sae": tmp_path / "sae"}
    write_own(inputs["sae"], sae)
    job = make_job("scan", ScanSettings(), inputs, tmp_path / "scan", batch_images=10)
    scan.run(replace(job, progress=Progress()))
    lines = [line for line in capsys.readouterr().err.splitlines() if "alive" in line]
    alive = [int(line.split()[-2]) for line in lines if "of 30 images" in line]
    after_batches = [(oracle(sae, x)[:seen] > 0).any(axis=0).sum() for seen in (10, 20, 30)]
    assert alive[1:4] == after_batches
    assert after_batches[0] > 0
