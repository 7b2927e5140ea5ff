"""Does a user's function keep to what compiled code takes for granted?  It is run once, in plain Python, at the start
of the span.

    check(source, method)      ValueError where a function of the Problem or Batch breaks its contract
    proved(fn, role, n, m)     whether it is known that the function writes every component at every call

What stands in for the arrays notes what happens to them (`stand_ins`).  Refused are generators and coroutines, answers
other than None, writes to y or p, indices outside the arrays, components that are read before they are written, and
components that are not written (what is not of second order: `second_order`).  What else the function raises there (a
division by zero, a name that is missing) is not looked at: the compiled solve answers it.  Functions that Numba has
compiled, and those that they call, run as the Python that they were (`interpreted`).

One run sees one path.  Where no data decide on the path (`straight`), the others are the same, and the run is the
proof; elsewhere kernels fill dy with NaN before each call (`kernels.calls`).  Indices that depend on data are checked
as the code runs (`lanes`).
"""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..compile import digest
from ..compile.shortened import own
from ..core.errors import shown
from ..problems.foreign import callback_of
from . import mass_check
from .arrays_reached import indexes_arrays
from .interpreted import interpreted, plain_function
from .stand_ins import SECONDS, UNUSABLE, Enough, Filled, Frozen, Matrix, Run, limited
from .straight import straight

__all__ = ["check", "check_function", "indexes_arrays", "interpreted", "name_of", "proved"]

#: function a role stands for, and what it fills
ROLES = {
    "rhs": ("right-hand side", "dy"),
    "accel": ("accelerations", "a"),
    "jac": ("Jacobian", "J"),
    "invariant": ("invariant", ""),
    "event": ("event", "value"),
    "reset": ("reset of an event", "new"),
    "radius": ("spectral radius", "value"),
}

_CHECKED: dict[tuple[str, str, int, int], bool] = {}


def check(source: Any, method: Any = None, invariants: tuple[Callable, ...] = ()) -> None:
    """ValueError, naming the function and what it did, where one that `method` uses (None: any) breaks its contract.

    source: a Problem or Batch; of a batch the first instance is looked at, and none of an empty one.  invariants: those
    that are compiled. What was found is remembered by what the function computes, so that the next call costs next to
    nothing.
    """
    mass_check.check_method(source, method)
    if source.y0.ndim == 2 and len(source.y0) == 0:
        return
    uses = "" if method is None else method.uses
    found: list[tuple[str, Callable]] = [("rhs", source.rhs)] if uses != "accel" else []
    if source.accel is not None and (uses in ("", "both") or (uses == "accel" and source.nbody is None)):
        found.append(("accel", source.accel))
    if source.jac is not None and (method is None or method.implicit):
        found.append(("jac", source.jac))
    if callable(source.spectral_radius) and method is not None and method.radius:
        found.append(("radius", source.spectral_radius))
    found += [("invariant", f) for f in invariants]
    y, p = (source.y0[0], source.p[0]) if source.y0.ndim == 2 else (source.y0, source.p)
    t = source.t0[0] if source.y0.ndim == 2 else source.t_span[0]
    for role, fn in found:
        check_function(fn, role, float(t), y, p)


def check_function(fn: Callable, role: str, t: float, y: np.ndarray, p: np.ndarray) -> None:
    """`check` of one function in a role of `ROLES`, at the state y (n,) with the parameters p (m,)."""
    fn, count = own(fn)
    p = p[:count]
    check_compiled(fn, role)
    check_kind(fn, role)
    key = _key(fn, role, y.size, p.size)
    if key in _CHECKED:
        return
    complete = _run(fn, role, t, y, p)
    if len(_CHECKED) > 4096:
        _CHECKED.clear()
    _CHECKED[key] = complete


def check_compiled(fn: Callable, role: str = "rhs") -> None:
    """ValueError for a function that runs as plain Python: solve and solve_ensemble put another in its place before."""
    if callback_of(fn) is not None:
        raise ValueError(
            f"{ROLES[role][0]} {name_of(fn)} runs as plain Python (compiled=False), which solve and solve_ensemble "
            "take; families, environments and references need a function that can be compiled"
        )


def proved(fn: Callable, role: str, n: int, m: int) -> bool:
    """Whether a checked function is known to write every component at every call."""
    fn, count = own(fn)
    m = m if count is None else count
    return _CHECKED.get(_key(fn, role, n, m), False) and straight(fn, set())


def _key(fn: Callable, role: str, n: int, m: int) -> tuple[str, str, int, int]:
    return digest.identity(fn), role, n, m


def name_of(fn: Callable) -> str:
    """A function's name in a message."""
    return shown(str(getattr(fn, "__qualname__", type(fn).__name__)).rsplit("<locals>.", 1)[-1])


def refusal(fn: Callable, role: str, words: str, what: str = "cannot be compiled") -> ValueError:
    """The error about a function in a role of `ROLES`."""
    return ValueError(f"{ROLES[role][0]} {name_of(fn)} {what}: {words}")


def check_kind(fn: Callable, role: str) -> None:
    """ValueError for what cannot be compiled whatever it computes: other callables, coroutines and generators."""
    plain = plain_function(fn)
    code = getattr(plain, "__code__", None)
    if not isinstance(plain, types.FunctionType) or code is None:
        raise refusal(
            fn,
            role,
            f"it must be a function written in Python, got {shown(fn)}; compiled=False takes any callable, and is "
            "slower",
        )
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise refusal(fn, role, "it is declared with `async`, so a call would do nothing; write it as a plain function")
    if code.co_flags & inspect.CO_GENERATOR:
        raise refusal(fn, role, "it holds `yield`, so a call would do nothing; write it as a plain function")


def _run(fn: Callable, role: str, t: float, y: np.ndarray, p: np.ndarray) -> bool:
    """Run the function; ValueError where it breaks its contract, else whether it came to its end."""
    run = Run()
    args: list[Any] = [np.float64(t), Frozen(run, "y", y), Frozen(run, "p", p)]
    size = y.size // 2 if role == "accel" else 1 if role in ("event", "radius") else y.size
    out = None if role in ("jac", "invariant") else Filled(run, ROLES[role][1], size)
    if role == "jac":
        args.append(Matrix(run, size))
    elif out is not None:
        args.append(out)
    answer, complete = None, True
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = interpreted(fn)
            with limited(SECONDS):
                answer = plain(*args)
    except IndexError as error:
        run.fail(f"{type(error).__name__}: {error}", UNUSABLE)
    except (Exception, Enough):  # the user's own, at a state that may be outside its domain
        complete = False
    if run.broken is not None:
        raise refusal(fn, role, run.broken, run.what)
    if not complete or role == "invariant":
        return complete
    if answer is not None:
        filled = ROLES[role][1]
        raise refusal(fn, role, f"it must fill {filled} in place and return nothing, got {shown(answer)}", UNUSABLE)
    if out is not None and None in out.values:
        raise refusal(
            fn,
            role,
            f"it does not write {_listed(out)}; every component must be written at every call, zeros too",
            UNUSABLE,
        )
    return True


def _listed(out: Filled) -> str:
    """ "dy[1]", "dy[1], dy[3] and 7 more"."""
    at = [f"{out.name}[{i}]" for i, x in enumerate(out.values) if x is None]
    return ", ".join(at[:6]) + (f" and {len(at) - 6} more" if len(at) > 6 else "")
