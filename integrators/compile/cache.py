"""Generated kernels as real modules in a cache directory.

A jitted function that is passed as an argument never hits Numba's disk cache.  So every kernel is written out as the
source of a module, named by a hash of that source, of the functions it refers to (`digest`), of the package's modules
that it is lowered by and of the versions of what compiles it; Numba's own cache then keeps the machine code beside it,
and a second process loads it in milliseconds.  The directory is `$STEPSMITH_CACHE_DIR`, by default `~/.cache/stepsmith`
(or `$XDG_CACHE_HOME/stepsmith`).

Where the directory cannot be written (read-only, a full disk), kernels are compiled for this process alone, and a
warning says so once.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import hashlib
import importlib.util
import linecache
import os
import shutil
import sys
import tempfile
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import OptionError
from . import digest, progress, sources
from .digest import function_key
from .discard import discard_damaged, thrown_away
from .recompile import fresh

__all__ = ["KEPT", "Recent", "cache_dir", "compiled", "discard_damaged", "fetch", "function_key", "load_module"]

#: kernels that stay loaded; the ones that were not asked for longest are dropped
KEPT = 128

_OBJECTS: dict[tuple[str, str], Any] = {}
_LOADED: OrderedDict[str, types.ModuleType] = OrderedDict()
_LOCK = threading.RLock()  # held while a kernel is built or compiled
_MAPS = threading.Lock()  # held for the length of a look-up


def cache_dir() -> Path:
    """Directory of generated modules and their machine code (created on demand).

    Where it cannot be written, a temporary one, which is removed when the process ends: kernels then work for this
    process only. Raises OptionError where $STEPSMITH_CACHE_DIR is set but empty.
    """
    base = os.environ.get("STEPSMITH_CACHE_DIR")
    if base is None:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "stepsmith")
    elif not base.strip():
        raise OptionError(
            f"STEPSMITH_CACHE_DIR must be a directory's path, got {base!r}; unset it for the default place"
        )
    path = Path(base) / "kernels"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return _temporary()
    return path if os.access(path, os.W_OK | os.X_OK) else _temporary()


@functools.cache
def _temporary() -> Path:
    path, owner = Path(tempfile.mkdtemp(prefix="stepsmith-kernels-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not in a forked process
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path


@functools.cache
def _versions() -> str:
    from importlib.metadata import version

    return repr((sys.version_info[:3], *((name, version(name)) for name in ("numba", "llvmlite", "numpy"))))


def fetch(module: str, name: str) -> Any:
    """What a generated module imports its functions with."""
    return _OBJECTS[module, name]


_HEAD = (
    "from stepsmith.integrators.compile.lanes import inline as _inline\n"
    "from stepsmith.integrators.compile.memory import Local as _Local, Part as _Part\n"
    "from stepsmith.integrators.compile.trace import traced as _traced\n"
)


def load_module(source: str, objects: Mapping[str, Any], head: str = _HEAD) -> types.ModuleType:
    """Module of `source` with the names of `objects` (functions, constants) defined in it, from the cache directory.

    Functions are compiled by what `head` imports as `_inline` and `_traced` (by default `lanes.inline` and
    `trace.traced`) when the module is imported.  Equal source, functions and versions give the same module.  Safe to
    call from several threads. Raises `digest.UndigestibleError`, a ValueError, where an object depends on something
    that cannot be part of a kernel.
    """
    _import_lanes()
    h = hashlib.sha256((_versions() + sources.source_digest(head + source) + source).encode())
    for name in sorted(objects):
        obj = objects[name]
        h.update(f"{name} {digest.identity(obj) if callable(obj) else digest.walked(obj, repr(name))[0]}".encode())
        if "cfunc(" in source:  # their machine code names the module
            h.update(str(getattr(obj, "__module__", "")).encode())
    key = "k" + h.hexdigest()[:24]
    with _LOCK:
        module = _LOADED.get(key)
        if module is None:
            module = _LOADED[key] = _load(key, source, objects, head)
            while len(_LOADED) > KEPT:
                _drop(*_LOADED.popitem(last=False))
        else:
            _LOADED.move_to_end(key)
    return module


def _load(key: str, source: str, objects: Mapping[str, Any], head: str) -> types.ModuleType:
    for name, obj in objects.items():
        _OBJECTS[key, name] = fresh(obj, check_indices=head == _HEAD) if callable(obj) else obj
    text = "from stepsmith.integrators.compile.cache import fetch as _fetch\n" + head
    for name, obj in sorted(objects.items()):
        call = f"_fetch({key!r}, {name!r})"
        compiler = "_traced" if getattr(obj, "traced", False) else "_inline"
        text += f"{name} = {f'{compiler}({call})' if callable(obj) else call}\n"
    text += source
    name = f"stepsmith_kernels.{key}"
    path = _written(cache_dir() / f"{key}.py", text)
    if path is None:  # no place on disk: from memory, and without stored machine code
        module = types.ModuleType(name)
        module.__file__ = f"<{name}>"
        text = text.replace("cache=True", "cache=False")
        linecache.cache[module.__file__] = (len(text), None, text.splitlines(True), module.__file__)
        sys.modules[name] = module

        def run() -> None:
            exec(compile(text, f"<{name}>", "exec"), vars(module))
    else:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        run = functools.partial(spec.loader.exec_module, module)
    try:
        try:
            run()
        except ImportError:  # machine code of C functions names the person's module, which may have another name now
            if path is None or not thrown_away(path):
                raise
            run()
    except BaseException:
        del sys.modules[name]
        raise
    for function in vars(module).values():
        store: Any = getattr(function, "_cache", None)
        if hasattr(store, "save_overload"):
            store.save_overload = functools.partial(_save, store.save_overload)
            store.load_overload = functools.partial(_stored, store, store.load_overload)
    return module


def _drop(key: str, module: types.ModuleType) -> None:
    sys.modules.pop(module.__name__, None)
    linecache.cache.pop(str(module.__file__), None)
    for known in [k for k in _OBJECTS if k[0] == key]:
        del _OBJECTS[known]


def _written(path: Path, text: str) -> Path | None:
    """The file `path` with this text, written aside and renamed; None where the disk does not take it."""
    if _holds(path, text):
        return path
    tmp = None
    try:
        fd, tmp = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(fd, "w") as f:
            f.write(text)
        os.replace(tmp, path)
    except OSError as error:
        if tmp is not None:
            with contextlib.suppress(OSError):
                os.unlink(tmp)
        _warn_unwritten(path.parent, error)
        return None
    return path


def _save(save: Callable[..., None], *args: Any) -> None:
    """Numba's `save_overload`; the machine code is there even where it cannot be stored."""
    try:
        save(*args)
    except OSError as error:
        _warn_unwritten(Path(str(error.filename)).parent if error.filename else Path("?"), error)


