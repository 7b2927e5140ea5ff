"""Right-hand sides and Jacobians as people write them, made into the one form that solvers call: f(t, y, p, out).

That form reads y and p by whole-number indices and writes `out` in place, so that compiled code can keep many
trajectories side by side.  People also write functions that return their slopes, use slices, `@` and `np.sum`, unpack
y, take parameters by name or as further arguments, or have a matrix or complex numbers as their state.  `in_place`
finds out by one run in plain Python, and puts a small function around such a one: it copies y and p into arrays of the
person's shape, calls the function, and copies the answer into `out`.

    f(t, y, p, dy)      as solvers call it; returned as it is
    f(t, y, p, dy)      with slices and other array operations
    f(t, y, p) -> dy    returns an array, a list, a tuple, or a number where there is one
    f(t, y) -> dy       without parameters;  f(t, y, dy) writes in place
    f(t, y, a, b, ...)  with args, or with parameters by name
    jac                 the same, with a matrix in place of dy
    an event            the same, with one number in place of dy; its reset as rhs, with the new state in place of dy
    a spectral radius   the same, with one number in place of dy

The function itself may be compiled by Numba, which then checks its indices, inside of a kernel or, with
`compiled="apart"`, as a function of its own (`compile.separate`); or, with `compiled=False`, be any Python function
(`foreign`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import shown
from .array_use import uses_arrays
from .layouts import Layout, named_class, sizes
from .style import FILLS as FILLS
from .style import WORDS as WORDS
from .style import Style as Style
from .style import name_of as name_of
from .style import origin_of as origin_of
from .style import refusal
from .style import style_of as style_of
from .style_forms import form_of


def in_place(style: Style, t: float, y: np.ndarray, p: np.ndarray) -> Callable[..., Any]:
    """`style.fn` as f(t, y, p, out); itself where it is that already.

    t, y (n,), p (m,): where it is run once to see how it is written.  ValueError, saying what is wrong, where that run
    of a function that returns its values fails, or gives no values of the state's shape.
    """
    before = style_of(style.fn)
    if before is not None:
        same_state = style.state is None or style.state == before.state
        kind = (before.compiled, before.apart, before.n, before.m)
        if kind == (style.compiled, style.apart, style.n, style.m) and same_state:
            return style.fn
        layout = before.layout if style.layout == Layout() else style.layout
        compiled = style.compiled and before.compiled
        apart = compiled and (style.apart or before.apart)
        style = Style(before.fn, style.role, style.n, style.m, style.state, layout, compiled, apart)
    key = (id(style.fn), style.role, style.n, style.m, style.state, style.layout, style.compiled, style.apart)
    known = _KNOWN.get(key)
    if known is not None and known[0]() is style.fn and known[1] is getattr(style.fn, "__code__", None):
        return style.fn if known[2] is None else known[2]
    made = _made(style, t, y, p)
    if len(_KNOWN) > 1024:
        _KNOWN.clear()
    try:
        ref = weakref.ref(style.fn)
    except TypeError:  # a function of C's, for instance
        return made
    _KNOWN[key] = ref, getattr(style.fn, "__code__", None), None if made is style.fn else made
    return made


_KNOWN: dict[tuple, tuple[Any, Any, Any]] = {}


def _made(style: Style, t: float, y: np.ndarray, p: np.ndarray) -> Callable[..., Any]:
    if style.compiled:
        from ..checks.rhs_check import check_kind

        check_kind(style.fn, style.role)
    form = form_of(style)
    if style.single and form == "fill or return":
        form = "pass"
    plain = style.state is None and style.layout == Layout() and style.compiled and not style.apart
    inside = style.compiled and not style.apart
    if style.single and inside and style.state is None and "fill" not in form:
        direct = _direct(style, form, t, y, p)
        if direct is not None:
            return direct
    if plain and form == "pass and fill" and not uses_arrays(style.fn, style.role, t, y, p):
        return style.fn
    filled, answer = _run(style, form, t, y, p)
    if form == "fill or return":
        form = "fill" if filled else "pass"
    if "fill" not in form:
        check_answer(style, answer)
    if style.compiled:
        made = _around(style, form, answer)
    else:
        from .foreign import around

        made = around(style, form)
    made.stepsmith_style, made.stepsmith_form = style, form  # type: ignore[attr-defined]
    return made


def arguments(style: Style, form: str, p: Any) -> list[Any]:
    """The parameters as the function takes them."""
    layout = style.layout
    if "spread" in form and layout.shapes is not None:
        ends = np.cumsum([0, *sizes(layout.shapes)])
        parts = [p[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        return [part[0] if s == () else part.reshape(s) for part, s in zip(parts, layout.shapes, strict=True)]
    if "named" in form:
        return list(p)
    if "pass" not in form:
        return []
    return [p] if layout.names is None else [named_class(layout.names)(*p)]


def shaped(style: Style, y: np.ndarray) -> Any:
    """A state (n,) in its owner's shape; a number where that is one."""
    if style.state is None:
        return y
    out = style.state.shaped(y)
    return out[()] if out.ndim == 0 else out


