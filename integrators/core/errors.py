"""Errors and warnings that several rooms raise, and how a value is shown in a message."""

from __future__ import annotations

import sys
from typing import Any

_PACKAGE = __name__.split(".")[0]


class OptionError(ValueError, TypeError):
    """An option has the wrong type or value, or there is no such option; caught as either of Python's two errors."""


class JacobianWarning(UserWarning):
    """A problem's `jac` disagrees with differences of its `rhs`: implicit methods lose their order or their speed
    (`jacobian_check`).
    """


class UncompiledWarning(UserWarning):
    """A function of a problem runs as plain Python, which is slow (`compiled=False`)."""


class StiffnessWarning(UserWarning):
    """An explicit method was held by stability, not by the error: the problem is stiff, and an implicit method takes
    far fewer steps (`engine.stiff`).
    """


def shown(value: Any, limit: int = 80) -> str:
    """`value` as it stands in a message: its repr, printable, at most `limit` characters."""
    try:
        text = repr(value)
    except Exception:
        text = f"an object of type {type(value).__name__}"
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def refuse(name: str, takes: str, value: Any) -> OptionError:
    """Return (not raise) the error: `name` must be `takes`, got `value`."""
    return OptionError(f"{name} must be {takes}, got {shown(value)}")


def outside() -> int:
    """`stacklevel` for a warning: the first frame outside the package and torch, through whose frames modules and
    what is kept out of graphs are called, as seen from the caller."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in (_PACKAGE, "torch"):
        frame, level = frame.f_back, level + 1
    return level
