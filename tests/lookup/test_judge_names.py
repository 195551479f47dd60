"""The sheet on which a person judges names: blind, complete, and read back."""

from __future__ import annotations

import json

import pytest

from atlas.command.app import run
from atlas.lookup.atlas import Atlas
from atlas.lookup.judge_names import draw_questions


@pytest.fixture(scope="module")
def sheet(drawn_atlas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    assert run(["names", "--atlas", str(drawn_atlas / "build"), "--judge", str(folder)]) == 0
    return folder


def test_each_feature_has_its_name_a_neighbors_and_a_random_one(drawn_atlas):
    with Atlas(drawn_atlas / "build") as opened:
        names = dict(opened.rows("SELECT feature, label FROM names"))
        hidden = {i for (i,) in opened.rows("SELECT image FROM images WHERE sensitive")}
        questions = draw_questions(opened, 0)
        assert draw_questions(opened, 0) == questions
        for question in questions:
            told = dict(zip(question.kinds, question.names, strict=True))
            said = {label.label for label in opened.feature(question.feature).labels}
            near = [names.get(n.feature) for n in opened.neighbors(question.feature, 1000)]
            wanted = [name for name in near if name and name not in said]
            assert told["own"] == names[question.feature]
            assert told["neighbor"] == wanted[0] if wanted else told["neighbor"] not in said
            assert told["random"] not in said
            assert len(set(told.values())) == 3
            assert not hidden & set(question.images)
    assert len({question.kinds for question in questions}) > 1


def test_the_page_does_not_tell(sheet):
    page = (sheet / "judge.html").read_text()
    assert "own" not in page.replace("own.", "").split()
    assert page.count("<fieldset") == len(json.loads((sheet / "key.json").read_text())["questions"])
    assert page.count("none of these") == page.count("<fieldset")
    assert all((sheet / name).exists() for name in ("judge.js", "tune.css"))


def answers_of(sheet, kind):
    key = json.loads((sheet / "key.json").read_text())
    places = {q["feature"]: [*q["kinds"], "none"].index(kind) for q in key["questions"]}
    return {"id": key["id"], "answers": places}


@pytest.mark.parametrize("kind", ["own", "neighbor", "none"])
def test_answers_are_counted_by_what_was_chosen(sheet, drawn_atlas, tmp_path, capsys, kind):
    (tmp_path / "answers.json").write_text(json.dumps(answers_of(sheet, kind)))
    arguments = ["names", "--atlas", str(drawn_atlas / "build"), "--judge", str(sheet)]
    assert run([*arguments, "--answers", str(tmp_path / "answers.json")]) == 0
    assert ("100.0%" in capsys.readouterr().out) == (kind == "own")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"id": "another"}', '{"id": "ID", "answers": {"x": 9}}']
)
def test_answers_that_do_not_fit_are_one_line(sheet, tmp_path, capsys, text):
    identity = json.loads((sheet / "key.json").read_text())["id"]
    (tmp_path / "answers.json").write_text(text.replace("ID", identity))
    assert run(["names", "--judge", str(sheet), "--answers", str(tmp_path / "answers.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
