"""What belongs to a library: it changes with the library's version only, and that version stands in every key."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
from typing import Any

from .sources import PACKAGE

_PACKAGES = frozenset({"numpy", "numba", "llvmlite", "scipy", PACKAGE})
_STDLIB = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib"))
_SITES = ("site-packages", "dist-packages")


def of_library(name: str | None) -> bool:
    """Whether the module called `name` changes with its version only, which stands in every key: NumPy, SciPy, Numba,
    this package, and Python's own, told by the place of their files (a user's module may be called `profile` or
    `signal` too).
    """
    top = (name or "").split(".")[0]
    if top in _PACKAGES or top in sys.builtin_module_names:
        return True
    if top not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is None:  # frozen, or not loaded: then nothing of it is reached
        return True
    place = os.path.realpath(file)
    return place.startswith(_STDLIB) and not any(site in place.split(os.sep) for site in _SITES)


def is_library_callable(v: Any) -> bool:
    """Whether `v` is a callable that a library's module holds under its name (NumPy's array functions, Numba's typed
    ones).
    """
    home = getattr(v, "__module__", None)
    return callable(v) and isinstance(home, str) and of_library(home) and is_attribute(v)


def overloads(fn: types.FunctionType) -> list[Any]:
    """Bodies that `numba.extending.overload` gave a function, which stand for it in compiled code."""
    templates = sys.modules.get("numba.core.typing.templates")
    if templates is None:
        return []
    bodies = []
    for known, kind in templates.builtin_registry.globals:
        if known is fn:
            bodies += [t._overload_func for t in getattr(kind, "templates", ()) if hasattr(t, "_overload_func")]
    return bodies


def is_numba_type(v: Any) -> bool:
    numba_types = sys.modules.get("numba.core.types")
    return numba_types is not None and isinstance(v, numba_types.Type)


def is_attribute(v: Any) -> bool:
    module, name = sys.modules.get(v.__module__ or ""), getattr(v, "__name__", "")
    return module is not None and vars(module).get(name) is v
