"""Builds that meet faults: what a trial is, and whether the atlas survived it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from building import contents, finished_parts
from faults.harness import Said, in_child, small_disk
from faults.points import FAULTS, Point, fault_name, goes_wrong, spread, write_trace

from atlas.base.files import remove_tree
from atlas.run.receipt import RECEIPT, read_receipt

QUIET = {-signal.SIGTERM: 143, -signal.SIGINT: 130}
"""Fault -> the exit status that it should end with."""


def nothing() -> None:
    """No fault."""


@dataclass(frozen=True)
class Subject:
    """A finished atlas that trials are made on, and what is in it."""

    config: Path
    stages: tuple[str, ...]
    whole: dict[str, bytes]
    """Every output, by name."""

    @property
    def out(self) -> Path:
        """The folder of the atlas."""
        return self.config.parent / "build"

    def build(self, *arguments: str, fault: Callable[[], None] = nothing) -> Said:
        """Build in a child process."""
        return in_child(["build", str(self.config), *arguments], fault)

    def why_lost(self, said: Said) -> str:
        """Return what is wrong after a build that should have made all whole; empty if nothing is."""
        if said.status:
            return f"the build after it ended with {said.status}: {said.err[-300:]}"
        now = {name: data for name, data in contents(self.out).items() if name[:6] != ".work/"}
        different = sorted(
            name for name in {*now, *self.whole} if now.get(name) != self.whole.get(name)
        )
        return f"differs: {', '.join(different[:3])}" if different else ""


def make_subject(config: Path) -> Subject:
    """Build an atlas here, so that children that are forked later find everything imported."""
    from atlas.command.app import run

    assert run(["build", str(config)]) == 0
    out = config.parent / "build"
    stages = tuple(sorted(path.parent.name for path in out.glob(f"*/{RECEIPT}")))
    return Subject(config, stages, contents(out))


def trace(subject: Subject, *arguments: str) -> list[str]:
    """Return the names of the operations of a build, in order."""
    log = subject.config.parent / "trace"
    said = subject.build(*arguments, fault=write_trace(subject.out, log))
    assert said.status == 0, said.err
    return log.read_text().splitlines()


def why_not_in_one_line(said: Said, fault: int) -> str:
    """Return what is wrong with how a build told of a fault; empty if nothing is."""
    if fault == -signal.SIGKILL:
        return "" if said.status in (0, -signal.SIGKILL) else f"ended with {said.status}"
    if fault < 0:
        quiet = said.status in (0, QUIET[fault]) and "Traceback" not in said.err
        return "" if quiet else f"not quiet ({said.status}): {said.err[-300:]}"
    if said.status == 0 and "Traceback" not in said.err:  # there was another way
        return ""
    return "" if said.in_one_line() else f"not one line ({said.status}): {said.err[-400:]}"


def try_point(subject: Subject, point: Point, fault: int, *, again: bool) -> str:
    """Let a stage meet a fault; return what is wrong then or after the next build, empty if nothing is.

    Args:
        subject: What is built.
        point: Where.
        fault: What.
        again: The stage is finished and made again by force, else it was never built.
    """
    stage = point.stage if point.stage in subject.stages else "site"
    if not again:
        remove_tree(subject.out / stage)
    more = ("--force",) if again else ()
    said = subject.build(stage, *more, fault=goes_wrong(subject.out, point, fault))
    wrong = why_not_in_one_line(said, fault)
    others = {name: data for name, data in subject.whole.items() if not name.startswith(stage)}
    now = contents(subject.out)
    if any(now.get(name) != data for name, data in others.items()):
        wrong = wrong or "changed what another stage had published"
    return wrong or subject.why_lost(subject.build())


def choose_points(subject: Subject, n: int) -> list[tuple[Point, bool]]:
    """Return points of a build from nothing, and of one by force those that the first lacks."""
    forced = trace(subject, "--force")
    remove_tree(subject.out)
    first = trace(subject)
    only_again = [name for name in forced if name not in set(first)]
    found = [(point, False) for point in spread(first, n - n // 4)]
    return found + [(point, True) for point in spread(only_again, n // 4)]


def try_points(subject: Subject, n: int) -> tuple[list[str], list[str]]:
    """Let builds meet a fault at named points; return (what was tried, what was lost)."""
    tried, lost = [], []
    for number, (point, again) in enumerate(choose_points(subject, n)):
        fault = FAULTS[number % len(FAULTS)]
        name = f"{point.name}{' again' if again else ''}: {fault_name(fault)}"
        wrong = try_point(subject, point, fault, again=again)
        tried.append(name)
        lost += [f"{name}: {wrong}"] if wrong else []
        say(number, name, wrong)
    return tried, lost


def try_doubles(subject: Subject, n: int) -> tuple[list[str], list[str]]:
    """Let a build meet a fault, and the build that goes on from there another one."""
    rng = np.random.default_rng(1)
    points = [point for point, _ in choose_points(subject, 200) if point.stage in subject.stages]
    tried, lost = [], []
    for number in range(n):
        first, second = (points[int(rng.integers(len(points)))] for _ in range(2))
        faults = [FAULTS[int(rng.integers(len(FAULTS)))] for _ in range(2)]
        for stage in {first.stage, second.stage}:
            remove_tree(subject.out / stage)
        names, wrong = [], ""
        for point, fault in zip((first, second), faults, strict=True):
            said = subject.build(fault=goes_wrong(subject.out, point, fault))
            wrong = wrong or why_not_in_one_line(said, fault)
            names.append(f"{point.name}: {fault_name(fault)}")
        wrong = wrong or subject.why_lost(subject.build())
        tried.append(" then ".join(names))
        lost += [f"{tried[-1]}: {wrong}"] if wrong else []
        say(number, tried[-1], wrong)
    return tried, lost


def dies_after(seconds: float) -> Callable[[], None]:
    """Return what ends this process without a word once it has used so many seconds of a processor."""

    def begin() -> None:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)

    return begin


def try_kills(subject: Subject, n: int) -> tuple[list[str], list[str]]:
    """Kill builds at random moments, each going on from where the last was killed."""
    rng = np.random.default_rng(2)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    remove_tree(subject.out)
    subject.build()
    whole_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    remove_tree(subject.out)
    tried, lost, parts = [], [], {}
    while len(tried) < n:
        moment = float(rng.uniform(0.02, whole_s / 2))
        said = subject.build(fault=dies_after(moment))
        parts = {**_all_parts(subject), **parts} if said.status else parts
        wrong = _why_lost_after_kill(subject, said, parts)
        if said.status == -signal.SIGPROF:
            tried.append(f"after {moment:.2f} s")
            say(len(tried), tried[-1], wrong)
        lost += [wrong] if wrong else []
        if said.status == 0:
            remove_tree(subject.out)
            parts = {}
    return tried, lost


def _why_lost_after_kill(subject: Subject, said: Said, parts: dict[str, tuple[int, int]]) -> str:
    """Return what is wrong with what a killed build left, or with what a whole one made."""
    now = _all_parts(subject)
    gone = sorted(name for name in parts if now.get(name) != parts[name])
    if gone:
        return f"made again or gone: {gone[:3]}"
    if said.status == 0:
        return subject.why_lost(said)
    if said.status != -signal.SIGPROF:
        return f"ended with {said.status}: {said.err[-300:]}"
    published = [path.parent for path in subject.out.glob(f"*/{RECEIPT}")]
    for folder in published:
        names = {f"{folder.name}/{name}" for name in read_receipt(folder)["files"]}
        now_there = contents(folder)
        if any(now_there.get(name.split("/", 1)[1]) != subject.whole.get(name) for name in names
               if name in subject.whole):  # fmt: skip
            return f"{folder.name} was published and is not whole"
    return ""


def _all_parts(subject: Subject) -> dict[str, tuple[int, int]]:
    """Return the stamps of every finished part, by stage and name, wherever it is now."""
    found = {}
    for home in (subject.out, subject.out / ".work"):
        for folder in home.glob("*/parts"):
            stage = folder.parent.name.removesuffix(".old")
            held = finished_parts(folder.parent)
            found |= {f"{stage}/{n}": held[n] for n in held if not n.startswith(("state-", "."))}
    return found


def no_bytes() -> None:
    """Let no file grow."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def try_rooms(subject: Subject, rooms: Iterable[int]) -> tuple[list[str], list[str]]:
    """Let each stage find so many bytes left on its disk, then make room and build again."""
    tried, lost = [], []
    with small_disk(subject.config.parent / "disk", 256 << 20) as disk:
        folder = disk / "atlas"
        ignored = shutil.ignore_patterns("disk")
        shutil.copytree(subject.config.parent, folder, symlinks=True, ignore=ignored)
        there = Subject(folder / subject.config.name, subject.stages, subject.whole)
        said = there.build()
        assert said.status == 0, said.err
        there = Subject(there.config, there.stages, contents(there.out))
        for stage in there.stages:
            for room in rooms:
                name = f"{stage} with {room:,} bytes left"
                fill(disk, room)
                said = there.build(stage, "--force")
                wrong = "" if said.status == 0 and room else why_no_room(said)
                (disk / "filler").unlink()
                wrong = wrong or there.why_lost(there.build())
                tried.append(name)
                lost += [f"{name}: {wrong}"] if wrong else []
                say(len(tried), name, wrong)
    return tried, lost


