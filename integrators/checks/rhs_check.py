"""Does a user's function keep to what compiled code takes for granted?  It is run once, in plain Python, at the start of the span.

    check(source, method)      ValueError where a function of the Problem or Batch breaks its contract
    proved(fn, role, n, m)     whether it is known that the function writes every component at every call

y and p stand in as arrays that cannot be written to, dy as one that knows what has been written.  Refused are generators and coroutines,
answers other than None, writes to y or p, indices outside the arrays, components that are read before they are written, and
components that are not written.  What else the function raises there (a division by zero, a name that is missing) is not
looked at: the compiled solve answers it.  Functions that Numba has compiled, and those that they call, run as the Python that they were.

One run sees one path.  Where no data decide on the path (`_straight`), the others are the same, and the run is the proof; elsewhere kernels
fill dy with NaN before each call (`kernels.calls`).  Indices that depend on data are checked as the code runs (`lanes`).
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..compile import digest
from ..compile.sources import VECMATH
from ..core.errors import shown
from .arrays_reached import indexes_arrays
from .plain import plain as plain_function

__all__ = ["check", "check_function", "indexes_arrays", "interpreted", "name_of", "proved"]

#: after so many accesses, or so many seconds, the run is given up: it is to take less than the compiler
ACCESSES = 500_000
SECONDS = 0.5

#: function a role stands for, and what it fills
ROLES = {"rhs": ("right-hand side", "dy"), "accel": ("accelerations", "a"), "jac": ("Jacobian", "J"), "invariant": ("invariant", "")}

UNUSABLE = "cannot be used"

_CHECKED: dict[tuple[str, str, int, int], bool] = {}


class _Broken(Exception):
    """What a function did that it must not do."""


class _Enough(BaseException):
    """The run takes too long."""


def check(source: Any, method: Any = None, invariants: tuple[Callable, ...] = ()) -> None:
    """ValueError, naming the function and what it did, where one that `method` uses (None: any) breaks its contract.

    source: a Problem or Batch; of a batch the first instance is looked at, and none of an empty one.  invariants: those that are compiled.
    What was found is remembered by what the function computes, so that the next call costs next to nothing.
    """
    if source.y0.ndim == 2 and len(source.y0) == 0:
        return
    plain_rhs = method is None or method.uses == "rhs"
    found: list[tuple[str, Callable]] = [("rhs", source.rhs)] if plain_rhs else []
    if source.accel is not None and (method is None or (not plain_rhs and source.nbody is None)):
        found.append(("accel", source.accel))
    if source.jac is not None and (method is None or method.implicit):
        found.append(("jac", source.jac))
    found += [("invariant", f) for f in invariants]
    y, p = (source.y0[0], source.p[0]) if source.y0.ndim == 2 else (source.y0, source.p)
    t = source.t0[0] if source.y0.ndim == 2 else source.t_span[0]
    for role, fn in found:
        check_function(fn, role, float(t), y, p)


def check_function(fn: Callable, role: str, t: float, y: np.ndarray, p: np.ndarray) -> None:
    """`check` of one function in a role of `ROLES`, at the state y (n,) with the parameters p (m,)."""
    _check_kind(fn, role)
    key = _key(fn, role, y.size, p.size)
    if key in _CHECKED:
        return
    complete = _run(fn, role, t, y, p)
    if len(_CHECKED) > 4096:
        _CHECKED.clear()
    _CHECKED[key] = complete


def proved(fn: Callable, role: str, n: int, m: int) -> bool:
    """Whether a checked function is known to write every component at every call."""
    return _CHECKED.get(_key(fn, role, n, m), False) and _straight(fn, set())


def _key(fn: Callable, role: str, n: int, m: int) -> tuple[str, str, int, int]:
    return digest.identity(fn), role, n, m


def name_of(fn: Callable) -> str:
    """A function's name in a message."""
    return shown(str(getattr(fn, "__qualname__", type(fn).__name__)).rsplit("<locals>.", 1)[-1])


def _refusal(fn: Callable, role: str, words: str, what: str = "cannot be compiled") -> ValueError:
    return ValueError(f"{ROLES[role][0]} {name_of(fn)} {what}: {words}")


def _check_kind(fn: Callable, role: str) -> None:
    plain = plain_function(fn)
    code = getattr(plain, "__code__", None)
    if not isinstance(plain, types.FunctionType) or code is None:
        raise _refusal(fn, role, f"it must be a function written in Python, got {shown(fn)}")
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise _refusal(fn, role, "it is declared with `async`, so a call would do nothing; write it as a plain function")
    if code.co_flags & inspect.CO_GENERATOR:
        raise _refusal(fn, role, "it holds `yield`, so a call would do nothing; write it as a plain function")


