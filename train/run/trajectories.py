"""Progress of a large ensemble, a line on standard error: trajectories done, how many a second, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .progress import Progress


@contextmanager
def reported(count: int) -> Iterator[Callable[[int], None]]:
    """Show progress over `count` trajectories while the block runs; it gets a function to call with how many are done.

    The line is drawn anew a few times a second at most, and ends with the block, also by an error or an interrupt.
    """
    bar, began = Progress("solve", count, "trajectories"), time.perf_counter()
    first: list[tuple[float, int]] = []  # the first report; what lies before it is compilation, too

    def report(done: int) -> None:
        now = time.perf_counter()
        since, before = first[0] if first else (began, 0)
        if not first:
            first.append((now, done))
        rate = (done - before) / max(now - since, 1e-9)
        bar.update(done, f"{done:,}/{count:,}, {rate:,.0f}/s")

    try:
        yield report
    finally:
        bar.close()
