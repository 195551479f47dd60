"""Parts of a stage: kept after a crash, extended, dropped when settings change, made again by force."""

import pytest
from copying import COPY, Settings, run


def in_parts(calls, crash_at=None, letters="xyz"):
    def work(job):
        for letter in letters:

            def make(path, letter=letter):
                calls.append(letter)
                if letter == crash_at:
                    raise RuntimeError("power cut")
                path.write_text(letter * job.settings.k)

            job.part(letter, ".txt", {"letter": letter, "k": job.settings.k}, make)

    return work


def test_finished_parts_survive_a_crash(tmp_path, words):
    calls = []
    with pytest.raises(RuntimeError):
        run(COPY, tmp_path, words, work=in_parts(calls, crash_at="y"))
    run(COPY, tmp_path, words, work=in_parts(calls))
    assert calls == ["x", "y", "y", "z"]


def test_new_parts_extend_a_published_stage(tmp_path, words):
    calls = []
    run(COPY, tmp_path, words, work=in_parts(calls))
    words.write_text("more input")
    run(COPY, tmp_path, words, work=in_parts(calls, letters="xyzw"))
    assert calls == ["x", "y", "z", "w"]


def test_parts_of_old_settings_are_dropped(tmp_path, words):
    run(COPY, tmp_path, words, work=in_parts([]))
    run(COPY, tmp_path, words, work=in_parts([]), settings=Settings(k=1))
    parts = [path.read_text() for path in (tmp_path / "atlas/copy/parts").iterdir()]
    assert sorted(parts) == ["x", "y", "z"]


def test_a_forced_build_makes_every_part_again(tmp_path, words):
    calls = []
    run(COPY, tmp_path, words, work=in_parts(calls))
    run(COPY, tmp_path, words, work=in_parts(calls), force=True)
    assert calls == ["x", "y", "z"] * 2
