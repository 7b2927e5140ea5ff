"""A run that is refused late leaves no folder behind, so that the corrected config can go to the same place."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

#: files that hold what a run has learnt or measured, or say that a process has the folder: with one of them it is kept
WORTH = ("run.lock", "checkpoint*", "controller*", "policy*", "log.jsonl", "replay*", "weights", "model*")


@contextlib.contextmanager
def leaving_nothing(path: str | Path) -> Iterator[None]:
    """Remove the folder `path` again where the block makes it and then fails before anything worth keeping is in it.

    A folder that was there before, and one that an interruption (KeyboardInterrupt) leaves, stand as they are.
    """
    path = Path(path)
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield
    except Exception:
        if path in new and path.is_dir() and not any(list(path.glob(pattern)) for pattern in WORTH):
            shutil.rmtree(path)
            for folder in new[1:]:  # parents made with it, from the inside out
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise
