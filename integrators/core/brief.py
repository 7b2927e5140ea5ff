"""How results show themselves: arrays by shape and type, not by thousands of numbers."""

from __future__ import annotations

import contextlib
import math
from dataclasses import fields
from typing import Any

#: arrays of more numbers are shown by their shape
MOST = 6


class Brief:
    """A dataclass (`repr=False`) whose repr has the values of small fields, and shapes and types of large arrays."""

    def __repr__(self) -> str:
        shown = (f"{item.name}={brief(getattr(self, item.name))}" for item in fields(self) if item.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"


def brief(value: Any) -> str:
    """`value` in one short line; collections of arrays entry by entry."""
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and kind is not None:
        if math.prod(shape) <= MOST:
            with contextlib.suppress(RuntimeError):  # tensors without values: on device "meta", or within torch.func
                return f"{value.tolist()}"
        return f"<{str(kind).removeprefix('torch.')} of shape {tuple(shape)}>"
    if type(value) is dict:
        return "{" + ", ".join(f"{name!r}: {brief(part)}" for name, part in value.items()) + "}"
    if type(value) in (tuple, list):
        ends = "()" if type(value) is tuple else "[]"
        return ends[0] + ", ".join(map(brief, value)) + (",)" if ends == "()" and len(value) == 1 else ends[1])
    return repr(value)