def _run(style: Style, form: str, t: float, y: np.ndarray, p: np.ndarray) -> tuple[bool, Any]:
    """Run the function once in plain Python: whether it filled `out`, and what it returned."""
    from ..checks.interpreted import interpreted

    fn = interpreted(style.fn) if style.compiled else style.fn
    args = [np.float64(t), shaped(style, y.copy()), *arguments(style, form.replace("fill or return", "fill"), p.copy())]
    out = blank(style)
    if "fill" in form:
        args.append(out)
    try:
        with np.errstate(all="ignore"):
            answer = fn(*args)
    except Exception as error:
        if form == "fill or return":
            return _run(style, "pass", t, y, p)
        hint = _hint(style, form, error)
        raise refusal(style, f"it fails at the start of the span: {type(error).__name__}: {error}{hint}") from error
    if form == "fill or return" and answer is not None:
        return _run(style, "pass", t, y, p)
    if "fill" in form:
        if answer is not None and style.layout.shapes is not None:
            more = len(style.layout.shapes)
            raise refusal(
                style, f"it takes {more + 1} arguments beyond (t, y) and returns its values, but args holds {more}"
            )
        if answer is not None:
            raise refusal(
                style, f"it must fill {FILLS[style.role]} in place and return nothing, got {shown(answer)}"
            )
        left = unwritten(style, out)
        if left:
            raise refusal(
                style, f"it does not write {left}; every component must be written at every call, zeros too"
            )
    return "fill" in form, answer


def _hint(style: Style, form: str, error: Exception) -> str:
    """What is likely to be behind an error of the first run, in brackets; "" where nothing is known."""
    if isinstance(error, IndexError) and style.state is not None and not style.state.shape:
        return " (y is a number, as y0 is: write y, or give y0=[...] for y[0])"
    if isinstance(error, IndexError) and style.state is not None:
        return f" (y has the shape {style.state.shape} of y0)"
    if style.m == 0 and "pass" in form and isinstance(error, (IndexError, ValueError)):
        return " (p holds no values)"
    return ""


#: a NaN that no calculation gives: it stands where nothing has been written
_UNWRITTEN = np.array([0x7FF8_0000_5EED_0001], dtype=np.uint64).view(np.float64)[0]


def blank(style: Style) -> np.ndarray:
    """What a function fills, nothing written yet."""
    if style.role == "jac":
        return np.zeros((style.n, style.n))
    flat = np.full(style.shape, _UNWRITTEN)
    return flat if style.state is None or style.single else np.atleast_1d(style.state.shaped(flat))