def why_no_room(said: Said) -> str:
    """Return what is wrong with how a build told that there is no room; empty if nothing is."""
    if not said.in_one_line():
        return f"not one line ({said.status}): {said.err[-400:]}"
    return "" if "no room to write" in said.told[0] else said.told[0]


def fill(disk: Path, room: int) -> None:
    """Fill a disk but for so many bytes."""
    try:
        with (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
    except OSError:
        pass
    size = (disk / "filler").stat().st_size
    if room:
        os.truncate(disk / "filler", max(0, size - room))


def try_limits(subject: Subject) -> tuple[list[str], list[str]]:
    """Let each stage write no byte to any file."""
    tried, lost = [], []
    for stage in subject.stages:
        said = subject.build(stage, "--force", fault=no_bytes)
        wrong = "" if said.in_one_line() else f"not one line: {said.err[-400:]}"
        wrong = wrong or subject.why_lost(subject.build())
        tried.append(f"{stage}: no file may grow")
        lost += [f"{tried[-1]}: {wrong}"] if wrong else []
        say(len(tried), tried[-1], wrong)
    return tried, lost


def say(number: int, name: str, wrong: str) -> None:
    """Print how a trial went."""
    print(f"{number:5} {name}{' LOST: ' + wrong if wrong else ''}", flush=True, file=sys.stderr)
