"""Text of the functions that `styles` puts around a person's function.

It is compiled by Numba inside a kernel, where y, p and `out` are views of rows: they are read and written one number at
a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .layouts import sizes
from .states import State
from .styles import Style


def around(style: Style, form: str, answer: Any) -> str:
    """Text of `written(t, y, p, out)`; answer: what the function returned once."""
    lines = _state_in(style) + _parameters_in(style, form)
    call = ["t", _own(style), *_parameters(style, form)]
    if "fill" in form:
        lines += [*_blank(style), f"given({', '.join([*call, 'filled'])})", *_array_out(style, "filled")]
    else:
        lines += [f"answer = given({', '.join(call)})", *_answer_out(style, answer)]
    return "def written(t, y, p, out):\n" + "".join(f"    {line}\n" for line in lines)


def direct(style: Style, form: str) -> str | None:
    """Text of `written(t, y, p, out)` of an event that reads y and p by indices; None where it takes an array."""
    shapes = style.layout.shapes
    if ("spread" in form and shapes is not None and any(shape != () for shape in shapes)) or (
        "pass" in form and style.layout.names is not None
    ):
        return None
    more = ["p"] if "pass" in form else _parameters(style, form)
    return f"def written(t, y, p, out):\n    out[0] = given({', '.join(['t', 'y', *more])})\n"


def _own(style: Style) -> str:
    if style.state is None:
        return "values"
    if style.state.shape == ():
        return "values[0]"
    return f"values.reshape({style.state.shape!r})" if len(style.state.shape) != 1 else "values"


def _count(state: State) -> int:
    return state.size // 2 if state.is_complex else state.size


def _state_in(style: Style) -> list[str]:
    if style.state is not None and style.state.is_complex:
        k = _count(style.state)
        return [
            f"values = np.empty({k}, np.complex128)",
            f"for i in range({k}):",
            "    values[i] = complex(y[2 * i], y[2 * i + 1])",
        ]
    return [f"values = np.empty({style.n})", f"for i in range({style.n}):", "    values[i] = y[i]"]


def _parameters_in(style: Style, form: str) -> list[str]:
    layout = style.layout
    if "spread" in form and layout.shapes is not None:
        lines, start = [], 0
        for k, (shape, size) in enumerate(zip(layout.shapes, sizes(layout.shapes), strict=True)):
            if shape != ():
                lines += [
                    f"a{k} = np.empty({size})",
                    f"for i in range({size}):",
                    f"    a{k}[i] = p[{start} + i]",
                ]
            start += size
        return lines
    if "pass" in form and layout.names is None:
        return [f"parameters = np.empty({style.m})", f"for i in range({style.m}):", "    parameters[i] = p[i]"]
    return []


def _parameters(style: Style, form: str) -> list[str]:
    layout = style.layout
    if "spread" in form and layout.shapes is not None:
        found, start = [], 0
        for k, (shape, size) in enumerate(zip(layout.shapes, sizes(layout.shapes), strict=True)):
            found.append(f"p[{start}]" if shape == () else f"a{k}.reshape({shape!r})")
            start += size
        return found
    each = [f"p[{i}]" for i in range(style.m)]
    if "named" in form:
        return each
    if "pass" not in form:
        return []
    return ["parameters"] if layout.names is None else [f"Parameters({', '.join(each)})"]


def _blank(style: Style) -> list[str]:
    if style.role == "jac":
        return [f"filled = np.zeros(({style.n}, {style.n}))"]
    if style.single:
        return ["filled = np.full(1, np.nan)"]
    state = style.state
    shape = (style.n,) if state is None else state.shape or (1,)
    if state is not None and state.is_complex:
        return [f"filled = np.full({shape!r}, complex(np.nan, np.nan))"]
    return [f"filled = np.full({shape!r}, np.nan)"]


def _array_out(style: Style, name: str) -> list[str]:
    if style.role == "jac":
        n = style.n
        return [f"for i in range({n}):", f"    for j in range({n}):", f"        out[i, j] = {name}[i, j]"]
    if style.single:
        return [f"out[0] = {name}[0]"]
    state = style.state
    flat = name if state is None or len(state.shape) <= 1 else "flat"
    lines = [] if flat == name else [f"flat = np.ascontiguousarray({name}).reshape({_count(state)})"]  # type: ignore[arg-type]
    if state is not None and state.is_complex:
        k = _count(state)
        both = [f"    out[2 * i] = {flat}[i].real", f"    out[2 * i + 1] = {flat}[i].imag"]
        return [*lines, f"for i in range({k}):", *both]
    return [*lines, f"for i in range({style.n}):", f"    out[i] = {flat}[i]"]


def _answer_out(style: Style, answer: Any) -> list[str]:
    if style.role == "jac" and np.ndim(answer) < 2:
        return ["out[0, 0] = answer[0]" if np.ndim(answer) else "out[0, 0] = answer"]
    if style.role == "jac":
        made = "answer" if isinstance(answer, np.ndarray) else "np.array(answer)"
        return [f"matrix = {made}", *_array_out(style, "matrix")]
    if style.single:
        return ["out[0] = answer[0]" if np.ndim(answer) else "out[0] = answer"]
    is_complex = style.state is not None and style.state.is_complex
    if isinstance(answer, (list, tuple)):
        nested = any(isinstance(v, (list, tuple, np.ndarray)) and np.ndim(v) for v in answer)
        if nested:
            return ["array = np.array(answer)", *_array_out(style, "array")]
        if is_complex:
            rows = [(f"complex(answer[{i}])", i) for i in range(len(answer))]
            return [line for v, i in rows for line in (f"out[{2 * i}] = {v}.real", f"out[{2 * i + 1}] = {v}.imag")]
        return [f"out[{i}] = answer[{i}]" for i in range(style.n)]
    if np.ndim(answer) == 0:
        return ["out[0] = complex(answer).real", "out[1] = complex(answer).imag"] if is_complex else ["out[0] = answer"]
    # an array of another length at another state would be read outside of itself
    size = _count(style.state) if style.state is not None else style.n
    whole = [f"if answer.size != {size}:", f"    raise ValueError('the slopes must be {size} numbers at every call')"]
    return [*whole, *_array_out(style, "answer")]