def _stored(store: Any, load: Callable[..., Any], *args: Any) -> Any:
    """Numba's `load_overload`; None, and nothing stored any more, where the files are damaged (a crash, a full
    disk).
    """
    try:
        return load(*args)
    except Exception:  # truncated pickles raise any of half a dozen types
        with contextlib.suppress(OSError):
            store.flush()
        return None


_UNWRITTEN: set[str] = set()


def _warn_unwritten(folder: Path, error: OSError) -> None:
    if str(folder) not in _UNWRITTEN:
        _UNWRITTEN.add(str(folder))
        warnings.warn(
            f"compiled kernels cannot be stored in {folder} ({error.strerror or error}): every process will compile "
            "them anew; free space there or set STEPSMITH_CACHE_DIR to another directory",
            stacklevel=2,
        )


def _holds(path: Path, text: str) -> bool:
    """Whether the file is there and whole."""
    try:
        return path.read_text() == text
    except (OSError, UnicodeDecodeError):
        return False


def compiled(function: Any, *args: Any, what: str = "a kernel") -> None:
    """Compile a kernel's `function` for `args`, or load its code, without running it; what: for whom (`progress`)."""
    compiled_together({function: args}, what)


def compiled_together(calls: Mapping[Any, Sequence[Any]], what: str) -> None:
    """The same for several functions with their arguments; pieces that they share are compiled once."""
    from numba import typeof

    from . import inner

    lasts = all(_lasts(function) for function in calls)
    if not lasts:
        _FLEETING.add(what)
    with _LOCK, progress.told(what, lasts), _uncollected():
        for function, args in calls.items():
            function.compile(tuple(typeof(a) for a in args))
        for function in calls:
            inner.forget(function)


#: see `fleeting`
_FLEETING: set[str] = set()


def fleeting() -> frozenset[str]:
    """For whom this process compiled kernels that the next one would have to compile again."""
    return frozenset(_FLEETING)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which would look through the compiler's live objects again and again: a fifteenth of
    the time of a compilation.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _lasts(function: Any) -> bool:
    """Whether the machine code of a kernel's `function` will be there for the next process."""
    folder = Path(function.py_func.__code__.co_filename).parent
    return folder.is_dir() and not (_temporary.cache_info().currsize and folder == _temporary())


def _import_lanes() -> None:
    """Import the lane views (and with them numba) before a generated module needs them."""
    from . import lanes, trace, vecmath  # noqa: F401


class Recent(OrderedDict):
    """A dict of the `most` entries that were used last, for kernels: an ordinary one would keep every kernel for ever.
    Safe to use from several threads.
    """

    def __init__(self, most: int = KEPT) -> None:
        super().__init__()
        self.most = most

    def get(self, key: Any, default: Any = None) -> Any:
        with _MAPS:
            if key not in self:
                return default
            self.move_to_end(key)
            return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        with _MAPS:
            super().__setitem__(key, value)
            while len(self) > self.most:
                self.popitem(last=False)

    def made(self, key: Any, make: Callable[[], Any]) -> Any:
        """The entry of `key`, made by `make()` where there is none; one thread makes it, the others wait."""
        found = self.get(key)
        if found is None:
            with _LOCK:
                found = self.get(key)
                if found is None:
                    found = self[key] = make()
        return found


def _locks() -> list[Any]:
    """Locks that no other thread may hold when this process is forked: in the child nobody would ever release them."""
    numba = sys.modules.get("numba.core.compiler_lock")
    return [_LOCK, _MAPS, *([numba.global_compiler_lock._lock] if numba is not None else [])]


_HELD: list[Any] = []


def _before_fork() -> None:
    for lock in _locks():
        lock.acquire()
        _HELD.append(lock)


def _after_fork() -> None:
    while _HELD:
        _HELD.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
