"""Look-ups: what the catalog says, to people and to machines."""

import json
import subprocess
import sys

import numpy as np
import pytest

import atlas
from atlas.base.errors import InputError, MissingError
from atlas.command.app import run
from atlas.inputs.embeddings import read_embeddings


@pytest.fixture(scope="module")
def opened(planted_atlas):
    with atlas.open(planted_atlas) as found:
        yield found


@pytest.fixture(scope="module")
def db(opened):
    """The same connection: DuckDB wants one way of opening a file in a process."""
    return opened._db


@pytest.fixture
def ask(planted_atlas, capsys):
    """Run a command on the planted atlas: (status, lines out, lines err)."""

    def answer(*arguments):
        status = run([*map(str, arguments), "--atlas", str(planted_atlas)])
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err.splitlines()

    return answer


def live(db, extra="true"):
    query = f"SELECT min(feature) FROM features WHERE alive AND NOT sensitive AND {extra}"
    return db.execute(query).fetchone()[0]


def test_a_feature_is_what_the_catalog_says(opened, db):
    feature = live(db, "feature IN (SELECT feature FROM labels)")
    found = opened.feature(feature)
    row = db.execute(
        "SELECT count, density, median, max FROM features WHERE feature = ?", [feature]
    ).fetchone()
    assert (found.count, found.density, found.median, found.max) == row
    assert found.citation == f"{opened.id}/f{feature}"
    assert found.page == f"feature/0/{feature}.html"
    top = db.execute(
        "SELECT image, activation FROM top_images WHERE feature = ? ORDER BY rank LIMIT 9",
        [feature],
    ).fetchall()
    assert [(t.image, t.activation) for t in found.top_images] == top
    assert [n.cosine for n in found.neighbors] == sorted(
        (n.cosine for n in found.neighbors), reverse=True
    )


def test_a_feature_s_page_is_where_the_site_has_it_in_either_layout(planted_atlas, grouped_site):
    for folder in (planted_atlas, grouped_site.parent):
        with atlas.open(folder) as opened:
            feature = live(opened._db)
            path, _, anchor = opened.feature(feature).page.partition("#")
        text = (folder / "site" / path).read_text()
        assert f'id="f{feature}"' in text
        assert anchor in ("", f"f{feature}")


def test_dead_and_sensitive_features_say_so_and_show_nothing(opened, db):
    dead = db.execute("SELECT min(feature) FROM features WHERE NOT alive").fetchone()[0]
    found = opened.feature(dead)
    assert (found.alive, found.page, found.top_images, found.neighbors) == (False, "", (), ())
    hidden = db.execute("SELECT min(feature) FROM features WHERE sensitive").fetchone()[0]
    found = opened.feature(hidden)
    assert found.sensitive
    assert found.top_images == ()


def test_sensitive_images_keep_their_captions_to_themselves(opened, db):
    feature, image = db.execute(
        """SELECT feature, image FROM top_images JOIN images USING (image) JOIN features USING (feature)
           WHERE images.sensitive AND NOT features.sensitive AND rank < 9 ORDER BY feature LIMIT 1"""
    ).fetchone()
    (caption,) = [t.caption for t in opened.feature(feature).top_images if t.image == image]
    assert caption == ""


def test_search_takes_a_number_a_label_or_a_word_of_captions(opened, db):
    feature = live(db)
    assert [hit.feature for hit in opened.search(f"f{feature}")] == [feature]
    label, wanted = db.execute(
        """SELECT label, list(feature) FROM labels JOIN features USING (feature)
           WHERE NOT sensitive GROUP BY label ORDER BY count(*), label LIMIT 1"""
    ).fetchone()
    hits = opened.search(label.upper(), 50)
    assert {hit.feature for hit in hits if hit.why == "label"} == set(wanted)
    assert not {h.feature for h in hits} & {
        f for (f,) in db.execute("SELECT feature FROM features WHERE sensitive").fetchall()
    }


