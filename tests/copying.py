"""A stage that copies the first letters of a text, to test how stages are built."""

from __future__ import annotations

from atlas.base.files import DigestCache
from atlas.base.progress import Progress
from atlas.run.build import build_stage
from atlas.run.receipt import outside_source
from atlas.run.stage import Stage
from atlas.settings.runtime import Runtime
from atlas.settings.section import Section


class Settings(Section):
    k: int = 3


COPY = Stage("copy", "run", version=1, needs=("words",))


def copy_k(job):
    text = job.inputs["words"].read_text()
    (job.out_dir / "top.txt").write_text(text[: job.settings.k])


def source(path, tmp_path, name="words"):
    return outside_source(name, path, (path,), DigestCache(tmp_path / "cache.json"))


def run(stage, tmp_path, words, work=copy_k, settings=None, **more):
    return build_stage(
        stage,
        work,
        settings=settings or Settings(),
        runtime=Runtime(),
        sources={"words": source(words, tmp_path)},
        root=tmp_path / "atlas",
        progress=Progress(silent=True),
        **more,
    ).reasons
