"""Modules that have moved: their old names still give what they held, with a DeprecationWarning."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

PACKAGE = __name__.partition(".")[0]


def forward(old: str, new: str, renamed: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of the module `old`: looks a name up in the module `new`, both counted from the package.

    renamed: names that are called otherwise there.
    """

    def look_up(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(f"{PACKAGE}.{new}"), (renamed or {}).get(name, name))
        except AttributeError:
            raise AttributeError(f"module {old!r} has no attribute {name!r}; it has moved to {PACKAGE}.{new}") from None
        warnings.warn(f"{old} has moved to {PACKAGE}.{new}", DeprecationWarning, stacklevel=2)
        return value

    return look_up
