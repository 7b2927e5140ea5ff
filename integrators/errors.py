"""Warnings; compiler errors in words: why a right-hand side cannot be compiled, and the line, not the compiler's own story."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_NOISE = (
    "Failed in", "During:", "Enable logging", "This error", "For more", "https://", "There are", "Overload", "With argument", "- Of which",
    "Operator Overload", "No match", "* (", "Rejected", "raised from", "Known signatures", "[1] During", "[2] During",
)  # fmt: skip


class JacobianWarning(UserWarning):
    """A problem's `jac` disagrees with differences of its `rhs`: implicit methods lose their order or their speed (`jacobian_check`)."""


def explained(error: Exception, source: Any) -> Exception:
    """`error` itself, or, if it is the compiler's, a ValueError that names the right-hand side of the Problem or Batch `source`."""
    from numba.core.errors import NumbaError

    if not isinstance(error, NumbaError):
        return error
    own = _alone(source.rhs, source.n, source.m)
    name = getattr(source.rhs, "__qualname__", "rhs")
    if own is None:
        return ValueError(f"the kernel of {name!r} cannot be compiled: {_short(error)}")
    return ValueError(
        f"right-hand side {name!r} cannot be compiled: {_short(own)}\n"
        "It takes (t, y, p, dy), writes dy in place, indexes y, p and dy with whole numbers and allocates no arrays."
    )


def _alone(rhs: Callable, n: int, m: int) -> Exception | None:
    """What the compiler says of the right-hand side alone."""
    from numba import float64

    from .lanes import LaneViewType, inline

    try:
        compiled: Any = inline(rhs)
        compiled.compile((float64, LaneViewType(1, n), LaneViewType(1, max(m, 1)), LaneViewType(1, n)))
    except Exception as error:
        return error
    return None


def _short(error: Exception, lines: int = 12) -> str:
    """The informative lines of a compiler error."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    kept = [line.rstrip() for line in text.splitlines() if line.strip() and not line.strip().startswith(_NOISE)]
    return "\n".join(kept[:lines])
