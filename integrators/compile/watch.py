"""What a walk over a function saw, to be looked at again: whether everything that the function names is still as it
was.
"""

from __future__ import annotations

import hashlib
import types
from typing import Any

#: stands where a name or a cell holds nothing
MISSING = object()


class Watch:
    """What a walk saw, to be looked at again: entries of namespaces, cells, functions' own parts, and contents of
    arrays.
    """

    __slots__ = ("names", "cells", "functions", "contents")

    def __init__(self) -> None:
        self.names: list[tuple[dict, str, Any]] = []
        self.cells: list[tuple[types.CellType, Any]] = []
        self.functions: list[tuple[types.FunctionType, types.CodeType, Any, Any]] = []
        self.contents: list[tuple[Any, Any]] = []

    def same(self) -> bool:
        """Whether everything is as it was."""
        for space, name, value in self.names:
            if space.get(name, MISSING) is not value:
                return False
        for fn, code, defaults, kwdefaults in self.functions:
            if fn.__code__ is not code or fn.__defaults__ is not defaults or fn.__kwdefaults__ is not kwdefaults:
                return False
        for cell, value in self.cells:
            if cell_content(cell) is not value:
                return False
        return not self.contents or all(snapshot(value) == content for value, content in self.contents)

    def extend(self, other: Watch) -> None:
        """Watch what `other` watches too."""
        for part in self.__slots__:
            getattr(self, part).extend(getattr(other, part))


def cell_content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return MISSING


def snapshot(value: Any) -> Any:
    """Contents of a list, or of an array or scalar of NumPy's, as something to compare with."""
    if isinstance(value, list):
        return [id(v) for v in value], list(value)  # kept: another object could get the id of one that is gone
    data = value.tobytes()
    return value.dtype.str, value.shape, data if len(data) <= 256 else hashlib.blake2b(data).digest()