def test_nothing_found_is_said_in_one_line(opened):
    with pytest.raises(InputError, match="nothing to search for"):
        opened.search("  ")
    with pytest.raises(InputError, match="no label, number or caption matches 'zzqqx'"):
        opened.search("zzqqx")
    with pytest.raises(MissingError, match=r"no feature 999; .* has features 0 to 95"):
        opened.feature(999)


def test_the_catalog_can_not_be_changed_by_a_query(opened):
    for query in ("DELETE FROM features", "DROP TABLE images", "COPY features TO '/tmp/x.csv'"):
        with pytest.raises(InputError, match="the query fails"):
            opened.sql(query)
    assert opened.sql("SELECT count(*) AS n FROM features") == (("n",), [(96,)])


@pytest.mark.parametrize(
    "command",
    [
        ("feature", 3),
        ("neighbors", 3),
        ("search", "3"),
        ("report",),
        ("sql", "SELECT feature, density FROM features ORDER BY feature LIMIT 3"),
    ],
    ids=lambda command: command[0],
)
def test_every_look_up_speaks_to_people_and_to_machines(ask, command):
    status, lines, err = ask(*command)
    assert (status, err) == (0, [])
    assert lines
    status, lines, err = ask(*command, "--json")
    assert (status, err) == (0, [])
    assert json.loads("\n".join(lines))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("feature", 999), "atlas: no feature 999; "),
        (("neighbors", 999), "atlas: no feature 999; "),
        (("search", "zzqqx"), "atlas: no label, number or caption matches 'zzqqx'"),
        (("sql", "SELECT nothing FROM nowhere"), "atlas: the query fails: "),
        (("sql", "DELETE FROM features"), "atlas: the query fails: "),
    ],
)
def test_what_can_not_be_answered_is_one_line_and_status_one(ask, command, said):
    status, lines, err = ask(*command)
    assert (status, lines, len(err)) == (1, [], 1)
    assert err[0].startswith(said)


def test_a_missing_or_damaged_atlas_is_one_line(tmp_path, capsys):
    assert run(["report", "--atlas", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == (
        f"atlas: no atlas at {tmp_path / 'none'}; build one with: atlas build CONFIG\n"
    )
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "atlas.duckdb").write_bytes(b"not a database" * 400)
    assert run(["report", "--atlas", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"atlas: cannot read the catalog of {tmp_path}: ")


def test_look_ups_load_nothing_heavy(planted_atlas):
    code = f"""
import sys, atlas
from atlas.command.app import run
from atlas.inputs.embeddings import read_embeddings
for command in (["feature", "3"], ["search", "shape"], ["neighbors", "3"], ["report"]):
    assert run([*command, "--atlas", {str(planted_atlas)!r}]) == 0
print(sorted(set(sys.modules) & {{"torch", "faiss", "diffusers", "pyarrow", "umap", "open_clip", "jinja2"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_images_like_one_are_nearest_first_without_itself_or_sensitive_ones(opened, planted_atlas):
    x = read_embeddings(planted_atlas / "embed").read_all()
    off = x - x.mean(axis=0)
    unit = off / np.linalg.norm(off, axis=1, keepdims=True)
    hidden = {i for (i,) in opened.sql("SELECT image FROM images WHERE sensitive")[1]}
    assert hidden
    found = opened.images_like(3, 5)
    shown = [i for i in np.argsort(-(unit @ unit[3]), kind="stable").tolist() if i not in hidden]
    best = [(unit @ unit[3])[i] for i in shown if i != 3][:5]
    assert [one.cosine for one in found] == pytest.approx(best, abs=2e-3)
    assert not {3, *hidden} & {one.image for one in found}
    with pytest.raises(InputError, match=r"^no image 100000; there are images 0 to \d+$"):
        opened.images_like(100_000)


def test_images_like_one_want_the_index_that_neighbors_wrote(opened, planted_atlas, monkeypatch):
    monkeypatch.setattr("atlas.study.image_index.IMAGE_INDEX", "gone.faiss")
    with pytest.raises(MissingError) as caught:
        opened.images_like(3)
    assert str(caught.value) == (
        f"no index of images at {planted_atlas / 'neighbors' / 'gone.faiss'}; "
        "build it with: atlas build CONFIG neighbors"
    )