class _Run:
    """What happened in one run."""

    def __init__(self) -> None:
        self.left = ACCESSES
        self.broken: str | None = None
        self.what = "cannot be compiled"

    def fail(self, words: str, what: str = "cannot be compiled") -> _Broken:
        if self.broken is None:  # the function may catch the exception
            self.broken, self.what = words, what
        return _Broken(words)

    def index(self, name: str, i: Any, size: int) -> int:
        """`i` as a place from 0 to size - 1."""
        self.left -= 1
        if self.left < 0:
            raise _Enough
        if isinstance(i, (float, np.floating, slice, type(None), type(Ellipsis), str)):
            got = "a slice" if isinstance(i, slice) else shown(i)
            raise self.fail(f"{name} takes whole numbers as indices, got {got}")
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)):
            raise TypeError(f"no index: {type(i)}")  # of the compiler's own types, perhaps
        if not -size <= i < size:
            raise self.fail(f"{name}[{i}]: index {i} is outside an array of length {size}")
        return int(i) % size


class _Frozen:
    """y or p."""

    def __init__(self, run: _Run, name: str, values: np.ndarray) -> None:
        self.run, self.name, self.values = run, name, list(np.asarray(values, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Any:
        raise TypeError("cannot be iterated over")

    def __getitem__(self, i: Any) -> Any:
        return self.values[self.run.index(self.name, i, len(self.values))]

    def __setitem__(self, i: Any, x: Any) -> None:
        raise self.run.fail(f"it writes {self.name}[{shown(i)}]: y and p are the solver's own and cannot be written to")


class _Filled(_Frozen):
    """dy or a."""

    def __init__(self, run: _Run, name: str, size: int) -> None:
        self.run, self.name, self.values = run, name, [None] * size

    def __getitem__(self, i: Any) -> Any:
        at = self.run.index(self.name, i, len(self.values))
        if self.values[at] is None:
            words = f"it reads {self.name}[{i}] before it has written it: {self.name} holds no values when it is called"
            raise self.run.fail(words, UNUSABLE)
        return self.values[at]

    def __setitem__(self, i: Any, x: Any) -> None:
        self.values[self.run.index(self.name, i, len(self.values))] = np.float64(x)


class _Matrix:
    """J; what is written is looked at by `jacobian_check`."""

    def __init__(self, run: _Run, n: int) -> None:
        self.run, self.n = run, n
        self.values: dict[tuple[int, int], Any] = {}

    def _place(self, index: Any) -> tuple[int, int]:
        if not isinstance(index, tuple) or len(index) != 2:
            raise self.run.fail(f"J takes two indices, J[i, j], got {shown(index)}")
        try:
            return self.run.index("J", index[0], self.n), self.run.index("J", index[1], self.n)
        except _Broken:
            words = f"index {shown(index)} is outside a matrix of {self.n} by {self.n}"
            if all(isinstance(i, (int, np.integer)) for i in index):
                self.run.broken = words
            raise

    def __getitem__(self, index: Any) -> Any:
        return self.values.get(self._place(index), np.float64(0.0))

    def __setitem__(self, index: Any, x: Any) -> None:
        self.values[self._place(index)] = np.float64(x)


def _run(fn: Callable, role: str, t: float, y: np.ndarray, p: np.ndarray) -> bool:
    """Run the function; ValueError where it breaks its contract, else whether it came to its end."""
    run = _Run()
    args: list[Any] = [np.float64(t), _Frozen(run, "y", y), _Frozen(run, "p", p)]
    size = y.size // 2 if role == "accel" else y.size
    out = _Filled(run, ROLES[role][1], size) if role in ("rhs", "accel") else None
    if role == "jac":
        args.append(_Matrix(run, size))
    elif out is not None:
        args.append(out)
    answer, complete = None, True
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = interpreted(fn)
            with _limited(SECONDS):
                answer = plain(*args)
    except IndexError as error:
        run.fail(f"{type(error).__name__}: {error}", UNUSABLE)
    except (Exception, _Enough):  # the user's own, at a state that may be outside its domain
        complete = False
    if run.broken is not None:
        raise _refusal(fn, role, run.broken, run.what)
    if not complete or role == "invariant":
        return complete
    if answer is not None:
        filled = ROLES[role][1]
        raise _refusal(fn, role, f"it must fill {filled} in place and return nothing, got {shown(answer)}", UNUSABLE)
    if out is not None and None in out.values:
        raise _refusal(fn, role, f"it does not write {_listed(out)}; every component must be written at every call, zeros too", UNUSABLE)
    return True


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `_Enough` in this thread, at the next line of a function of the user's, once so much time has passed."""
    end, clock, here = time.perf_counter() + seconds, time.perf_counter, __file__

    def line(frame: types.FrameType, event: str, arg: Any) -> Any:
        if clock() > end:
            raise _Enough
        return line

    def call(frame: types.FrameType, event: str, arg: Any) -> Any:
        return None if frame.f_code.co_filename == here else line(frame, event, arg)

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def _listed(out: _Filled) -> str:
    """ "dy[1]", "dy[1], dy[3] and 7 more"."""
    at = [f"{out.name}[{i}]" for i, x in enumerate(out.values) if x is None]
    return ", ".join(at[:6]) + (f" and {len(at) - 6} more" if len(at) > 6 else "")


def interpreted(fn: Callable, done: dict[int, Callable] | None = None) -> Callable:
    """`fn` as plain Python that calls nothing compiled by Numba: not the functions it names, nor those that these name."""
    done = {} if done is None else done
    plain = plain_function(fn)
    if not isinstance(plain, types.FunctionType):
        return fn
    if id(plain) in done:
        return done[id(plain)]
    cells = tuple(types.CellType() for _ in plain.__closure__ or ())
    glb = dict(plain.__globals__)
    copy = types.FunctionType(plain.__code__, glb, plain.__name__, plain.__defaults__, cells or None)
    copy.__kwdefaults__ = plain.__kwdefaults__
    done[id(plain)] = copy
    names = _names(plain.__code__)
    for name in names & glb.keys():
        glb[name] = _stand_in(glb[name], names, done)
    for cell, given in zip(cells, plain.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _stand_in(given.cell_contents, names, done)
        except ValueError:  # not filled yet
            pass
    return copy


def _stand_in(value: Any, names: set[str], done: dict[int, Callable]) -> Any:
    if isinstance(value, types.FunctionType):
        # those of `vecmath` take Python's numbers as they are
        return value if hasattr(value, "py_func") else interpreted(value, done)
    if hasattr(value, "py_func"):
        return interpreted(value, done)
    if isinstance(value, types.ModuleType):
        found = {k: _stand_in(v, names, done) for k, v in vars(value).items() if k in names and hasattr(v, "py_func")}
        if found:
            stand_in = types.ModuleType(value.__name__)
            vars(stand_in).update({**vars(value), **found})
            return stand_in
    return value


def _names(code: types.CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


#: functions that make floats of floats, and whole numbers of whole numbers alone
_FLOATS = frozenset(
    """range len abs min max float pow exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh
    arcsin arccos arctan arctan2 arcsinh arccosh arctanh sqrt cbrt pow_ power fabs absolute hypot minimum maximum fmin fmax fmod copysign
    erf erfc gamma lgamma pi e tau inf nan square float64 radians degrees""".split()
)
_DECISIONS = ("POP_JUMP", "JUMP_IF", "COMPARE", "CONTAINS", "IS_OP", "UNARY_NOT", "MAKE_", "IMPORT", "STORE_GLOBAL", "SETUP_", "RAISE")


def _straight(fn: Callable, seen: set[int]) -> bool:
    """Whether no data can decide on what a function does next, nor on a place it writes to: no branches but loops over whole numbers, and
    nothing that makes whole numbers or truth of floats.  False where that cannot be told."""
    import dis

    plain = plain_function(fn)
    if not isinstance(plain, types.FunctionType) or id(plain) in seen:
        return isinstance(plain, types.FunctionType)
    seen.add(id(plain))
    code = plain.__code__
    if any(isinstance(c, types.CodeType) for c in code.co_consts):
        return False
    glb = plain.__globals__
    for op in dis.get_instructions(code):
        if op.opname.startswith(_DECISIONS):
            return False
        if op.opname in ("LOAD_ATTR", "LOAD_METHOD") and op.argval not in _FLOATS:
            return False
        if op.opname in ("LOAD_GLOBAL", "LOAD_NAME") and not _harmless(glb.get(op.argval, op.argval), op.argval, seen):
            return False
    try:
        return all(_harmless(cell.cell_contents, "", seen) for cell in plain.__closure__ or ())
    except ValueError:
        return False


def _harmless(value: Any, name: str, seen: set[int]) -> bool:
    if isinstance(value, (bool, int, float, np.number, np.ndarray)):
        return True
    if isinstance(value, types.ModuleType):  # whose attributes are looked at by name
        return value.__name__ in ("math", "numpy") or value.__name__ == VECMATH
    if isinstance(value, tuple):
        return all(_harmless(v, "", seen) for v in value)
    if isinstance(value, str):  # a builtin's name
        return name in _FLOATS
    if isinstance(value, types.BuiltinFunctionType) or isinstance(value, np.ufunc):
        return value.__name__ in _FLOATS
    if hasattr(value, "py_func") and isinstance(value, types.FunctionType):
        return value.__name__ in _FLOATS or value.__name__ == "where"
    return hasattr(value, "py_func") and _straight(value, seen)
