"""Training runs in processes of their own: what one leaves behind cannot touch the next, it can be stopped, and it ends
with the process that began it, whatever ends that (it watches a pipe that the other holds open).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ...integrators.core.errors import OptionError
from ...integrators.engine.spread import spread
from ..config import config as configs
from .lock import wait_free
from .runfiles import read_log

POLL = 0.2  # seconds between looks at a run's log
ORPHAN = 30.0  # seconds that a trainer whose process was killed has to end


class Failed(Exception):
    """A run that ended without a figure."""


def train_apart(
    data: dict[str, Any], folder: Path, watch: Callable[[list[float]], None] | None = None, cwd: str | None = None
) -> float:
    """Train once in a process of its own, on from its checkpoint where the folder has one; returns the best validation.

    data: the config's tables.  watch: gets the validations so far whenever there may be new ones; what it raises ends
    the run.  cwd: where paths in the config begin (None: here).  What the run says goes to `<folder>.log`.  `Failed`
    where there is no figure.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    wait_free(folder, ORPHAN)  # of a sweep that was killed a moment ago
    said = folder.with_suffix(".log")
    with said.open("a") as f:
        command = [sys.executable, "-c", f"from {__name__} import child; child()", str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=f, stderr=f, text=True, cwd=cwd)
    feed: Any = process.stdin
    try:
        with contextlib.suppress(BrokenPipeError):  # it died at once: its log says why
            feed.write(json.dumps(data) + "\n")
            feed.flush()  # and it stays open: the trainer ends when it is closed
        while process.poll() is None:
            time.sleep(POLL)
            if watch is not None:
                watch(validations(folder))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            feed.close()
    found = validations(folder)
    if process.returncode != 0 or not found:
        lines = said.read_text().strip().splitlines()
        raise Failed(lines[-1] if lines else f"exit code {process.returncode}")
    return min(found)


def validations(folder: Path) -> list[float]:
    """Validation figures in a run's log so far; a line that is being written is left for the next look."""
    found = [row.get("validation") for row in read_log(folder / "log.jsonl")[0]]
    return [float(v) for v in found if v is not None and math.isfinite(v)]


def train_all(
    runs: Sequence[tuple[dict[str, Any], Path]], executor: Executor | None,
    taken: Callable[[int, tuple[float | None, str]], None] | None = None,
) -> list[tuple[float | None, str]]:  # fmt: skip
    """(best validation, "") of every run, a config's tables and a folder, or (None, why there is none).

    executor: its workers share the runs, each of which is still a process of its own beside the worker; None: one after
    the other.  A run whose worker died goes on from its last checkpoint.  taken: called whenever one is through, with
    its number.  OptionError where the workers do not write to this disk.
    """
    parts = [(data, str(folder.absolute())) for data, folder in runs]

    def seen(i: int, found: tuple[float | None, str]) -> None:
        if found[0] is not None and not validations(runs[i][1]):
            raise OptionError(
                f"{runs[i][1]}: a worker has trained this run, and its log is not here: the folder must be on a disk "
                "that all machines share"
            )
        if taken is not None:
            taken(i, found)

    return spread(
        _figure_or_error, parts, executor, shared=os.getcwd(), what="run", named=lambda i: str(runs[i][1]), taken=seen
    )


def _figure_or_error(cwd: str, run: tuple[dict[str, Any], str]) -> tuple[float | None, str]:
    try:
        return train_apart(run[0], Path(run[1]), cwd=cwd if os.path.isdir(cwd) else None), ""
    except Failed as error:
        return None, str(error)


def child() -> None:
    """Train in this process: the config comes on standard input, the folder is the argument.

    The run goes on from the folder's checkpoint where it holds one.
    """
    from .run import train

    folder = Path(sys.argv[1])
    data = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_other, daemon=True).start()
    train(configs.from_dict(data), out=folder, resume=(folder / "config.json").exists(), progress=False)


def _end_with_the_other() -> None:
    """End this process when the pipe's other end is closed, as that of a killed process is too.

    That may be at any moment: files are put in place whole.
    """
    while os.read(0, 4096):
        pass
    os._exit(1)
