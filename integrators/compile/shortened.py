"""Functions that stand in a kernel beside what `prepared` puts behind the problem's own parameters (addresses, numbers
that other functions close over): they are given the problem's own alone, so that `len(p)`, `p[-1]` and loops over p
mean what they mean elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import TypingError, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from .cache import Recent
from .inner import FASTMATH
from .lanes import LaneViewType
from .noted import NotedType

_TEXT = """
def written(t, y, p, out):
    given(t, y, first(p, {m}), out)
"""

#: by a function's identity and the number of parameters: the function, and what was made of it
_KNOWN = Recent(256)


def _first(p, m):
    return p[:m]


@intrinsic
def first(typingctx, p, m):
    """The first m elements of a view, or of a 1-D array of float64, that has at least as many; m is a literal."""
    if not isinstance(m, types.IntegerLiteral):
        raise TypingError("first: m must be a compile-time constant")
    size = m.literal_value
    if isinstance(p, NotedType) and isinstance(p.of, LaneViewType):
        made: Any = NotedType(LaneViewType(p.of.width, size, p.of.frozen))
    elif isinstance(p, LaneViewType):
        made = LaneViewType(p.width, size, p.frozen)
    elif isinstance(p, types.Array) and p.ndim == 1:
        made = p
    else:
        raise TypingError(f"first: {p} is neither a view nor an array")

    def codegen(context, builder, sig, args):
        if isinstance(made, LaneViewType):
            return args[0]
        if isinstance(made, NotedType):
            given = cgutils.create_struct_proxy(p)(context, builder, value=args[0])
            out = cgutils.create_struct_proxy(made)(context, builder)
            out.view, out.fault = given.view, given.fault
            return out._getvalue()
        array = make_array(made)(context, builder, value=args[0])
        length = ir.Constant(context.get_value_type(types.intp), size)
        array.shape, array.nitems = cgutils.pack_array(builder, [length]), length
        if context.enable_nrt:
            context.nrt.incref(builder, made, args[0])
        return array._getvalue()

    return made(p, m), codegen


first.py_func = _first  # type: ignore[attr-defined]  # what it is in plain Python (`checks.interpreted`)


def shortened(fn: Callable[..., Any], m: int) -> Callable[..., Any]:
    """`fn`, f(t, y, p, out), as a function that takes a longer p and gives `fn` the first m elements."""
    known = _KNOWN.get((id(fn), m))
    if known is not None and known[0] is fn:
        return known[1]
    plain = getattr(fn, "py_func", fn)
    # as it would stand in the kernel itself
    given = njit(error_model="numpy", fastmath=FASTMATH, forceinline=True)(fn) if plain is fn else fn
    names: dict[str, Any] = {"given": given, "first": first, "__name__": plain.__module__}
    exec(compile(_TEXT.format(m=m), "<a function of the problem's own parameters>", "exec"), names)  # noqa: S102
    made = names.pop("written")
    made.__name__ = made.__qualname__ = str(getattr(plain, "__qualname__", type(fn).__name__))
    made.stepsmith_shortened = fn, m
    _KNOWN[id(fn), m] = fn, made
    return made


def own(fn: Any) -> tuple[Any, int | None]:
    """The function in one of `shortened`'s, and how many parameters it takes; any other function, and None."""
    return getattr(fn, "stepsmith_shortened", (fn, None))
