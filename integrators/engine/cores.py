"""How many cores a solve may use: those of the process, or one where it is a part that an executor runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LIMIT: ContextVar[int | None] = ContextVar("cores", default=None)


def available_cores() -> int:
    """Cores this process may use; inside of `limited`, at most that many."""
    if (most := _LIMIT.get()) is not None:
        return most
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def limited(cores: int) -> Iterator[None]:
    """Solves inside the block, in this thread, take this many cores where they are not told how many threads to use."""
    token = _LIMIT.set(cores)
    try:
        yield
    finally:
        _LIMIT.reset(token)
