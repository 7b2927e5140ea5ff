"""What was read from a file, kept for as long as the file stays as it is.

A controller may be named by the path of its file in every solve of a loop.  Reading and checking a file takes a
millisecond, as long as some solves do; asking the file system whether it has changed takes two microseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

#: a file that changed less than this many nanoseconds ago is not kept: a second change may leave the same time
SETTLED_NS = 2_000_000_000
#: files kept at most
MOST = 32

_KEPT: dict[str, tuple[tuple[int, ...], Any]] = {}


def kept(path: str, read: Callable[[str], Any]) -> Any:
    """`read(path)`, or what it returned before where the file at `path` is the same as then.

    It is the same where device, inode, size, and the times of the last change of content and of status are.  What comes
    back is shared by all who ask, so `read` has to return something that does not change.  Raises what `read` does.
    """
    before = _stamp(path)
    held = _KEPT.get(path)
    if held is not None and held[0] == before:
        return held[1]
    value = read(path)
    if before is not None and before == _stamp(path) and time.time_ns() - max(before[-2:]) > SETTLED_NS:
        if len(_KEPT) >= MOST:
            _KEPT.clear()
        _KEPT[path] = (before, value)
    return value


def _stamp(path: str) -> tuple[int, ...] | None:
    """What changes when a file does; None where there is none, of which `read` makes its own error."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
