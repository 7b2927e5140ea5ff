"""Compiler errors in words: why a right-hand side cannot be compiled, and the line, not the compiler's own story."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..compile.positions import VELOCITY, PositionsType

_NOISE = (
    "Failed in", "During:", "Enable logging", "This error", "For more", "https://", "There are", "Overload",
    "With argument", "- Of which",
    "Operator Overload", "No match", "* (", "Rejected", "raised from", "Known signatures", "[1] During", "[2] During",
)  # fmt: skip

#: what views say of their misuse; where the compiler says it, nothing else needs to be told
_OWN_WORDS = ("cannot be written to", "is outside an array of length", "is outside a matrix of", VELOCITY)

_REMEDY = (
    "Write it as f{takes}, with {fills} filled number by number, or as f(t, y, p) that returns its values with what "
    "Numba compiles of NumPy; or give the problem compiled=False, which runs any Python function, slower."
)


def explained(error: Exception, source: Any, events: Sequence[Any] = ()) -> Exception:
    """`error` itself, or, if it is the compiler's or of an index, a ValueError that names the function of the Problem
    or Batch `source`, or of its events.
    """
    from ..checks.rhs_check import name_of
    from ..checks.second_order import REMEDY

    if isinstance(error, IndexError):
        return ValueError(
            f"right-hand side {name_of(source.rhs)} indexes an array that it captures or makes outside of it: {error}"
        )
    if not _of_the_compiler(error):
        return error
    for role, fn, takes, fills in (
        ("right-hand side", source.rhs, "(t, y, p, dy)", "dy"), ("accelerations", source.accel, "(t, y, p, a)", "a"),
        ("Jacobian", source.jac, "(t, y, p, J)", "J"),
        ("spectral radius", source.spectral_radius if callable(source.spectral_radius) else None, "(t, y, p)", "value"),
        *(("event", event.value, "(t, y, p, value)", "value") for event in events),
        *(("reset of an event", event.reset, "(t, y, p, new)", "new") for event in events),
    ):  # fmt: skip
        own = None if fn is None else _alone(fn, source.n, source.m, fills)
        if own is not None:
            text = f"{role} {name_of(fn)} cannot be compiled: {_short(own)}"
            if VELOCITY in text:
                text += f"; {REMEDY}"
            if not any(words in text for words in _OWN_WORDS):
                text += f"\n{_REMEDY.format(takes=takes, fills=fills)}"
            return ValueError(text)
    return ValueError(f"the kernel of {name_of(source.rhs)} cannot be compiled: {_short(error)}")


def _of_the_compiler(error: Exception) -> bool:
    """Whether the compiler raised it: its own kind of error, or one that it did not foresee (an AssertionError at a
    list that holds integers and floats, for instance).
    """
    from numba.core.errors import NumbaError

    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    module = "" if place is None else str(place.tb_frame.f_globals.get("__name__", ""))
    return isinstance(error, NumbaError) or module.partition(".")[0] in ("numba", "llvmlite")


def _alone(fn: Callable, n: int, m: int, fills: str) -> Exception | None:
    """What the compiler says of a function alone."""
    from numba import float64

    from ..compile.lane_matrix import LaneMatrixType
    from ..compile.lanes import LaneViewType, inline
    from ..compile.recompile import fresh

    length = {"a": n // 2, "value": 1}.get(fills, n)
    out = LaneMatrixType(1, n, n) if fills == "J" else LaneViewType(1, length)
    try:
        compiled: Any = inline(fresh(fn))
        y = PositionsType(1, n) if fills == "a" else LaneViewType(1, n, True)
        compiled.compile((float64, y, LaneViewType(1, m, True), out))
    except Exception as error:
        return error
    return None


def _short(error: Exception, lines: int = 12) -> str:
    """The informative lines of a compiler error."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    kept = [line.rstrip() for line in text.splitlines() if line.strip() and not line.strip().startswith(_NOISE)]
    for line in kept:
        if any(words in line for words in _OWN_WORDS):
            where = next((k.strip() for k in kept if k.strip().startswith("File ")), "")
            return line.strip() + (f" ({where.rstrip(':')})" if where else "")
    return "\n".join(kept[:lines]) or f"{type(error).__name__} inside of the compiler"
