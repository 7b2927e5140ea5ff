"""What a function computes, as a key: two functions get one key only where compiled code for the one is right for the other.

A right-hand side is more than its bytecode: it names constants, arrays and helper functions, by closure and by global name, and those
name others.  `function_key` walks all of it in a canonical order.  An object met before is written as its position in the walk, sets in
the order of their members' keys, named tuples with their fields, compiled functions with their compiler's options.  What cannot be
written down so (a dict, an instance of somebody's class, a pointer) is refused: a key that left it out would give one kernel to two
functions.

`identity` is the same key, remembered a function object.  What a function names can change (a notebook's `K = 3.0`, an array written in
place), so it also remembers what it saw and looks again at every call, which costs a fraction of a microsecond.
"""

from __future__ import annotations

import ast
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = __name__.split(".")[0]
#: modules that change with their versions only, which stand in every key
LIBRARIES = frozenset({*sys.stdlib_module_names, *sys.builtin_module_names, "numpy", "numba", "llvmlite", "scipy", PACKAGE})

_MISSING = object()


class UndigestibleError(ValueError):
    """A function names something whose value cannot be part of a kernel's key, and so not of a kernel."""


@functools.cache
def names_of(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Global names that a code object and the ones inside it load, and names of attributes that they look up; sorted."""
    loaded, attributes = set(), set()
    for op in dis.get_instructions(code):
        if op.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            loaded.add(op.argval)
        elif op.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.add(op.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = names_of(constant)
            loaded.update(inner[0])
            attributes.update(inner[1])
    return tuple(sorted(loaded)), tuple(sorted(attributes))


class Watch:
    """What a walk saw, to be looked at again: entries of namespaces, cells, functions' own parts, and contents of arrays."""

    __slots__ = ("names", "cells", "functions", "contents")

    def __init__(self) -> None:
        self.names: list[tuple[dict, str, Any]] = []
        self.cells: list[tuple[types.CellType, Any]] = []
        self.functions: list[tuple[types.FunctionType, types.CodeType, Any, Any]] = []
        self.contents: list[tuple[Any, Any]] = []

    def same(self) -> bool:
        """Whether everything is as it was."""
        for space, name, value in self.names:
            if space.get(name, _MISSING) is not value:
                return False
        for cell, value in self.cells:
            if _content(cell) is not value:
                return False
        for fn, code, defaults, kwdefaults in self.functions:
            if fn.__code__ is not code or fn.__defaults__ is not defaults or fn.__kwdefaults__ is not kwdefaults:
                return False
        return all(_snapshot(value) == content for value, content in self.contents)

    def extend(self, other: Watch) -> None:
        """Watch what `other` watches too."""
        for part in self.__slots__:
            getattr(self, part).extend(getattr(other, part))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return _MISSING


def _snapshot(value: Any) -> Any:
    """Contents of a list, or of an array or scalar of NumPy's, as something to compare with."""
    if isinstance(value, list):
        return [id(v) for v in value]
    return value.dtype.str, value.shape, value.tobytes()


class _Walk:
    """One walk over what a function computes."""

    def __init__(self, root: str) -> None:
        self.h = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # what ids belong to must live as long as the walk
        self.watch = Watch()
        self.root = root

    def put(self, kind: str, content: bytes | str = b"") -> None:
        """Write a kind and its content so that no two sequences of them read alike."""
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self.h.update(f"{kind}:{len(data)}:".encode() + data)

    def known(self, value: Any) -> bool:
        """Whether `value` was met before; then its position is written, else it gets one."""
        at = self.seen.get(id(value))
        if at is not None:
            self.put("again", str(at))
            return True
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        return False

    def value(self, v: Any, name: str) -> None:
        """Write what compiled code may depend on; `name` is what an error calls it."""
        kind = type(v)
        if v is None or v is Ellipsis or kind in (bool, int, complex):
            self.put(kind.__name__, repr(v))
        elif kind is float:
            self.put("float", v.hex() if v == v else "nan")
        elif kind in (str, bytes):
            self.put(kind.__name__, v)
        elif isinstance(v, types.ModuleType):
            self.put("module", v.__name__)
        elif isinstance(v, enum.Enum):
            self.put("enum", f"{kind.__module__}.{kind.__qualname__}.{v.name}")
            self.value(v.value, name)
        elif kind in (tuple, list) or (isinstance(v, tuple) and hasattr(kind, "_fields")):
            self.sequence(v, name)
        elif kind in (set, frozenset):
            self.put(kind.__name__, b"".join(sorted(digest(member, self.root, name) for member in v)))
        elif isinstance(v, (range, slice)):
            self.put(kind.__name__, repr((v.start, v.stop, v.step)))
        elif isinstance(v, np.dtype):
            self.put("dtype", repr(v))
        elif isinstance(v, (np.ndarray, np.generic)):
            self.array(v, name)
        elif isinstance(v, type):
            self.type(v)
        elif _is_numba_type(v):
            self.put("numba type", repr(v))
        elif dataclasses.is_dataclass(v) and kind.__module__.split(".")[0] == PACKAGE:
            self.type(kind)
            for field in dataclasses.fields(v):
                self.put("field", field.name)
                self.value(getattr(v, field.name), f"{name}.{field.name}")
        elif not self.function(v, name):
            raise UndigestibleError(
                f"{self.root} uses {name}, an object of type {kind.__module__}.{kind.__qualname__}, which cannot be compiled in; use "
                "numbers, strings, tuples, NumPy arrays and functions, and pass what varies in p"
            )

    def sequence(self, v: Any, name: str) -> None:
        kind = type(v)
        self.put(kind.__name__, repr((kind.__module__, kind.__qualname__, getattr(kind, "_fields", None), len(v))))
        if isinstance(v, list):
            self.watch.contents.append((v, _snapshot(v)))
        for k, member in enumerate(v):
            self.value(member, f"{name}[{k}]")

    def array(self, v: Any, name: str) -> None:
        if v.dtype.hasobject:
            raise UndigestibleError(f"{self.root} uses {name}, an array of Python objects, which cannot be compiled in")
        self.put(type(v).__name__, repr((v.dtype.descr, v.shape)))
        self.put("data", v.tobytes())
        if isinstance(v, np.ndarray):
            self.watch.contents.append((v, _snapshot(v)))

    def type(self, v: type) -> None:
        self.put("type", f"{v.__module__}.{v.__qualname__} {getattr(v, '_fields', '')}")
        if (v.__module__ or "").split(".")[0] == PACKAGE:
            self.put("source", module_digest(v.__module__))

    def function(self, v: Any, name: str) -> bool:
        """Write a function of any kind; False where `v` is none."""
        if isinstance(v, types.FunctionType):
            self.plain(v)
        elif hasattr(v, "py_func") and hasattr(v, "targetoptions"):  # compiled by Numba
            if not self.known(v):
                self.put("compiled", repr(sorted((k, repr(x)) for k, x in v.targetoptions.items())))
                self.put("locals", repr(sorted((k, repr(x)) for k, x in getattr(v, "locals", {}).items())))
                self.value(v.py_func, name)
        elif hasattr(v, "_defn") and type(v).__module__.startswith("numba."):  # numba.extending.intrinsic
            self.put("intrinsic", f"{type(v).__qualname__}")
            self.value(v._defn, name)
        elif isinstance(v, (types.BuiltinFunctionType, np.ufunc)) or _of_library(v):
            self.put("library", f"{getattr(v, '__module__', '')} {getattr(v, '__qualname__', getattr(v, '__name__', ''))}")
        else:
            return False
        return True

    def plain(self, fn: types.FunctionType) -> None:
        if self.known(fn):
            return
        home = (fn.__module__ or "").split(".")[0]
        if home in LIBRARIES and home != PACKAGE and _is_attribute(fn):
            self.put("library", f"{fn.__module__} {fn.__qualname__}")
            return
        if hasattr(fn, "py_func") or (fn.__module__ or "").startswith(f"{PACKAGE}.integrators.vecmath"):
            # an elementary function: its lowering is the module's
            self.put("elementary", f"{fn.__module__} {fn.__qualname__} {module_digest(fn.__module__)}")
            return
        self.watch.functions.append((fn, fn.__code__, fn.__defaults__, fn.__kwdefaults__))
        self.put("traced", str(bool(getattr(fn, "traced", False))))
        self.code(fn.__code__)
        self.value(fn.__defaults__, "a default")
        self.value(tuple(sorted((fn.__kwdefaults__ or {}).items())), "a default")
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            content = _content(cell)
            self.watch.cells.append((cell, content))
            self.put("cell", name)
            if content is _MISSING:
                self.put("empty")
            else:
                self.value(content, repr(name))
        loaded, attributes = names_of(fn.__code__)
        for name in loaded:
            content = fn.__globals__.get(name, _MISSING)
            self.watch.names.append((fn.__globals__, name, content))
            self.put("global", name)
            if content is _MISSING:
                self.put("builtin")
                continue
            self.value(content, repr(name))
            if isinstance(content, types.ModuleType):
                self.module(content, attributes, set())
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            if isinstance(_content(cell), types.ModuleType):
                self.put("module in cell", name)
                self.module(cell.cell_contents, attributes, set())

    def module(self, module: types.ModuleType, attributes: tuple[str, ...], above: set[int]) -> None:
        """What `module.name` stands for in modules that are not libraries."""
        if id(module) in above or module.__name__.split(".")[0] in LIBRARIES:
            return
        space = vars(module)
        for name in attributes:
            content = space.get(name, _MISSING)
            self.watch.names.append((space, name, content))
            if content is _MISSING:
                continue
            self.put("attribute", name)
            self.value(content, f"'{module.__name__}.{name}'")
            if isinstance(content, types.ModuleType):
                self.module(content, attributes, above | {id(module)})

    def code(self, code: types.CodeType) -> None:
        self.put("code", code.co_code)
        self.put("exceptions", getattr(code, "co_exceptiontable", b""))
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        self.put("shape", repr((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.code(constant)
            else:
                self.value(constant, "a constant")


def _of_library(v: Any) -> bool:
    """Whether `v` is a callable that a library's module holds under its name (NumPy's array functions, Numba's typed ones)."""
    home = getattr(v, "__module__", None)
    return callable(v) and isinstance(home, str) and home.split(".")[0] in LIBRARIES and _is_attribute(v)


def _is_numba_type(v: Any) -> bool:
    numba_types = sys.modules.get("numba.core.types")
    return numba_types is not None and isinstance(v, numba_types.Type)


def _is_attribute(v: Any) -> bool:
    module, name = sys.modules.get(v.__module__ or ""), getattr(v, "__name__", "")
    return module is not None and vars(module).get(name) is v


def digest(value: Any, root: str, name: str) -> bytes:
    """32 bytes that stand for a value by itself (a member of a set)."""
    walk = _Walk(root)
    walk.value(value, name)
    return walk.h.digest()


def walked(value: Any, name: str = "") -> tuple[str, Watch]:
    """Key of a function or of a value that compiled code depends on, and what has to stay as it is for the key to hold."""
    plain = getattr(value, "py_func", value)
    walk = _Walk(name or f"function {getattr(plain, '__qualname__', type(plain).__name__)!r}")
    walk.value(value, name or "itself")
    return walk.h.hexdigest(), walk.watch


def function_key(fn: Callable) -> str:
    """Key of what a function computes: bytecode, constants, closure values and, recursively, the globals it names.

    Raises UndigestibleError, a ValueError, where it names something that no compiled code can depend on.
    """
    return walked(fn)[0]


_KNOWN: weakref.WeakKeyDictionary[Any, tuple[str, Watch]] = weakref.WeakKeyDictionary()


def watched(fn: Callable | None) -> tuple[str, Watch]:
    """`function_key` and what it rests on, as they are now; remembered a function object, and made anew when something changed."""
    if fn is None:
        return "", Watch()
    try:
        known = _KNOWN.get(fn)
    except TypeError:  # an object without weak references
        return walked(fn)
    if known is None or not known[1].same():
        known = _KNOWN[fn] = walked(fn)
    return known


def identity(fn: Callable | None) -> str:
    """The key of `watched`; "" for None."""
    return watched(fn)[0]


# -- the package's own sources ----------------------------------------------------------------------------------------


@functools.cache
def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _imports(tree: ast.AST, module: str, package: bool) -> Iterator[str]:
    """Modules of the package that a source imports, at any depth of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = ".".join(parts[: len(parts) - node.level + package]) if node.level else ""
            source = ".".join(x for x in (base, node.module) if x)
            found = [source, *(f"{source}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in found if name.split(".")[0] == PACKAGE and _file(name) is not None)


@functools.cache
def _direct(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's file and the modules of the package that it imports."""
    path = _file(module)
    assert path is not None
    text = path.read_bytes()
    return hashlib.sha256(text).hexdigest(), tuple(sorted(set(_imports(ast.parse(text), module, path.name == "__init__.py"))))


@functools.cache
def module_digest(*modules: str) -> str:
    """Digest of the sources of modules of the package and of all that they import from it, however far."""
    todo, done = [m for m in modules if _file(m) is not None], {}
    while todo:
        name = todo.pop()
        if name not in done:
            done[name], more = _direct(name)
            todo.extend(more)
    return hashlib.sha256(repr((modules, sorted(done.items()))).encode()).hexdigest()


def source_digest(source: str) -> str:
    """Digest of the modules of the package that a generated source imports: what its code is lowered by."""
    return module_digest(*sorted(set(_imports(ast.parse(source), "", False))))
