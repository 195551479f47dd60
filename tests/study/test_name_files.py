"""Names from outside: three forms, one record, and one line for each mistake."""

import gzip
import json
from pathlib import Path

import pytest

from atlas.base.errors import InputError, MissingError
from atlas.study.name_files import GivenName, keep_names, read_names


def test_csv_json_lines_and_neuronpedia_give_the_same_names(tmp_path):
    wanted = [GivenName(17, "a, b", "me", 0.5), GivenName(3, "red", "", None)]
    (tmp_path / "a.csv").write_text('feature,label,author,score\n17,"a,  b",me,0.5\n3,red,,\n')
    (tmp_path / "b.jsonl").write_text(
        '{"feature": 17, "label": "a, b", "author": "me", "score": 0.5}\n\n{"feature": 3, "label": "red"}\n'
    )
    nested = {"index": "17", "explanations": [
        {"description": "a, b", "explanationModelName": "me", "scoreV2": 0.5}]}  # fmt: skip
    lines = [json.dumps(nested), json.dumps({"index": "3", "description": "red"})]
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for name in ("a.csv", "b.jsonl", "c.jsonl.gz"):
        assert read_names(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "feature,label\nx,red\n", "line 2: feature is 'x'; it must be a number"),
        ("a.csv", "feature,label\n3,\n", "line 2: feature 3 has no label"),
        ("a.jsonl", '{"feature": 3, "label": "r", "score": "high"}', "score is 'high'"),
        ("a.jsonl", "{nonsense", "line 1 is not JSON"),
        ("a.jsonl", "3", "line 1 is no object"),
        ("a.txt", "", "neither .csv nor .jsonl"),
        ("a.jsonl", "", "holds no names"),
        ("a.jsonl", '{"feature": 96, "label": "r"}', "names feature 96; the SAE has 0 to 95"),
    ],
)
def test_what_is_no_name_is_told_with_its_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as found:
        keep_names(tmp_path / name, tmp_path, 96)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


def test_a_missing_file_is_told():
    with pytest.raises(MissingError, match="no names at nowhere"):
        read_names(Path("nowhere.csv"))


def test_kept_names_read_back_as_they_were(tmp_path):
    (tmp_path / "n.csv").write_text("feature,label\n3,</script>\u2028\n")
    kept, n = keep_names(tmp_path / "n.csv", tmp_path / "atlas", 96)
    assert (kept, n) == (tmp_path / "atlas" / "imported" / "n.jsonl", 1)
    assert read_names(kept) == [GivenName(3, "</script>", "", None)]
