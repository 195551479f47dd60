"""Ways to share the parts of a stage among processes: of this machine, of torchrun, or of Ray.

The unit of work is a part: a number and a file. A process holds the lock of the part that it
makes, so processes may start late, die, or ask for the same part, and the stage makes whatever
is left over. The bytes are the same however many processes there were. They share nothing but
the folder of the stage. Tasks that return results to a build are run by atlas.run.workers.
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
from atlas.settings.runtime import Runtime

Report = Callable[[list[int]], None]
"""Called with counts of the work done since the last call; what they count is up to the stage."""
Make = Callable[[Job, int, Report], bool]
"""Makes part number n of a job; False if another process is making it. Must be picklable for all
but help_until_done: a function at the top of a module."""

POLL_S = 1.0
RAY_RETRIES = 4
WORKER = f"import sys; from {__name__} import work; work(sys.stdin.buffer, sys.stdout)"
"""What a worker process runs."""


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Return the number of this process among those that torchrun started; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def make_in_processes(
    job: Job, make: Make, parts: Sequence[int], workers: int, report: Report
) -> None:
    """Make parts in worker processes; if a worker dies, some may still be missing afterwards.

    Each worker computes with one thread (or runtime.threads): processes never wait for one
    another, as the threads of one computation do.

    Args:
        job: The job of the stage.
        make: Makes one part.
        parts: Numbers of the parts to make.
        workers: Number of processes, at most.
        report: Called with what the workers report.
    """
    reports: SimpleQueue[list[int] | None] = SimpleQueue()
    processes = []
    for number in range(min(workers, len(parts))):
        # Each worker begins at another part, so that they seldom meet at the same lock.
        rotated = [*parts[number:], *parts[:number]]
        processes.append(_start_worker(job, make, rotated))
        threading.Thread(target=_listen, args=(processes[-1], reports), daemon=True).start()
    try:
        n_ended = 0
        while n_ended < len(processes):
            counts = reports.get()
            if counts is None:
                n_ended += 1
            else:
                report(counts)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start_worker(job: Job, make: Make, parts: Sequence[int]) -> subprocess.Popen[bytes]:
    threads = str(job.runtime.threads or 1)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # passive: OpenMP's idle threads sleep instead of spinning on cores that others need.
        env={**os.environ, "OMP_WAIT_POLICY": "passive"} | dict.fromkeys(names, threads),
    )
    runtime = job.runtime.model_copy(update={"threads": int(threads)})
    quiet = replace(job, progress=Progress(silent=True), runtime=runtime)
    try:
        with cast(IO[bytes], process.stdin) as pipe:
            pickle.dump((make, quiet, list(parts)), pipe)
    except BrokenPipeError:  # it died at its start; the others, or the stage, make its parts
        pass
    return process


def _listen(process: subprocess.Popen[bytes], reports: SimpleQueue[list[int] | None]) -> None:
    """Queue the reports of a worker, and None when it ends."""
    for line in cast(IO[bytes], process.stdout):
        reports.put([int(word) for word in line.split()])
    reports.put(None)


def work(orders: IO[bytes], answers: IO[str]) -> None:
    """Be a worker process: make the parts in the orders that no other process is making."""
    make, job, parts = pickle.load(orders)

    def report(counts: list[int]) -> None:
        answers.write(" ".join(map(str, counts)) + "\n")
        answers.flush()

    for number in parts:
        make(job, number, report)


def help_until_done(job: Job, make: Make, parts: Sequence[int], report: Report) -> None:
    """Make parts beside other processes until none is missing; this rank's share comes first."""
    size = max(1, int(os.environ.get("WORLD_SIZE", "1")))
    missing = sorted(parts, key=lambda number: (number - rank()) % size)
    while missing:
        missing = [number for number in missing if not make(job, number, report)]
        if missing:
            time.sleep(POLL_S)


def make_on_ray(job: Job, make: Make, parts: Sequence[int], report: Report) -> None:
    """Make parts on a Ray cluster, whose machines must see the job's folders at the same paths.

    Args:
        job: The job of the stage.
        make: Makes one part.
        parts: Numbers of the parts to make.
        report: Called with the reports on a part, once it is done.

    Raises:
        MissingError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingError(
            "runtime.engine ray needs Ray; install it with: pip install 'feature-atlas[cluster]'"
        ) from error
    _connect(ray, job.runtime.address, job.runtime.workers)
    try:
        runtime = _for_a_task(job.runtime)
        cards = int(runtime.device == "cuda")
        task: Any = ray.remote(max_retries=RAY_RETRIES, num_cpus=runtime.threads, num_gpus=cards)(
            _make_part
        )
        orders = ray.put((make, replace(job, progress=Progress(silent=True), runtime=runtime)))
        waiting = [task.remote(orders, number) for number in parts]
        while waiting:
            done, waiting = ray.wait(waiting)
            for counts in chain.from_iterable(ray.get(done)):
                report(counts)
    finally:
        ray.shutdown()


def _for_a_task(runtime: Runtime) -> Runtime:
    """Return how a Ray task runs: Ray lends it a card of its own, the only one that it sees."""
    device = "cuda" if runtime.device.startswith("cuda") else runtime.device
    return runtime.model_copy(update={"threads": runtime.threads or 1, "device": device})


def _connect(ray: Any, address: str, workers: int) -> None:
    """Connect to a Ray cluster, or start one on this machine where the address is local."""
    try:
        if address == "local":
            ray.init(num_cpus=workers or cores(), include_dashboard=False)
        else:
            ray.init(address=address)
    except ConnectionError as error:
        raise MissingError(
            f"no Ray cluster at {address!r}; start one with: ray start --head, or set "
            "runtime.address to local"
        ) from error


def _make_part(orders: tuple[Make, Job], number: int) -> list[list[int]]:
    """Make one part in a Ray task; return its reports."""
    make, job = orders
    reports: list[list[int]] = []
    make(job, number, reports.append)
    return reports
