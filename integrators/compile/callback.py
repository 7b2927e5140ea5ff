"""Compiled code that calls a Python function back by its address (see `problems.foreign`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def call_back(typingctx, address, t, buffer):
    """Call the C function void f(double, double *) at `address`, a whole number held as a float64, with t and the data
    of the 1-D float64 array `buffer`.
    """
    if not (isinstance(buffer, types.Array) and buffer.dtype == types.float64):
        raise numba.TypingError("call_back: buffer must be a float64 array")

    def codegen(context, builder, sig, args):
        data = cgutils.create_struct_proxy(sig.args[2])(context, builder, value=args[2]).data
        kind = ir.FunctionType(ir.VoidType(), [ir.DoubleType(), ir.DoubleType().as_pointer()])
        place = builder.fptoui(args[0], ir.IntType(64))
        builder.call(builder.inttoptr(place, kind.as_pointer()), [args[1], data])
        return context.get_dummy_value()

    return types.none(types.float64, types.float64, buffer), codegen


_RHS = """
def python_{role}(t, y, p, out):
    buffer = np.empty({length})
    for i in range({n}):
        buffer[i] = y[i]
    for i in range({m}):
        buffer[{n} + i] = p[i]
    call_back(p[{place}], t, buffer)
"""
_OUT = """    for i in range({size}):
        out[i] = buffer[{start} + i]
"""
_OUT_MATRIX = """    for i in range({n}):
        for j in range({n}):
            out[i, j] = buffer[{start} + i * {n} + j]
"""


def is_caller(fn: Any) -> bool:
    """Whether a function is one of `caller`'s."""
    return getattr(fn, "__module__", "") == __name__


@functools.lru_cache(maxsize=256)
def caller(role: str, n: int, m: int, place: int) -> Callable[..., None]:
    """f(t, y, p, out) that calls back the function whose address stands at p[place]: "rhs" or "reset", out (n,), "jac",
    out (n, n), "event" or "radius", out (1,).
    """
    size = n * n if role == "jac" else 1 if role in ("event", "radius") else n
    text = (_RHS + (_OUT_MATRIX if role == "jac" else _OUT)).format(
        role=role, n=n, m=m, place=place, length=n + m + size, start=n + m, size=size
    )
    names: dict[str, Any] = {"np": np, "call_back": call_back, "__name__": __name__}
    exec(compile(text, f"<python_{role}>", "exec"), names)  # noqa: S102
    return names[f"python_{role}"]
