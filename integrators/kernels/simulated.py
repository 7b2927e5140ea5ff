"""Lane views of one lane as plain Python: what those of `lanes` and `noted` are in Numba's CUDA simulator."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compile.lanes import FROZEN


class View:
    """`length` elements of an array; indices outside are NaN, and written as NaN into the first element, as in compiled
    code.

    fault: a list that then gets an entry.
    """

    __slots__ = ("fault", "values")

    def __init__(self, values: np.ndarray, fault: list[bool] | None = None) -> None:
        self.values = values
        self.fault = [] if fault is None else fault

    def __len__(self) -> int:
        return len(self.values)

    def _inside(self, i: int) -> bool:
        inside = -len(self.values) <= i < len(self.values)
        if not inside:
            self.fault.append(True)
        return inside

    def __getitem__(self, i: int) -> Any:
        return self.values[i] if self._inside(i) else np.float64(np.nan)

    def __setitem__(self, i: int, x: float) -> None:
        if self._inside(i):
            self.values[i] = x
        elif len(self.values):
            self.values[0] = np.nan


class Frozen(View):
    """A view that cannot be written through."""

    __slots__ = ()

    def __setitem__(self, i: int, x: float) -> None:
        raise ValueError(FROZEN)


class Positions(Frozen):
    """A frozen view of a state (positions, velocities) whose velocities read as NaN."""

    __slots__ = ()

    def _inside(self, i: int) -> bool:
        inside = super()._inside(i)
        if inside and i % len(self.values) >= len(self.values) // 2:
            self.fault.append(True)
            return False
        return inside


def view(block: np.ndarray, offset: int, width: int, length: int) -> View:
    """`length` elements of `block` from `offset` on; width is 1."""
    return View(block[offset : offset + length])


def frozen(block: np.ndarray, offset: int, width: int, length: int) -> Frozen:
    """As `view`, of elements that cannot be written through it."""
    return Frozen(block[offset : offset + length])


def positions(block: np.ndarray, offset: int, width: int, length: int) -> Positions:
    """As `frozen`, of a state whose velocities cannot be read."""
    return Positions(block[offset : offset + length])


def new_fault() -> list[bool]:
    """A flag that is not set."""
    return []


def faulty(fault: list[bool]) -> bool:
    """Whether a flag is set."""
    return bool(fault)


def noted(view: View, fault: list[bool]) -> View:
    """The view, with the flag that it sets."""
    return type(view)(view.values, fault)
