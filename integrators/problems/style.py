"""What is known of a person's function before it is brought into the form that solvers call (`styles`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .layouts import Layout
from .states import State

#: what a function of each role fills, and what it is called in messages
FILLS = {"rhs": "dy", "jac": "J", "event": "value", "reset": "new", "radius": "value"}
WORDS = {
    "rhs": "right-hand side", "jac": "Jacobian", "event": "event", "reset": "reset of an event",
    "radius": "spectral radius",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """What `in_place` needs to make its function again.

    fn: the person's function.  role: of `FILLS`.  n, m: numbers in y and p.  state: the person's shape of y, None
    for a vector.  layout: that of p.  compiled: whether Numba compiles `fn`.  apart: compiled as a function of its own,
    which kernels call by its address.
    """

    fn: Callable[..., Any]
    role: str
    n: int
    m: int
    state: State | None
    layout: Layout
    compiled: bool
    apart: bool = False

    @property
    def single(self) -> bool:
        """Whether it gives one number."""
        return self.role in ("event", "radius")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers that it fills."""
        return (self.n, self.n) if self.role == "jac" else (1,) if self.single else (self.n,)


def style_of(fn: Any) -> Style | None:
    """The style of a function that `in_place` made; None for any other."""
    return getattr(fn, "stepsmith_style", None)


def origin_of(fn: Any) -> Style | None:
    """The style of a function that was made from a person's own, by whatever way; None for any other."""
    return getattr(fn, "stepsmith_origin", style_of(fn))


def name_of(style: Style) -> str:
    """The function's name in a message."""
    return str(getattr(style.fn, "__qualname__", type(style.fn).__name__)).rsplit("<locals>.", 1)[-1][:80]


def refusal(style: Style, words: str) -> ValueError:
    """The error about the function."""
    return ValueError(f"{WORDS[style.role]} {name_of(style)}: {words}")
