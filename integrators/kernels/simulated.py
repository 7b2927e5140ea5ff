"""Lane views of one lane as plain Python: what `lanes.view` and `lanes.frozen` are in Numba's CUDA simulator."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lanes import FROZEN


class View:
    """`length` elements of an array; indices outside are NaN, and written as NaN into the first element, as in compiled code."""

    __slots__ = ("values",)

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> Any:
        return self.values[i] if -len(self.values) <= i < len(self.values) else np.float64(np.nan)

    def __setitem__(self, i: int, x: float) -> None:
        if -len(self.values) <= i < len(self.values):
            self.values[i] = x
        elif len(self.values):
            self.values[0] = np.nan


class Frozen(View):
    """A view that cannot be written through."""

    __slots__ = ()

    def __setitem__(self, i: int, x: float) -> None:
        raise ValueError(FROZEN)


def view(block: np.ndarray, offset: int, width: int, length: int) -> View:
    """`length` elements of `block` from `offset` on; width is 1."""
    return View(block[offset : offset + length])


def frozen(block: np.ndarray, offset: int, width: int, length: int) -> Frozen:
    """As `view`, of elements that cannot be written through it."""
    return Frozen(block[offset : offset + length])
