"""Functions that only compiled code calls.

Numba makes two wrappers around every function that it compiles, by which Python and C call it.  For the pieces of a
kernel they take a tenth to a fifth of the time in which the kernel is compiled, and nobody uses them.  A function made
by `inner` has none; where Python calls it, it runs as the plain Python that it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba.core.registry import CPUDispatcher

#: fused multiply-adds only: no reassociation, NaN and inf keep their meaning
FASTMATH = {"contract"}


#: pieces that were compiled since `forget` was called last
_COMPILED: list[Any] = []


class _Inner(CPUDispatcher):
    """A dispatcher that Python's own calls do not reach: there is no machine code that they could run."""

    def add_overload(self, cres: Any) -> None:
        self.overloads[tuple(cres.signature.args)] = cres
        _COMPILED.append(self)

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        return self.py_func  # what is returned here is called with the arguments


def inner(fn: Callable, **given: Any) -> Any:
    """`fn` for compiled code alone, with options of `numba.njit`."""
    usual = numba.njit(error_model="numpy", fastmath=FASTMATH, **given)(fn)
    if not isinstance(usual, CPUDispatcher):  # compilation is switched off
        return usual
    options = {**usual.targetoptions, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return _Inner(py_func=fn, targetoptions=options)


def piece(fn: Callable) -> Any:
    """A piece of a kernel, which is called and not copied into its callers."""
    return inner(fn, nogil=True)


def forget(kernel: Any) -> None:
    """Drop the machine code of the pieces that were compiled for `kernel`, a dispatcher which has its own copy.

    Numba would keep it for as long as the kernel, and forty modules of LLVM with it: a third of the memory.  A piece
    that another kernel needs is compiled for that one.
    """
    while _COMPILED:
        piece = _COMPILED.pop()
        piece._make_finalizer()()
        piece._reset_overloads()
    for result in kernel.overloads.values():
        linked = getattr(result.library, "_linking_libraries", None)
        if linked:
            linked.clear()
