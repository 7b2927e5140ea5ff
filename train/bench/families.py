"""The frozen family of every protocol, as an attribute of this module that has the protocol's name.

It is read when it is first asked for: so `problems.family("orbits-v1")` finds it in a process that has loaded no
protocol (`problems.places`).
"""

from __future__ import annotations

from typing import Any

from .protocol import load, members, names


def __getattr__(name: str) -> Any:
    if name not in names() or members(name) != (name,):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load(name).family
