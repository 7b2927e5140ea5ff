"""A line on stderr where a compilation takes long, so that nobody takes a first call for a hanging one.

    stepsmith: compiling tsit5 under pi34 for lorenz (first use on this machine; kept on disk)...
    stepsmith: ... done in 4.2 s

The first line comes after `PATIENCE_S`, from a thread of its own, and the second at the end; a compilation that ends
before, and machine code that is loaded from disk, say nothing.  `STEPSMITH_QUIET=1` in the environment silences both.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PATIENCE_S = 2.0


def quiet() -> bool:
    """Whether the environment asks for silence."""
    return os.environ.get("STEPSMITH_QUIET", "").strip() not in ("", "0")


def solver(method: Any, controller: Any) -> str:
    """The words for a method under a controller; a kernel is compiled for the two together."""
    return f"{method.name} under {controller.name}"


def whose(source: Any) -> str:
    """The name of a Problem or Batch: its own, or where none was given that of its right-hand side."""
    return str(source.name if source.name != "user" else getattr(source.rhs, "__name__", "user"))


@contextlib.contextmanager
def told(what: str, lasts: bool = True) -> Iterator[None]:
    """Around a compilation of `what`, for instance "tsit5 for lorenz".  lasts: it is kept on disk."""
    if quiet():
        yield
        return
    start, lock, state = time.perf_counter(), threading.Lock(), {"over": False, "told": False}

    def late() -> None:
        with lock:
            if not state["over"]:
                state["told"] = True
                when = "on this machine; kept on disk" if lasts else "in this process; it cannot be kept on disk"
                _say(f"stepsmith: compiling {what} (first use {when})...")

    timer = threading.Timer(PATIENCE_S, late)
    timer.daemon = True
    timer.start()
    end = "failed after"
    try:
        yield
        end = "done in"
    except KeyboardInterrupt:
        end = "interrupted after"
        raise
    finally:
        timer.cancel()
        with lock:
            state["over"] = True
        if state["told"]:
            _say(f"stepsmith: ... {end} {time.perf_counter() - start:.1f} s")


def _say(line: str) -> None:
    """A line on stderr as it is now; none where there is no stderr, or it is closed.

    It is one write, so that lines of several threads do not run into each other.
    """
    with contextlib.suppress(Exception):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
