"""The help of functions and classes that take names of controllers: their own words, then those of what they wrap."""

from __future__ import annotations

import inspect
from typing import Any


def told(outer: Any, inner: Any) -> None:
    """Append the docstring of `inner`, which says what the arguments are, to that of `outer`."""
    outer.__doc__ = f"{inspect.getdoc(outer)}\n\n{inspect.getdoc(inner)}"
