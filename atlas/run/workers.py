"""Tasks in several processes, one a device or a core; they end with the build that started them.

Results come back in order to the process that asks. Whole parts of a stage, on this machine or
on many, are made by atlas.run.engines.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from threading import Thread
from types import ModuleType
from typing import Any, TypeVar

from atlas.base.errors import InputError
from atlas.settings.runtime import Runtime

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Numbers of glibc's mallopt."""
KEPT_BYTES = 1 << 30
TASKS_AHEAD = 4
"""Tasks a process that are handed out before the first of their results is taken."""
Tools = TypeVar("Tools")
Task = TypeVar("Task")
Result = TypeVar("Result")


def own_device(runtime: Runtime) -> str:
    """Return the torch device of this process: of those that torchrun starts, each has a card."""
    if runtime.engine == "ranks" and runtime.device == "cuda":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return runtime.device


def devices_of(runtime: Runtime) -> list[str]:
    """Return the torch device of each worker process.

    One a core where the device is cpu, one a card where it is cuda without a number.
    """
    if runtime.device == "cpu":
        return ["cpu"] * (runtime.workers or os.cpu_count() or 1)
    if runtime.device == "cuda":
        import torch

        return [f"cuda:{card}" for card in range(torch.cuda.device_count())] or ["cuda"]
    return [runtime.device]


@cache
def keep_memory() -> None:
    """Let the C library keep what is freed: else every layer of a network fetches its memory anew.

    On a CPU that takes a convolutional network as long as its sums.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        library = ctypes.CDLL(None)
        for option in (MMAP_THRESHOLD, TRIM_THRESHOLD):
            library.mallopt(option, KEPT_BYTES)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use a single thread for the duration: another number changes the last bits."""
    import torch

    keep_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_workers(
    devices: Sequence[str],
    take_tools: Callable[[str], Tools],
    work: Callable[[Tools, Task], Result],
    tasks: Iterable[Task],
) -> Iterator[Result]:
    """Yield each task's result, in the order of the tasks.

    Tasks are taken a few ahead of the results, so that they need not all be in memory.

    Args:
        devices: One a process; a single one is served by this process.
        take_tools: Called once in each process with its device. Like work it travels to other
            processes: a function at the top of a module, or a partial of one.
        work: Called with the tools and a task.
        tasks: What is to be done.

    Raises:
        InputError: A process was ended from outside.
    """
    coming = iter(tasks)
    first = list(islice(coming, 2))
    if len(devices) == 1 or len(first) < 2:
        tools = take_tools(devices[0])
        for task in chain(first, coming):
            yield work(tools, task)
        return
    context = get_context("spawn")
    free = context.SimpleQueue()
    for device in devices:
        free.put(device)
    with ProcessPoolExecutor(
        len(devices), mp_context=context, initializer=_start, initargs=(free, take_tools)
    ) as pool:
        try:
            futures: deque[Future[Result]] = deque()
            for task in chain(first, coming):
                with _keep_main_out():  # a process may be started
                    futures.append(pool.submit(_work, work, task))
                if len(futures) >= TASKS_AHEAD * len(devices):
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was ended from outside, most likely for lack of memory; "
                "build again with a lower runtime.workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _keep_main_out() -> Iterator[None]:
    """Let processes started meanwhile leave the caller's script alone.

    They'd run it from the top, to know what it defines, of which they need nothing: a script
    that builds outside of `if __name__ == "__main__":` would build again in each of them.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_tools: Any = None
"""In a worker process: what it works with, taken once."""


def _start(free: Any, take_tools: Callable[[str], Any]) -> None:
    global _tools
    Thread(target=_end_with_parent, daemon=True).start()
    _tools = take_tools(free.get())


def _work(work: Callable[[Any, Any], Any], task: Any) -> Any:
    return work(_tools, task)


def _end_with_parent() -> None:
    """Leave once the build is gone: a killed one can't tell its workers, and they'd wait forever."""
    build = parent_process()
    assert build is not None
    build.join()
    os._exit(1)
