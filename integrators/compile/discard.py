"""Stored machine code that is of no use is thrown away, so that the function is compiled anew."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

#: modules whose machine code was thrown away once in this process
_DISCARDED: set[str] = set()


def discard_damaged(function: Any) -> bool:
    """After a failed first call of a kernel's `function`: throw its stored machine code away; True where it is worth a
    second try.

    Numba trusts the files that it finds; a damaged one (a full disk, a crash) makes every call fail until it is
    deleted.
    """
    module = sys.modules.get(function.py_func.__module__)
    if module is None or module.__file__ is None or function.signatures or module.__name__ in _DISCARDED:
        return False
    _DISCARDED.add(module.__name__)
    return thrown_away(Path(module.__file__))


def thrown_away(path: Path) -> bool:
    """Delete the machine code that Numba has stored for the module at `path`; whether there was any."""
    stored = [f for f in (path.parent / "__pycache__").glob(f"{path.stem}*.nb[ic]") if f.is_file()]
    for file in stored:
        file.unlink(missing_ok=True)
    return bool(stored)
