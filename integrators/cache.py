"""Generated kernels as real modules in a cache directory.

A jitted function that is passed as an argument never hits Numba's disk cache.  So every kernel is written out as the source of a
module, named by a hash of that source, of the functions it refers to and of the versions of what compiles it; Numba's own cache then
keeps the machine code beside it, and a second process loads it in milliseconds.  The directory is `$STEPSMITH_CACHE_DIR`, by default
`~/.cache/stepsmith` (or `$XDG_CACHE_HOME/stepsmith`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_OBJECTS: dict[tuple[str, str], Any] = {}
_PACKAGE = __name__.rsplit(".", 2)[0]
_LIBRARIES = frozenset({*sys.stdlib_module_names, *sys.builtin_module_names, "numpy", "numba", "llvmlite", "scipy", _PACKAGE})


def cache_dir() -> Path:
    """Directory of generated modules and their machine code (created on demand).

    Where it cannot be written, a temporary one: kernels then work for this process only.
    """
    base = os.environ.get("STEPSMITH_CACHE_DIR")
    if base is None:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "stepsmith")
    path = Path(base) / "kernels"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _temporary()
    return path if os.access(path, os.W_OK | os.X_OK) else _temporary()


@functools.cache
def _temporary() -> Path:
    return Path(tempfile.mkdtemp(prefix="stepsmith-kernels-"))


@functools.cache
def _file_digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _module_digest(name: str) -> str:
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    return _file_digest(path) if path and os.path.exists(path) else name


def _feed(h, value: Any, seen: set[int]) -> None:
    if isinstance(value, types.ModuleType):
        h.update(f"module {value.__name__}".encode())
    elif hasattr(value, "py_func"):
        _feed(h, value.py_func, seen)
    elif isinstance(value, types.FunctionType):
        if id(value) in seen:
            return
        seen.add(id(value))
        if (value.__module__ or "").startswith(_PACKAGE + ".integrators.vecmath"):
            h.update(f"{value.__name__} {_module_digest(value.__module__)}".encode())
        else:
            _feed_code(h, value.__code__, value.__globals__, seen)
            h.update(repr(value.__defaults__).encode())
            for cell in value.__closure__ or ():
                _feed(h, cell.cell_contents, seen)
    elif isinstance(value, (tuple, list)):
        h.update(f"{type(value).__name__} {len(value)}".encode())
        for v in value:
            _feed(h, v, seen)
    elif isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        h.update(f"{type(value).__name__} {value!r}".encode())
    elif hasattr(value, "tobytes") and hasattr(value, "dtype"):
        h.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    else:
        h.update(f"{type(value).__module__}.{type(value).__qualname__} {getattr(value, '__name__', '')}".encode())


def _feed_code(h, code: types.CodeType, glb: Mapping[str, Any], seen: set[int]) -> None:
    h.update(code.co_code + repr(code.co_names).encode() + repr(code.co_varnames).encode())
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            _feed_code(h, c, glb, seen)
        else:
            _feed(h, c, seen)
    for name in sorted(code.co_names):
        if name in glb:
            h.update(name.encode())
            _feed(h, glb[name], seen)
            if isinstance(glb[name], types.ModuleType):
                _feed_module(h, glb[name], code.co_names, seen)


def _feed_module(h, module: types.ModuleType, names: tuple[str, ...], seen: set[int]) -> None:
    """What `module.name` stands for in the user's own modules; libraries change with their versions."""
    if id(module) in seen or module.__name__.split(".")[0] in _LIBRARIES:
        return
    seen.add(id(module))
    for name in sorted(names):
        if name in vars(module):
            h.update(name.encode())
            _feed(h, vars(module)[name], seen)
            if isinstance(vars(module)[name], types.ModuleType):
                _feed_module(h, vars(module)[name], names, seen)
    seen.discard(id(module))  # another function may name other things in it


def function_key(fn: Callable) -> str:
    """Hash of what a function computes: bytecode, constants, closure values and, recursively, the globals it names."""
    h = hashlib.sha256()
    _feed(h, fn, set())
    return h.hexdigest()


@functools.cache
def _versions() -> str:
    from importlib.metadata import version

    digests = [_module_digest(f"{_PACKAGE}.integrators.{m}") for m in ("lanes", "trace", "vecmath", "kernels.fuse")]
    return repr((sys.version_info[:3], version("numba"), version("llvmlite"), digests))


def fetch(module: str, name: str) -> Any:
    """What a generated module imports its functions with."""
    return _OBJECTS[module, name]


_HEAD = (
    "from stepsmith.integrators.lanes import inline as _inline\n"
    "from stepsmith.integrators.trace import Local as _Local, Part as _Part, traced as _traced\n"
)


def load_module(source: str, objects: Mapping[str, Any], head: str = _HEAD) -> types.ModuleType:
    """Module of `source` with the names of `objects` (functions, constants) defined in it, from the cache directory.

    Functions are compiled by what `head` imports as `_inline` and `_traced` (by default `lanes.inline` and `trace.traced`) when the
    module is imported.  Equal source, functions and versions give the same module.
    """
    import_lanes()
    h = hashlib.sha256((_versions() + source).encode())
    for name in sorted(objects):
        h.update(name.encode())
        _feed(h, objects[name], set())
    key = "k" + h.hexdigest()[:24]
    name = f"stepsmith_kernels.{key}"
    if name in sys.modules:
        return sys.modules[name]
    for obj_name, obj in objects.items():
        _OBJECTS[key, obj_name] = obj
    head = "from stepsmith.integrators.cache import fetch as _fetch\n" + head
    for obj_name, obj in sorted(objects.items()):
        call = f"_fetch({key!r}, {obj_name!r})"
        compiler = "_traced" if getattr(obj, "traced", False) else "_inline"
        head += f"{obj_name} = {f'{compiler}({call})' if callable(obj) else call}\n"
    path = cache_dir() / f"{key}.py"
    if not _holds(path, head + source):
        fd, tmp = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(fd, "w") as f:
            f.write(head + source)
        os.replace(tmp, path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _holds(path: Path, text: str) -> bool:
    """Whether the file is there and whole."""
    try:
        return path.read_text() == text
    except (OSError, UnicodeDecodeError):
        return False


_DISCARDED: set[str] = set()


def discard_damaged(function: Any) -> bool:
    """After a failed first call of a kernel's `function`: throw its stored machine code away; True where it is worth a second try.

    Numba trusts the files that it finds; a damaged one (a full disk, a crash) makes every call fail until it is deleted.
    """
    module = sys.modules.get(function.py_func.__module__)
    if module is None or module.__file__ is None or function.signatures or module.__name__ in _DISCARDED:
        return False
    _DISCARDED.add(module.__name__)
    stored = [f for f in (Path(module.__file__).parent / "__pycache__").glob(f"{Path(module.__file__).stem}*.nb[ic]") if f.is_file()]
    for file in stored:
        file.unlink(missing_ok=True)
    return bool(stored)


def import_lanes() -> None:
    """Import the lane views (and with them numba) before a module's digest is taken."""
    from . import lanes, trace, vecmath  # noqa: F401
