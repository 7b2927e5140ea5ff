"""What an interruption leaves behind: a note on the KeyboardInterrupt, which the command line prints.

In Python the note stands below the traceback.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runfiles import RunError, read_log

#: files that a run goes on from, and those that hold the best that it has found so far
STATES = ("checkpoint.npz", "checkpoint.pt", "sweep.journal", "fit-steps.json")
BEST = ("controller.safetensors", "strength.safetensors", "policy.zip")
#: columns of a log that say how far a run is
COUNTS = {"generation": "generation {}", "stage": "stage {!r}", "epoch": "epoch {}", "iteration": "iteration {:,}",
          "env_steps": "{:,} env steps"}  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """What was kept of interrupted work.

    place      the folder or file
    what       in words
    resumes    whether the work can go on from it
    options    arguments of the command that let it go on from there, where there are any
    """

    place: str
    what: str
    resumes: bool
    options: tuple[str, ...] = ()


def kept_by(error: BaseException) -> tuple[Kept, ...]:
    """What stands on an interruption, the innermost first; where that fell into the cleaning up after an earlier one,
    which it then replaces, what stands on the earlier one as well.
    """
    found: tuple[Kept, ...] = ()
    for one in chain(error):
        found = (*getattr(one, "kept", ()), *found)
    return found


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, the one that was being handled as it was raised, and so on."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__context__


def keep(error: BaseException, kept: Kept) -> None:
    """Note on an interruption what was kept."""
    noted: Any = error
    noted.kept = (*getattr(error, "kept", ()), kept)
    error.add_note(f"kept in {kept.place}: {kept.what}")


@contextlib.contextmanager
def keeping(found: Callable[[], Kept | None]) -> Iterator[None]:
    """Note what `found` finds on an interruption (KeyboardInterrupt) of the block."""
    try:
        yield
    except KeyboardInterrupt as error:
        kept = found()
        if kept is not None:
            keep(error, kept)
        raise


def in_folder(path: Path) -> Kept | None:
    """What a run folder holds; None where nothing of a run is in it."""
    states = [path / name for name in STATES if (path / name).exists()]
    if not states and not (path / "config.json").exists():
        return None
    said = [f"{file.name}, written {_ago(file)}" for file in states] or ["no checkpoint yet"]
    with contextlib.suppress(RunError):
        rows, _ = read_log(path / "log.jsonl")
        if rows:
            far = ", ".join(text.format(rows[-1][name]) for name, text in COUNTS.items() if _is(rows[-1].get(name)))
            said.append(f"log.jsonl up to {far}" if far else "log.jsonl")
    said += [f"{name}, the best so far" for name in BEST if (path / name).exists()]
    return Kept(str(path), "; ".join(said), True)


def _is(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _ago(file: Path) -> str:
    seconds = max(0.0, time.time() - file.stat().st_mtime)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"
