"""How a person hands parameters to a right-hand side, and how they lie in the vector p that solvers carry.

    p=[1.0, 2.0]                f(t, y, p), p an array
    p={"k1": 1.0, "k2": 2.0}    f(t, y, p) with p["k1"] or p.k1, or f(t, y, k1, k2)
    args=(1.0, [2.0, 3.0])      f(t, y, a, b), numbers and arrays, as `scipy.integrate.solve_ivp` takes them
    nothing                     f(t, y)
"""

from __future__ import annotations

import collections
import functools
import keyword
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.errors import shown
from ..core.names import unknown


@dataclass(frozen=True)
class Layout:
    """names: of the parameters, where they have names.  shapes: of the further arguments, where they are some; () is a
    number.
    """

    names: tuple[str, ...] | None = None
    shapes: tuple[tuple[int, ...], ...] | None = None


def layout_of(p: Any, args: Any) -> tuple[Layout, Any]:
    """The layout, and the parameters as one vector.  ValueError where names or arguments cannot be parameters."""
    if args is not None:
        if np.size(p) if not isinstance(p, Mapping) else p:
            raise ValueError("give parameters as p or as args, not both")
        if isinstance(args, (str, bytes, Mapping)) or not isinstance(args, (Sequence, np.ndarray)):
            args = (args,)
        arrays = [_argument(k, v) for k, v in enumerate(args)]
        vector = np.concatenate([a.ravel() for a in arrays]) if arrays else np.empty(0)
        return Layout(shapes=tuple(a.shape for a in arrays)), vector
    if isinstance(p, Mapping):
        names = tuple(p)
        for name in names:
            if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
                raise ValueError(f"p: a parameter's name must be a Python name without a leading _, got {shown(name)}")
        return Layout(names=names), packed(names, p, None)
    return Layout(), p


def _argument(k: int, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"args[{k}] must be a real number or an array of them, got {shown(value)}; what is no number the function "
            "may take from its globals or from what it closes over"
        )
    return array.astype(np.float64)


def packed(names: tuple[str, ...], values: Mapping[str, Any], count: int | None) -> np.ndarray:
    """Values by name as a vector (m,), or (count, m) of numbers and arrays (count,).

    ValueError, naming the parameter, for what is unknown, missing or no number.
    """
    strange = [name for name in values if name not in names]
    if strange:
        raise unknown("parameter", strange[0], names)
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"p: no value for {', '.join(missing)}")
    columns = []
    for name in names:
        column = np.asarray(values[name])
        if column.dtype.kind not in "fiub" or column.shape not in ((), *(() if count is None else ((count,),))):
            what = "a number" if count is None else f"a number or {count} numbers"
            raise ValueError(f"p[{name!r}] must be {what}, got {shown(values[name])}")
        columns.append(np.broadcast_to(column.astype(np.float64), () if count is None else (count,)))
    lead = () if count is None else (count,)
    return np.stack(columns, axis=-1) if columns else np.empty((*lead, 0))


class Named(tuple):
    """Parameters by name: p["k1"], p.k1, p[0].  The classes of `named_class` are its children."""

    _fields: tuple[str, ...] = ()
    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._fields:
                raise KeyError(str(unknown("parameter", key, self._fields)))
            return tuple.__getitem__(self, self._fields.index(key))
        return tuple.__getitem__(self, key)


@functools.lru_cache(maxsize=256)
def named_class(names: tuple[str, ...]) -> type:
    """A named tuple with these fields that takes names as indices too."""
    plain = collections.namedtuple("Parameters", names)  # type: ignore[misc]
    return type("Parameters", (plain,), {"__getitem__": Named.__getitem__, "__slots__": ()})


def sizes(shapes: tuple[tuple[int, ...], ...]) -> list[int]:
    """Numbers in arrays of these shapes."""
    return [math.prod(shape) for shape in shapes]
