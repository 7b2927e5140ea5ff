"""A function called in an interpreter of its own.

Where the loader puts code, stack and heap is drawn anew for every process, and moves the time of a short kernel by up
to a third on some machines: T. Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!"
(ASPLOS 2009).  What repetitions in one process agree on may be such a placement.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle


class NotFresh(Exception):
    """The call could not be made in an interpreter of its own; the text says why."""


def call(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, from a new interpreter with this one's import path and environment.

    Function, arguments and result are pickled; functions of a script or a notebook go by value (cloudpickle).  Raises
    NotFresh where that or the call fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        task, result = Path(folder) / "task", Path(folder) / "result"
        try:
            task.write_bytes(cloudpickle.dumps((function, args)))
        except Exception as error:
            raise NotFresh(f"{type(error).__name__}: {error}") from error
        path = os.pathsep.join([p or os.getcwd() for p in sys.path])
        try:
            done = subprocess.run(
                [sys.executable, "-c", f"from {__name__} import _child; _child({str(task)!r}, {str(result)!r})"],
                env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, errors="replace", check=False,
            )  # fmt: skip
        except OSError as error:  # there is no interpreter to start, as in a program that embeds Python
            raise NotFresh(f"{type(error).__name__}: {error}") from error
        if done.returncode or not result.exists():
            lines = done.stderr.strip().splitlines()
            raise NotFresh(lines[-1] if lines else f"the process ended with status {done.returncode}")
        return cloudpickle.loads(result.read_bytes())


def _child(task: str, result: str) -> None:
    function, args = cloudpickle.loads(Path(task).read_bytes())
    Path(result).write_bytes(cloudpickle.dumps(function(*args)))
