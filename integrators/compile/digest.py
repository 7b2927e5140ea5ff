"""What a function computes, as a key: two functions get one key only where compiled code for the one is right for the
other.

A right-hand side is more than its bytecode: it names constants, arrays and helper functions, by closure and by global
name, and those name others.  `function_key` walks all of it in a canonical order.  An object met before is written as
its position in the walk, sets in the order of their members' keys, named tuples with their fields, compiled functions
with their compiler's options.  What cannot be written down so (a dict, an instance of somebody's class, a pointer) is
refused: a key that left it out would give one kernel to two functions.

`identity` is the same key, remembered a function object.  What a function names can change (a notebook's `K = 3.0`, an
array written in place), so it also remembers what it saw and looks again at every call: a fraction of a microsecond,
and the time to read the arrays.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from .library import is_attribute, is_library_callable, is_numba_type, of_library, overloads
from .sources import PACKAGE, VECMATH, module_digest
from .watch import MISSING, Watch, cell_content, snapshot


class UndigestibleError(ValueError):
    """A function names something whose value cannot be part of a kernel's key, and so not of a kernel."""


@functools.cache
def names_of(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Global names that a code object and the ones inside it load, and names of attributes that they look up;
    sorted.
    """
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
            self.type(v, name)
        elif is_numba_type(v):
            self.put("numba type", repr(v))
        elif dataclasses.is_dataclass(v) and kind.__module__.split(".")[0] == PACKAGE:
            self.type(kind, name)
            for field in dataclasses.fields(v):
                self.put("field", field.name)
                self.value(getattr(v, field.name), f"{name}.{field.name}")
        elif not self.function(v, name):
            raise UndigestibleError(
                f"{self.root} uses {name}, an object of type {kind.__module__}.{kind.__qualname__}, which cannot be "
                "compiled in; use numbers, strings, tuples, NumPy arrays and functions, pass what varies in p, or give "
                "the problem compiled=False (any Python function, slower)"
            )

    def sequence(self, v: Any, name: str) -> None:
        kind = type(v)
        self.put(kind.__name__, repr((kind.__module__, kind.__qualname__, getattr(kind, "_fields", None), len(v))))
        if isinstance(v, list):
            self.watch.contents.append((v, snapshot(v)))
        for k, member in enumerate(v):
            self.value(member, f"{name}[{k}]")

    def array(self, v: Any, name: str) -> None:
        if v.dtype.hasobject:
            raise UndigestibleError(f"{self.root} uses {name}, an array of Python objects, which cannot be compiled in")
        self.put(type(v).__name__, repr((v.dtype.descr, v.shape)))
        self.put("data", v.tobytes())
        if isinstance(v, np.ndarray):
            self.watch.contents.append((v, snapshot(v)))

    def type(self, v: type, name: str) -> None:
        self.put("type", f"{v.__module__}.{v.__qualname__}")
        if (v.__module__ or "").split(".")[0] == PACKAGE:
            self.put("source", module_digest(v.__module__))
        elif of_library(v.__module__):
            return
        elif issubclass(v, enum.Enum):
            for member in v:
                self.put("member", member.name)
                self.value(member.value, f"{name}.{member.name}")
        elif issubclass(v, tuple) and hasattr(v, "_fields"):
            self.value((v._fields, tuple(sorted(getattr(v, "_field_defaults", {}).items()))), name)
        elif not issubclass(v, BaseException):
            raise UndigestibleError(
                f"{self.root} uses {name}, a class of its own, which cannot be compiled in; use functions and p"
            )

    def function(self, v: Any, name: str) -> bool:
        """Write a function of any kind; False where `v` is none."""
        if isinstance(v, types.FunctionType):
            self.plain(v, name)
        elif hasattr(v, "py_func") and hasattr(v, "targetoptions"):  # compiled by Numba
            if not self.known(v):
                self.put("compiled", repr(sorted((k, repr(x)) for k, x in v.targetoptions.items())))
                self.put("locals", repr(sorted((k, repr(x)) for k, x in getattr(v, "locals", {}).items())))
                if not getattr(v, "_can_compile", True):  # for the signatures it was given alone
                    self.put("signatures", repr(list(v.nopython_signatures)))
                self.value(v.py_func, name)
        elif type(v).__name__ == "DUFunc" and hasattr(v, "_dispatcher"):  # numba.vectorize
            self.put("vectorized", repr(list(getattr(v, "types", ()))))
            self.value(v._dispatcher.py_func, name)
        elif hasattr(v, "_defn") and type(v).__module__.startswith("numba."):  # numba.extending.intrinsic
            self.put("intrinsic", f"{type(v).__qualname__}")
            self.value(v._defn, name)
        elif isinstance(v, (types.BuiltinFunctionType, np.ufunc)) or is_library_callable(v):
            self.put(
                "library", f"{getattr(v, '__module__', '')} {getattr(v, '__qualname__', getattr(v, '__name__', ''))}"
            )
        else:
            return False
        return True

    def plain(self, fn: types.FunctionType, name: str) -> None:
        if self.known(fn):
            return
        home = (fn.__module__ or "").split(".")[0]
        if home != PACKAGE and of_library(fn.__module__) and is_attribute(fn):
            self.put("library", f"{fn.__module__} {fn.__qualname__}")
            return
        if fn.__module__ == VECMATH and is_attribute(fn):
            # an elementary function: its lowering is the module's
            self.put("elementary", f"{fn.__module__} {fn.__qualname__} {module_digest(fn.__module__)}")
            return
        if home != PACKAGE:
            for body in overloads(fn):
                self.put("overload")
                self.value(body, name)
        self.watch.functions.append((fn, fn.__code__, fn.__defaults__, fn.__kwdefaults__))
        self.put("traced", str(bool(getattr(fn, "traced", False))))
        self.code(fn.__code__)
        self.value(fn.__defaults__, "a default")
        self.value(tuple(sorted((fn.__kwdefaults__ or {}).items())), "a default")
        for free, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            content = cell_content(cell)
            self.watch.cells.append((cell, content))
            self.put("cell", free)
            if content is MISSING:
                self.put("empty")
            else:
                self.value(content, repr(free))
        loaded, attributes = names_of(fn.__code__)
        for name in loaded:
            content = fn.__globals__.get(name, MISSING)
            self.watch.names.append((fn.__globals__, name, content))
            self.put("global", name)
            if content is MISSING:
                self.put("builtin")
                if name == "getattr" and home != PACKAGE:
                    raise UndigestibleError(
                        f"{self.root} calls getattr, and what that reaches is not known: name it with a dot"
                    )
                continue
            self.value(content, repr(name))
            if isinstance(content, types.ModuleType):
                self.module(content, attributes, set())
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            if isinstance(cell_content(cell), types.ModuleType):
                self.put("module in cell", name)
                self.module(cell.cell_contents, attributes, set())

    def module(self, module: types.ModuleType, attributes: tuple[str, ...], above: set[int]) -> None:
        """What `module.name` stands for in modules that are not libraries."""
        if id(module) in above or of_library(module.__name__):
            return
        space = vars(module)
        for name in attributes:
            content = space.get(name, MISSING)
            self.watch.names.append((space, name, content))
            if content is MISSING:
                if getattr(module, name, MISSING) is not MISSING:
                    raise UndigestibleError(
                        f"{self.root} uses '{module.__name__}.{name}', which that module computes: give it a value"
                    )
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


def digest(value: Any, root: str, name: str) -> bytes:
    """32 bytes that stand for a value by itself (a member of a set)."""
    walk = _Walk(root)
    walk.value(value, name)
    return walk.h.digest()


def walked(value: Any, name: str = "") -> tuple[str, Watch]:
    """Key of a function or of a value that compiled code depends on, and what has to stay as it is for the key to
    hold.
    """
    plain = getattr(value, "py_func", value)
    walk = _Walk(name or f"function {getattr(plain, '__qualname__', type(plain).__name__)!r}")
    walk.value(value, name or "itself")
    return walk.h.hexdigest(), walk.watch


def function_key(fn: Callable) -> str:
    """Key of what a function computes: bytecode, constants, closure values and, recursively, the globals it names.

    Raises UndigestibleError, a ValueError, where it names something that no compiled code can depend on.
    """
    return walked(fn)[0]


_REMEMBERED = 256  # functions; what they name is held as long
_KNOWN: OrderedDict[int, tuple[weakref.ref, str, Watch]] = OrderedDict()
_LOCK = threading.Lock()


def watched(fn: Callable | None) -> tuple[str, Watch]:
    """`function_key` and what it rests on, as they are now; remembered a function object, and made anew when something
    changed.
    """
    if fn is None:
        return "", Watch()
    known = _KNOWN.get(id(fn))
    if known is not None and known[0]() is fn and known[2].same():
        return known[1:]
    key, watch = walked(fn)
    try:
        own = weakref.ref(fn)
    except TypeError:  # an object without weak references
        return key, watch
    with _LOCK:
        _KNOWN[id(fn)] = own, key, watch
        while len(_KNOWN) > _REMEMBERED:
            _KNOWN.popitem(last=False)
    return key, watch


def identity(fn: Callable | None) -> str:
    """The key of `watched`; "" for None."""
    return watched(fn)[0]
