"""Families of a caller's own by where they are: `file.py:NAME`, `package.module:NAME`, and entry points of installed
packages.

A file is read once for every content that it has: a cell of a notebook that is run again after the file was changed
gets the new family. A module that is found this way stays in `sys.modules`, so that what it defines can be pickled.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from ..core.errors import OptionError, shown
from ..core.names import unknown
from .families import Family
from .problem import Problem

#: group of entry points by which an installed package offers families, NAME = "package.module:NAME"
GROUP = "stepsmith.families"
#: the frozen families of the benchmark, which stand in `train`: name -> place
FROZEN = {name: f"stepsmith.train.bench.families:{name}" for name in ("chaos-v1", "orbits-v1", "stiff-v1")}
_FILES: dict[str, tuple[str, ModuleType]] = {}


def is_place(name: str) -> bool:
    """Whether a name says where a family is: it holds a colon, or is the path of a Python file."""
    return ":" in name or name.endswith(".py")


def find(place: str) -> Family:
    """The family at `place`: "path/to/file.py:NAME", "package.module:NAME", or "path/to/file.py" where it holds only
    one.

    NAME is a `Family`, or a function without arguments that makes one.  OptionError that says what is missing: no such
    file or module, an error while it runs, no such name in it (naming the nearest), something that is no family.
    """
    where, _, name = place.rpartition(":") if ".py:" in place or not place.endswith(".py") else (place, "", "")
    module = file_module(where) if where.endswith(".py") else _module(where)
    return _family(getattr_(module, name, place), place) if name else _only(module, place)


def getattr_(module: ModuleType, name: str, place: str) -> Any:
    """What a module calls `name`; OptionError naming the families that it has."""
    if not hasattr(module, name):
        error = unknown("family", name, dict(_families(module)) or vars(module))
        raise OptionError(f"{place}: {error}")
    return getattr(module, name)


def offered() -> dict[str, str]:
    """Families that the benchmark and installed packages offer: name -> place."""
    return {**{point.name: point.value for point in entry_points(group=GROUP)}, **FROZEN}


def _families(module: ModuleType) -> Iterator[tuple[str, Family]]:
    return ((name, value) for name, value in vars(module).items() if isinstance(value, Family))


def _only(module: ModuleType, place: str) -> Family:
    found = {id(family): (name, family) for name, family in _families(module)}
    if len(found) == 1:
        return next(iter(found.values()))[1]
    names = ", ".join(name for name, _ in found.values())
    raise OptionError(
        f"{place} holds several families: say which, {place}:NAME, one of {names}" if found else
        f"{place} holds no stepsmith.Family: assign one to a name, for instance with stepsmith.family(problem, ...)"
    )  # fmt: skip


def _family(value: Any, place: str) -> Family:
    if isinstance(value, Family):
        return value
    if isinstance(value, Problem):
        raise OptionError(
            f"{place} is a Problem, one instance: say what varies, stepsmith.family(problem, vary=...), and name the "
            "result"
        )
    if callable(value):
        made = _run(place, value)
        if isinstance(made, Family):
            return made
        value = made
    raise OptionError(f"{place} must be a stepsmith.Family, got {type(value).__name__}")


def _module(name: str) -> ModuleType:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise OptionError(f"a family's place is file.py:NAME or package.module:NAME, got module {shown(name)}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise OptionError(f"no module {shown(error.name)} that a family could be in") from None
        raise


def file_module(name: str, what: str = "a family") -> ModuleType:
    """The module that the Python file `name` is, run once for every content that it has; modules beside it can be
    imported while it runs.

    OptionError where it cannot be read, as no file of `what`, and where it cannot be run.
    """
    path = Path(name).expanduser()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OptionError(f"no file of {what}: {shown(name)} ({error.strerror})") from None
    path = path.resolve()
    digest = hashlib.sha256(data).hexdigest()
    if str(path) in _FILES and _FILES[str(path)][0] == digest:
        return _FILES[str(path)][1]
    full = f"stepsmith_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(full, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    before, sys.modules[full] = sys.modules.get(full), module
    sys.path.insert(0, str(path.parent))  # modules beside it
    try:
        _run(name, lambda: spec.loader.exec_module(module))
    except BaseException:
        sys.modules.pop(full)
        if before is not None:
            sys.modules[full] = before
        raise
    finally:
        sys.path.remove(str(path.parent))
    _FILES[str(path)] = digest, module
    return module


def modules() -> list[ModuleType]:
    """The modules that files are: another process cannot import them by their names."""
    return [module for _, module in _FILES.values()]


def _run(place: str, code: Any) -> Any:
    """Run a person's code; what it raises names the file."""
    try:
        return code()
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise OptionError(f"{place} cannot be run: {type(error).__name__}: {error}") from error
