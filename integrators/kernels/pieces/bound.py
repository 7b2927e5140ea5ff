"""A stand-in for functions that another source of a kernel defines."""

from typing import Any


def bound(*args: Any) -> Any:
    raise TypeError("a template cannot be called: the generated module binds what it names")
