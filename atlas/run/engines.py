"""Ways to make the parts of a stage with many hands: processes of this machine, or a cluster.

The unit is one part: one number, one file. Whoever makes a part holds its lock, so that hands
may come late, die, or ask for the same part; the stage itself makes what is left over. So the
parts are the same bytes however many hands there were. Hands share nothing but the folder; tasks
that give results back to a build on this machine are handed out by atlas.run.workers.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from queue import SimpleQueue
from typing import IO, Any, cast

from atlas.base.errors import MissingError
from atlas.base.progress import Progress
from atlas.run.stage import Job

Tell = Callable[[list[int]], None]
"""Called with what a stage counts of the work done since it was called last."""
Make = Callable[[Job, int, Tell], bool]
"""Makes part number n of a job; False if another hand is at it. Other processes find it by name."""

POLL_S = 1.0
RAY_RETRIES = 4
HAND = "import sys; from atlas.run.engines import lend_a_hand; lend_a_hand(sys.stdin.buffer, sys.stdout)"


def cores() -> int:
    """Return the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Return this process's number among those that torchrun started; 0 where it did not."""
    return int(os.environ.get("RANK", "0"))


def make_locally(job: Job, make: Make, parts: Sequence[int], workers: int, tell: Tell) -> None:
    """Let worker processes make parts; some may be missing afterwards, if a worker died.

    Each worker computes with one thread (or runtime.threads): on a few cores processes need
    not wait for one another, as threads must.

    Args:
        job: The stage's job.
        make: Makes one part.
        parts: Numbers of the parts wanted.
        workers: Processes.
        tell: Called with what the workers tell.
    """
    said: SimpleQueue[list[int] | None] = SimpleQueue()
    hands = []
    for seat in range(min(workers, len(parts))):
        turned = [*parts[seat:], *parts[:seat]]
        hands.append(_start_hand(job, make, turned))
        threading.Thread(target=_listen, args=(hands[-1], said), daemon=True).start()
    try:
        silent = 0
        while silent < len(hands):
            amounts = said.get()
            if amounts is None:
                silent += 1
            else:
                tell(amounts)
    finally:
        for hand in hands:
            hand.kill()
            hand.wait()


def _start_hand(job: Job, make: Make, parts: Sequence[int]) -> subprocess.Popen[bytes]:
    threads = str(job.runtime.threads or 1)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    hand = subprocess.Popen(
        [sys.executable, "-c", HAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"} | dict.fromkeys(names, threads),
    )
    runtime = job.runtime.model_copy(update={"threads": int(threads)})
    quiet = replace(job, progress=Progress(silent=True), runtime=runtime)
    try:
        with cast(IO[bytes], hand.stdin) as pipe:
            pickle.dump((make, quiet, list(parts)), pipe)
    except BrokenPipeError:  # it died at birth; others, or the stage itself, make its parts
        pass
    return hand


def _listen(hand: subprocess.Popen[bytes], said: SimpleQueue[list[int] | None]) -> None:
    for line in cast(IO[bytes], hand.stdout):
        said.put([int(word) for word in line.split()])
    said.put(None)


def lend_a_hand(orders: IO[bytes], answers: IO[str]) -> None:
    """Be a worker process: make the parts that the orders name and nobody else is making."""
    make, job, parts = pickle.load(orders)

    def tell(amounts: list[int]) -> None:
        answers.write(" ".join(map(str, amounts)) + "\n")
        answers.flush()

    for number in parts:
        make(job, number, tell)


def help_until_done(job: Job, make: Make, parts: Sequence[int], tell: Tell) -> None:
    """Make parts beside other processes until none is missing, the own rank's share first."""
    size = max(1, int(os.environ.get("WORLD_SIZE", "1")))
    missing = sorted(parts, key=lambda number: (number - rank()) % size)
    while missing:
        missing = [number for number in missing if not make(job, number, tell)]
        if missing:
            time.sleep(POLL_S)


def make_on_ray(job: Job, make: Make, parts: Sequence[int], tell: Tell) -> None:
    """Let a Ray cluster make the parts; its machines must see the job's folders under one name.

    Args:
        job: The stage's job.
        make: Makes one part.
        parts: Numbers of the parts wanted.
        tell: Called with what the makers of a part told, when it is done.

    Raises:
        MissingError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingError(
            "runtime.engine ray needs Ray; install it with: pip install 'feature-atlas[cluster]'"
        ) from error
    address = job.runtime.address
    try:
        if address == "local":
            ray.init(num_cpus=job.runtime.workers or cores(), include_dashboard=False)
        else:
            ray.init(address=address)
    except ConnectionError as error:
        raise MissingError(
            f"no Ray cluster at {address!r}; start one with: ray start --head, or set "
            "runtime.address to local"
        ) from error
    try:
        task: Any = ray.remote(max_retries=RAY_RETRIES, num_cpus=job.runtime.threads or 1)(
            _ray_part
        )
        threads = {"threads": job.runtime.threads or 1}
        runtime = job.runtime.model_copy(update=threads)
        orders = ray.put((make, replace(job, progress=Progress(silent=True), runtime=runtime)))
        waiting = [task.remote(orders, number) for number in parts]
        while waiting:
            done, waiting = ray.wait(waiting)
            for amounts in chain.from_iterable(ray.get(done)):
                tell(amounts)
    finally:
        ray.shutdown()


def _ray_part(orders: tuple[Make, Job], number: int) -> list[list[int]]:
    make, job = orders
    told: list[list[int]] = []
    make(job, number, told.append)
    return told
