"""Tasks in worker processes, one per device or core, with results in the order of the tasks.

Parts of a stage, which are files and need no results, are shared among processes by
atlas.run.engines.
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
"""Options of mallopt, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of glibc's malloc.h."""
KEPT_BYTES = 1 << 30
TASKS_AHEAD = 4
"""Tasks per process that are submitted ahead of the result being waited for."""
Tools = TypeVar("Tools")
Task = TypeVar("Task")
Result = TypeVar("Result")


def own_device(runtime: Runtime) -> str:
    """Return the torch device of this process; each process of torchrun has a GPU of its own."""
    if runtime.engine == "ranks" and runtime.device == "cuda":
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return runtime.device


def devices_of(runtime: Runtime) -> list[str]:
    """Return the torch device of each worker process.

    One per core if the device is cpu, one per GPU if it is cuda without a number.
    """
    if runtime.device == "cpu":
        return ["cpu"] * (runtime.workers or os.cpu_count() or 1)
    if runtime.device == "cuda":
        import torch

        return [f"cuda:{card}" for card in range(torch.cuda.device_count())] or ["cuda"]
    return [runtime.device]


@cache
def keep_memory() -> None:
    """Make malloc keep freed memory, instead of returning it to the system after every layer.

    On a CPU, mapping that memory again takes a convolutional network as long as its arithmetic.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        library = ctypes.CDLL(None)
        for option in (MMAP_THRESHOLD, TRIM_THRESHOLD):
            library.mallopt(option, KEPT_BYTES)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread within the block: the number of threads changes the last bits."""
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
    make_tools: Callable[[str], Tools],
    work: Callable[[Tools, Task], Result],
    tasks: Iterable[Task],
) -> Iterator[Result]:
    """Yield each task's result, in the order of the tasks.

    Only a few tasks are taken ahead of the results, so they need not all fit in memory.

    Args:
        devices: One per process; with a single device, tasks run in this process.
        make_tools: Called once in each process with its device. It is pickled, like work: use a
            function at the top of a module, or a partial of one.
        work: Called with the tools and a task.
        tasks: Pickled, too.

    Raises:
        InputError: A worker process was killed.
    """
    remaining = iter(tasks)
    first = list(islice(remaining, 2))
    if len(devices) == 1 or len(first) < 2:
        tools = make_tools(devices[0])
        for task in chain(first, remaining):
            yield work(tools, task)
        return
    yield from _in_pool(devices, make_tools, work, chain(first, remaining))


def _in_pool(
    devices: Sequence[str],
    make_tools: Callable[[str], Tools],
    work: Callable[[Tools, Task], Result],
    tasks: Iterable[Task],
) -> Iterator[Result]:
    """Do what in_workers does, with one process per device."""
    # spawn: a forked copy of a process that has used CUDA or OpenMP may hang.
    context = get_context("spawn")
    unassigned = context.SimpleQueue()
    for device in devices:
        unassigned.put(device)
    with ProcessPoolExecutor(
        len(devices), mp_context=context, initializer=_start, initargs=(unassigned, make_tools)
    ) as pool:
        try:
            futures: deque[Future[Result]] = deque()
            for task in tasks:
                with _hide_main():  # submit may start a process
                    futures.append(pool.submit(_work, work, task))
                if len(futures) >= TASKS_AHEAD * len(devices):
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process was killed, most likely for lack of memory; "
                "build again with a lower runtime.workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _hide_main() -> Iterator[None]:
    """Keep processes that are spawned within the block from importing the caller's script.

    multiprocessing runs it from the top in each of them, to have what it defines. Workers need
    nothing of it, and a script without `if __name__ == "__main__":` would build again in each.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_tools: Any = None
"""In a worker process: what make_tools returned."""


def _start(unassigned: Any, make_tools: Callable[[str], Any]) -> None:
    global _tools
    Thread(target=_exit_with_parent, daemon=True).start()
    _tools = make_tools(unassigned.get())


def _work(work: Callable[[Any, Any], Any], task: Any) -> Any:
    return work(_tools, task)


def _exit_with_parent() -> None:
    """Exit when the build is gone: a killed one can't stop its workers, which would wait forever."""
    build = parent_process()
    assert build is not None
    build.join()
    os._exit(1)  # not sys.exit, which would end this thread only
