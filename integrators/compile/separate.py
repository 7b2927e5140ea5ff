"""Functions that use arrays, or that their problem says are compiled apart (`compiled="apart"`), compiled once as C
functions that kernels call by their addresses.

A kernel that holds such a function itself would have the compiler go through all of it, with what NumPy's operations
bring along, at every level of the kernel: a minute and a half for a two-dimensional stencil that takes two seconds
alone.  A call by address costs some ten nanoseconds, next to nothing beside what arrays cost, and all such functions of
the same dimensions share a kernel.

An exception in the function (an index outside an array, for instance) makes its slope NaN.
"""

from __future__ import annotations

import math
import textwrap
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..problems.styles import Style, name_of, style_of
from . import callback
from .digest import watched
from .unrolled import straight_text
from .watch import Watch

_TEXT = """
import numba
import numpy as np
from stepsmith.integrators.compile import array_forms, named_tuples
from stepsmith.integrators.compile.lanes import bounded as _bounded
from stepsmith.integrators.problems.layouts import named_class as _named
{head}

@numba.cfunc("void(f8, CPointer(f8))", error_model="numpy", cache=True)
def pointer(t, buffer):
    a = numba.carray(buffer, ({length},))
    y, p, out = a[:{n}], a[{n}:{start}], a[{start}:]{shape}
    try:
{body}
    except Exception:
        for i in range({start}, {length}):
            a[i] = np.nan
"""

#: what stands before a function that calls the person's own, and before one in straight lines
_OWN = """
given = _bounded(given)
Parameters = _named({names!r})
"""
_STRAIGHT = """
import math
from stepsmith.integrators.compile.vecmath import atan, cos, exp, fabs, log, sin, sqrt, tanh
"""

#: by function: what was watched, and the module that holds the compiled function; earlier ones are kept, for a solve in
#: another thread may still call them
_KNOWN: weakref.WeakKeyDictionary[Any, list[tuple[Watch, Any]]] = weakref.WeakKeyDictionary()


def address(fn: Callable[..., Any], style: Style, t: float, y: np.ndarray, p: np.ndarray) -> int:
    """Where the compiled form of `fn`, f(t, y, p, out), stands in memory: void f(double, double *), as `callback` has
    it.  It stays there as long as `fn` lives.  t, y, p: where it is checked before.
    """
    known = _KNOWN.setdefault(fn, [])
    if not known or not known[-1][0].same():
        known.append((watched(fn)[1], _compiled(fn, style, t, y, p)))
    return int(known[-1][1].pointer.address)


def hint(given: Any, prepared: Any) -> str:
    """What the message of a run that met NaN says of a right-hand side that is called by address: its exceptions are
    NaN.  prepared: the problem `given` as the kernel took it.
    """
    style = style_of(given.rhs)
    if style is None or not style.compiled or prepared.rhs.__module__ != callback.__name__:
        return ""
    return (
        f" ({name_of(style)} {'is compiled apart' if style.apart else 'uses arrays'}: an exception in it, such as an "
        "index outside an array, is a NaN; with compiled=False it is raised)"
    )


def _compiled(fn: Any, style: Style, t: float, y: np.ndarray, p: np.ndarray) -> Any:
    from ..checks import rhs_check
    from .cache import load_module

    rhs_check.check_function(fn, style.role, t, y, p)
    n, m = style.n, style.m
    straight = straight_text(fn, style, (t, y, p)) if style.apart else None
    body = (straight or fn.stepsmith_text).partition("\n")[2]  # without its first line, `def`
    text = _TEXT.format(
        head=_STRAIGHT if straight else _OWN.format(names=style.layout.names or ()),
        length=n + m + math.prod(style.shape),
        start=n + m,
        n=n,
        shape=f".reshape(({n}, {n}))" if style.role == "jac" else "",
        body=textwrap.indent(body.rstrip("\n"), "    "),
    )
    return load_module(text, {} if straight else {"given": style.fn})
