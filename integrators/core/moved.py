"""Modules that have moved: `import` finds them under their old names too, and warns.

A finder behind all others: a name that nothing else knows, and that stands in `MOVED`, gives the module that is now called otherwise, the
same object.  Pickles, user's scripts and generated modules that hold an old name go on working.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]

#: old name: new name, counted from the package; what lies below a package moves with it
MOVED = {
    "integrators.record": "integrators.core.record",
    "integrators.names": "integrators.core.names",
    "integrators.binding": "integrators.core.binding",
    "integrators.neural.controller": "integrators.core.runner",
    "controllers.contract": "integrators.core.contract",
    "controllers.namespaces": "integrators.core.namespaces",
}


def new_name(old: str) -> str | None:
    """What the module `old`, a full name, is called now; None where it has not moved."""
    top, _, rest = old.partition(".")
    if top != PACKAGE:
        return None
    for moved, to in MOVED.items():
        if rest == moved or rest.startswith(f"{moved}."):
            return f"{PACKAGE}.{to}{rest[len(moved) :]}"
    return None


class _Same(Loader):
    """Loads a module by giving another one, which stays as it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # which the import system has replaced


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        new = new_name(fullname)
        if new is None:
            return None
        warnings.warn(f"{fullname} has moved to {new}", DeprecationWarning, stacklevel=2)
        return importlib.util.spec_from_loader(fullname, _Same(importlib.import_module(new)))


def install() -> None:
    """Let `import` find modules that have moved; once a process, however often it is called."""
    if not any(type(finder).__qualname__ == _Finder.__qualname__ for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
