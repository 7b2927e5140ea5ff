"""Shapes of a person's own state: a number, a matrix, complex numbers.

Solvers see a vector of real numbers.  A state of another shape is flattened row by row, and a complex number becomes
its real part, followed by its imaginary part.  What a solve gives back has the person's shape again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import shown


@dataclass(frozen=True)
class State:
    """shape: that of the state as its owner writes it, () for a number.  is_complex: of complex numbers."""

    shape: tuple[int, ...]
    is_complex: bool = False

    @property
    def size(self) -> int:
        """Real numbers in a state."""
        return math.prod(self.shape) * (2 if self.is_complex else 1)

    def flat(self, value: Any) -> np.ndarray:
        """A state (..., *shape) as real numbers (..., size)."""
        array = np.asarray(value)
        lead = array.shape[: array.ndim - len(self.shape)]
        if not self.is_complex:
            return np.ascontiguousarray(array, dtype=np.float64).reshape((*lead, self.size))
        return np.ascontiguousarray(array, dtype=np.complex128).view(np.float64).reshape((*lead, self.size))

    def scales(self, value: Any) -> Any:
        """A tolerance in the state's shape as one for each real number; anything else as it is."""
        array = np.asarray(value)
        if array.shape != self.shape or array.ndim == 0 or array.dtype.kind not in "fiu":
            return value
        return np.repeat(array.ravel(), 2 if self.is_complex else 1)

    def shaped(self, flat: np.ndarray) -> np.ndarray:
        """Real numbers (..., size) as states (..., *shape)."""
        lead = flat.shape[:-1]
        flat = np.ascontiguousarray(flat)
        return (flat.view(np.complex128) if self.is_complex else flat).reshape((*lead, *self.shape))


def array_of(name: str, value: Any) -> np.ndarray:
    """`value` as an array; ValueError, with `name`, for what is none: ragged, or a tensor that holds no values or has a
    graph."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must hold numbers as NumPy takes them, got {shown(value)}") from None


def state_of(y0: Any, lead: int = 0) -> State | None:
    """The shape of a state, or of states along the first `lead` axes; None for a plain real vector."""
    array = array_of("y0", y0)
    if array.dtype.kind not in "fiubc" or array.ndim < lead:
        return None  # refused elsewhere
    shape = array.shape[lead:]
    is_complex = array.dtype.kind == "c"
    return None if len(shape) == 1 and not is_complex else State(shape, is_complex)


def as_shaped(state: State | None, flat: np.ndarray) -> np.ndarray:
    """`flat` (..., n) in the shape of `state`; itself where that is a plain vector."""
    return flat if state is None else state.shaped(flat)
