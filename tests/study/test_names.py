"""The names stage on a planted atlas whose vocabulary is its own dimensions."""

import json
import shutil

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from planted import HOSTILE, plant

import atlas
from atlas.base.errors import InputError
from atlas.base.progress import Progress
from atlas.base.text import plain_words
from atlas.command.app import run
from atlas.inputs.vocabulary import VECTORS, WORDS
from atlas.lookup.coverage import _rival, best_of_random
from atlas.pipeline import build_atlas
from atlas.settings.load import load_config

WIDTH = 32


def build(folder, *changes):
    done = build_atlas(load_config(folder / "atlas.toml", changes), progress=Progress(silent=True))
    return [outcome.stage for outcome in done if outcome.reasons]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A planted atlas in which `shape d` is the word for dimension d."""
    folder = tmp_path_factory.mktemp("named")
    planted = plant(folder, n_images=900)
    (folder / "words").mkdir()
    names = [f"shape {d}" for d in range(WIDTH)]
    (folder / "words" / WORDS).write_text("\n".join(names) + "\n")
    np.save(folder / "words" / VECTORS, np.eye(WIDTH, dtype=np.float16))
    with (folder / "atlas.toml").open("a") as file:
        file.write('vocabulary = "words"\n')
    ran = build(folder)
    return folder, planted, ran


@pytest.fixture(scope="module")
def db(made):
    with atlas.open(made[0] / "build") as opened:
        yield opened._db


def test_the_stage_runs_where_there_is_a_vocabulary(made):
    assert made[2] == [
        *("embed", "scan", "neighbors", "families", "names"),
        *("concepts", "catalog", "site"),
    ]


def test_a_feature_is_named_by_a_dimension_that_it_reads(made, db):
    rows = db.execute("SELECT feature, label FROM labels WHERE rank = 0").fetchall()
    pairs = made[1].pairs
    right = [int(label.split()[1]) in pairs[feature] for feature, label in rows]
    assert len(rows) > 30
    assert np.mean(right) > 0.9


def test_every_name_beats_its_null_and_has_an_interval(db):
    rows = db.execute(
        "SELECT score, null_score, auroc, auroc_low, auroc_high FROM labels WHERE rank = 0"
    ).fetchall()
    assert all(score > null for score, null, *_ in rows)
    assert all(low <= auroc <= high for _, _, auroc, low, high in rows)


def test_features_that_fire_on_fewer_than_ten_images_have_no_name(db):
    assert not db.execute(
        "SELECT count(*) FROM labels JOIN features USING (feature) WHERE count < 10"
    ).fetchone()[0]


def test_a_near_miss_is_silent_no_duplicate_and_judged_by_the_name(made, db):
    acts = made[1].activations()
    rows = db.execute(
        """SELECT n.feature, image, top_image, similarity, pre_activation, verdict, sibling, l.label, i.caption
           FROM near_misses n LEFT JOIN labels l ON l.feature = n.feature AND l.rank = 0
           JOIN images i USING (image)"""
    ).fetchall()
    verdicts = set()
    for feature, image, top, similarity, pre, verdict, sibling, label, caption in rows:
        assert acts[image, feature] == 0 < acts[top, feature]
        assert pre <= 0
        assert similarity < 0.98
        assert (verdict is None) == (label is None)
        assert (sibling is not None) == (verdict == "absorption suspect")
        if sibling is not None:
            assert acts[image, sibling] > 0
        if verdict == "negative":
            assert label not in caption.split(", ")
        verdicts.add(verdict)
    assert {"negative", "absorption suspect"} <= verdicts


def test_figures_stand_beside_their_nulls(db):
    found = dict(db.execute("SELECT name, [value, null_value] FROM metrics").fetchall())
    value, null = found["names_auroc"]
    assert value > null + 0.2
    assert found["names_auroc_beside_random_images"][1] < value
    three, by_chance = found["names_auroc_three_words_beside_random_images"]
    assert by_chance < three


def test_the_same_names_whatever_the_threads(made, tmp_path):
    folder, _, _ = made
    labels = pq.read_table(folder / "build" / "names" / "labels.parquet")
    shutil.copytree(folder, tmp_path / "again")
    build(tmp_path / "again", "runtime.threads=1", f"out_dir={tmp_path / 'other'}")
    assert pq.read_table(tmp_path / "other" / "names" / "labels.parquet").equals(labels)


def test_names_from_outside_come_first_survive_builds_and_are_escaped(made, tmp_path, capsys):
    shutil.copytree(made[0], tmp_path / "copy")
    feature = int(np.flatnonzero(~made[1].dead)[0])
    given = tmp_path / "given.jsonl"
    rows = [
        {"feature": feature, "label": text, "author": "<b>me</b>"}
        for text in HOSTILE
        if text.strip()
    ]
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_dir = tmp_path / "copy" / "build"
    assert run(["names", "--atlas", str(build_dir), "--from", str(given)]) == 0
    assert "kept 8 names" in capsys.readouterr().out
    assert build(tmp_path / "copy") == ["names", "catalog", "site"]
    assert build(tmp_path / "copy") == []
    build(tmp_path / "copy", "scan.top_images=32")
    with duckdb.connect(str(build_dir / "catalog" / "atlas.duckdb"), read_only=True) as db:
        (label, source, author) = db.execute(
            "SELECT label, source, author FROM labels WHERE feature = ? AND rank = 0", [feature]
        ).fetchone()
    assert (label, source, author) == (HOSTILE[0], "imported", "<b>me</b>")
    page = (build_dir / "site" / "feature" / "0" / f"{feature}.html").read_text()
    assert "<img src=x" not in page
    assert "<b>me</b>" not in page
    assert "Named by &lt;b&gt;me&lt;/b&gt;." in page


def test_contact_sheets_show_three_rows_and_nothing_sensitive(made, tmp_path, capsys, db):
    folder = tmp_path / "sheets"
    arguments = ["names", "--atlas", str(made[0] / "build"), "--contact-sheets", str(folder)]
    assert run(arguments) == 0
    assert "sheets.jsonl and TASK.txt" in capsys.readouterr().out
    sheets = [json.loads(line) for line in (folder / "sheets.jsonl").read_text().splitlines()]
    hidden = {i for (i,) in db.execute("SELECT image FROM images WHERE sensitive").fetchall()}
    withheld = {f for (f,) in db.execute("SELECT feature FROM features WHERE sensitive").fetchall()}
    for sheet in sheets:
        assert set(sheet["rows"]) == {"strong", "middle", "near_miss"}
        assert not hidden & {image for row in sheet["rows"].values() for image in row}
        assert sheet["feature"] not in withheld
        assert (folder / sheet["sheet"]).read_bytes()[8:12] == b"WEBP"


def test_names_wants_one_of_its_options(made, capsys):
    assert run(["names", "--atlas", str(made[0] / "build")]) == 1
    assert capsys.readouterr().err == (
        "atlas: names needs one of --from FILE, --contact-sheets DIR and --judge DIR (with --answers FILE)\n"
    )


def test_search_takes_the_label_first_and_says_why_others_come(made):
    with atlas.open(made[0] / "build") as opened:
        hits = opened.search("shape 1", 40)
        whys = [hit.why for hit in hits]
        assert whys == sorted(whys, key=lambda why: why != "label")
        assert {"label", "caption"} <= set(whys)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            _, texts = opened.sql_with(
                """SELECT concat_ws(' ', caption, array_to_string(tags, ' ')) FROM top_images
                   JOIN images USING (image) WHERE feature = ? AND rank < 9 AND NOT sensitive""",
                [hit.feature],
            )
            assert hit.held == sum({"shape", "1"} <= set(plain_words(text)) for (text,) in texts)
            assert (hit.why == "caption") == (hit.held > 0 and hit.why != "label")
        with pytest.raises(InputError, match="no word of 'zzqqx' is in the vocabulary"):
            opened.search("zzqqx")


def test_a_list_of_concepts_is_had_confused_lacked_or_unknown(made, tmp_path, capsys, db):
    (label,), *_ = db.execute(
        """SELECT DISTINCT label FROM labels JOIN features USING (feature)
           WHERE rank = 0 AND NOT sensitive ORDER BY label"""
    ).fetchall()
    listed = tmp_path / "concepts.txt"
    listed.write_text(f"# shapes\n{label.upper()}\n\nshape 0 shape 1\nqqzzx\n")
    asked = ["coverage", str(listed), "--atlas", str(made[0] / "build")]
    assert run([*asked, "--json"]) == 0
    had, meant, unknown = json.loads(capsys.readouterr().out)
    assert (had["concept"], had["verdict"], had["why"]) == (label.upper(), "has", "label")
    assert had["label"] == label
    assert had["feature"] is not None
    assert meant["why"] == "meaning"
    assert (meant["verdict"] == "lacks") == (meant["score"] < meant["null_score"])
    assert unknown == {
        "concept": "qqzzx", "verdict": "unknown", "feature": None, "label": "", "why": "",
        "score": None, "null_score": None, "confused_with": "",
    }  # fmt: skip
    assert run(asked) == 0
    assert "unknown" in capsys.readouterr().out


def test_two_concepts_of_one_feature_are_confused():
    heights = np.array([[4.0, 0.0], [5.0, 0.0], [0.0, 6.0]], np.float32)
    best = heights.argmax(axis=1)
    assert [_rival(heights, best, row) for row in range(3)] == [1, -1, -1]


def test_the_best_of_more_random_directions_stands_out_further():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((20_000, 50)).max(axis=1)
    assert best_of_random(50) == pytest.approx(np.quantile(drawn, 0.95), abs=0.03)
    assert best_of_random(500) > best_of_random(50)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no list at PATH; name a text file with one concept a line"),
        (b"\n# nothing\n", "PATH holds no concept; write one a line"),
        (b"\xff\xfe", "PATH is not UTF-8 text ("),
        (b"w" * 300, f"PATH: '{'w' * 40}'… is no concept; write one of a few words a line"),
    ],
)
def test_a_list_that_is_none_is_one_line(made, tmp_path, capsys, content, said):
    listed = tmp_path / "concepts.txt"
    if content is not None:
        listed.write_bytes(content)
    assert run(["coverage", str(listed), "--atlas", str(made[0] / "build")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("atlas: " + said.replace("PATH", str(listed)))
