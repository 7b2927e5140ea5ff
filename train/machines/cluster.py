"""An executor by its name on the command line: `--cluster ray://HOST:PORT`, `ray://auto`, `ray`, `processes:N`."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from ...integrators.core import options
from ...integrators.core.errors import OptionError
from ...integrators.engine.spread import stop

MOST_PROCESSES = 4096
TAKES = "processes:N, ray (a cluster of this machine's cores), ray://HOST:PORT or ray://auto"


@contextmanager
def cluster(name: str | None) -> Iterator[Executor | None]:
    """The executor called `name`, until the block ends; None for None.

    "processes:N"        N processes of this machine
    "ray"                a Ray cluster of this machine's cores, which ends with the block
    "ray://HOST:PORT"    a Ray cluster that is there, by its client's port (10001, where nobody chose another)
    "ray://auto"         the Ray cluster that this machine is a part of, as Ray itself finds it

    Raises OptionError for other names, and where the cluster cannot be reached; ModuleNotFoundError without Ray.
    """
    if name is None:
        yield None
        return
    kind, _, rest = str(name).partition(":")
    if kind == "processes" and rest.isascii() and rest.isdigit() and 1 <= int(rest) <= MOST_PROCESSES:
        # spawned, not forked: a fork would take the locks of this process's threads along
        pool = ProcessPoolExecutor(int(rest), multiprocessing.get_context("spawn"), initializer=_uninterrupted)
        with ended(pool):
            yield pool
    elif name == "ray" or (kind == "ray" and rest.startswith("//") and len(rest) > 2):
        from .ray_workers import connected

        with connected(None if name == "ray" else name) as found, ended(found):
            yield found
    else:
        raise OptionError(f"cluster must be {TAKES}, got {options.shown(name)}")


@contextmanager
def ended(executor: Any) -> Iterator[None]:
    """Close the executor when the block ends; by an error or an interrupt at once."""
    try:
        yield
    except BaseException:
        stop(executor)
        raise
    executor.shutdown()


def _uninterrupted() -> None:
    """Leave interrupts (ctrl-C), which a terminal sends to all processes, to the one that asks: it ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
