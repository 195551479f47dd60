"""Keeping numpy's products to one thread where many small ones run beside one another."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


def one_blas_thread() -> AbstractContextManager[object]:
    """Return a context in which BLAS multiplies on the thread that asks; nothing without threadpoolctl.

    Of small products from several threads, each would wake BLAS's own threads and wait for them:
    grouping took six times the CPU time.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="blas")
    return limits