def unwritten(style: Style, out: np.ndarray) -> str:
    """Components that nothing was written to, in words; "" where there are none."""
    flat = np.ascontiguousarray(out).view(np.uint64).ravel()
    at = np.flatnonzero(flat == np.array(_UNWRITTEN).view(np.uint64))
    if style.role == "jac" or at.size == 0:
        return ""
    return ", ".join(f"{FILLS[style.role]}[{i}]" for i in at[:6]) + (f" and {at.size - 6} more" if at.size > 6 else "")


def check_answer(style: Style, answer: Any) -> None:
    """ValueError where what a function returned is not `out`'s content."""
    real = style.role == "jac" or style.single or style.state is None
    want = style.shape if real or style.state is None else style.state.shape
    if answer is None:
        fills = FILLS[style.role]
        raise refusal(style, f"it returns nothing; it must return {fills}, or fill it as its last argument")
    if style.role == "jac" and hasattr(answer, "toarray"):
        raise refusal(style, "it returns a sparse matrix; return a dense one, and say the pattern by sparsity=")
    try:
        array = np.asarray(answer)
    except ValueError as error:
        raise refusal(style, f"it returns no array: {error}") from None
    allowed = "fiubc" if style.state is not None and style.state.is_complex and not style.single else "fiub"
    if style.single and array.dtype.kind == "b":
        what = "the number whose change of sign is the event" if style.role == "event" else "a number"
        raise refusal(style, f"it returns a truth value: return {what}")
    if array.dtype.kind not in allowed:
        what = "complex numbers, but y0 is real" if array.dtype.kind == "c" else shown(answer)
        raise refusal(style, f"it must return numbers, got {what}")
    one = style.shape in ((1,), (1, 1)) and array.shape in ((), (1,))  # a Jacobian of one equation too
    if array.shape != want and not one:
        if style.single:
            raise refusal(style, f"it must return one number, got an array of shape {array.shape}")
        got = f"{array.size} values" if array.ndim == 1 and len(want) == 1 else f"shape {array.shape}"
        raise refusal(style, f"it returns {got}, where y0 has {want[0] if len(want) == 1 else f'shape {want}'}")


def _direct(style: Style, form: str, t: float, y: np.ndarray, p: np.ndarray) -> Callable[..., Any] | None:
    """An event, or a spectral radius, that takes single numbers of y and p by whole-number indices, without copies of
    these; None for one that uses them as arrays, or that has to be looked at more closely.
    """
    from . import styles_text

    text = styles_text.direct(style, form)
    if text is None or uses_arrays(style.fn, style.role, t, y, p, lambda a, b: arguments(style, form, b)):
        return None
    check_answer(style, _run(style, form, t, y, p)[1])
    made = finished(style, text, {"np": np, "given": style.fn})
    made.stepsmith_origin = style  # type: ignore[attr-defined]
    return made


def _around(style: Style, form: str, answer: Any) -> Callable[..., Any]:
    """The function that copies in, calls, and copies out, as text."""
    from ..compile import array_forms  # noqa: F401  (NumPy's functions in forms that Numba does not take)
    from . import styles_text

    names: dict[str, Any] = {"np": np, "given": style.fn}  # compiled as every helper is (`compile.recompile`)
    if style.layout.names is not None and "pass" in form:
        from ..compile import named_tuples  # noqa: F401  (how compiled code reads p["k1"])

        names["Parameters"] = named_class(style.layout.names)
    text = styles_text.around(style, form, answer)
    made = finished(style, text, names)
    made.stepsmith_text = text  # type: ignore[attr-defined]
    return made


def finished(style: Style, text: str, names: dict[str, Any]) -> Callable[..., Any]:
    """The function `written` of a text, named like the person's own."""
    names["__name__"] = getattr(style.fn, "__module__", None) or "__main__"
    exec(compile(text, f"<{name_of(style)} as solvers call it>", "exec"), names)  # noqa: S102
    made = names.pop("written")
    made.__qualname__ = made.__name__ = str(getattr(style.fn, "__name__", type(style.fn).__name__))
    made.__doc__ = getattr(style.fn, "__doc__", None)
    return made
