"""What a Problem and a Batch do when they are made, parameters as a vector and functions in the form that solvers call;
and how they are pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layouts import Layout, layout_of, packed
from .styles import Style, in_place, style_of


def parameters(obj: Any, args: Any, count: int | None = None) -> tuple[Layout, Any]:
    """The layout of parameters, and these as a vector, or of `count` instances as rows."""
    if obj.p is None and count is None:
        object.__setattr__(obj, "p", ())
    if isinstance(obj.p, Mapping):
        names = obj.names or tuple(obj.p)
        layout, given = layout_of(dict.fromkeys(names, 0.0), args)[0], packed(names, obj.p, count)
    elif args is not None and count is not None:
        raise ValueError("args belong to one problem: a batch takes p, one row an instance")
    else:
        layout, given = layout_of(obj.p, args)
    if layout.names is not None:
        object.__setattr__(obj, "names", layout.names)
    elif obj.names is not None:
        layout = Layout(names=tuple(obj.names))
    return layout, given


def brought_in(obj: Any, t: float, y: np.ndarray, p: np.ndarray, layout: Layout, compiled: Any) -> None:
    """Put rhs and jac into the form that solvers call; y (n,), p (m,): where they are looked at."""
    apart = isinstance(compiled, str) and compiled == "apart"
    if not isinstance(compiled, bool) and not apart:
        raise ValueError(f'compiled must be True, False or "apart", got {compiled!r}')
    for role in ("rhs", "jac"):
        fn = getattr(obj, role)
        if fn is not None:
            style = Style(fn, role, y.size, p.size, obj.state, layout, bool(compiled), apart)
            object.__setattr__(obj, role, in_place(style, t, y, p))


class Portable:
    """Pickles of problems: a function that `styles` made is made again from the person's own."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: style_of(v) or v if k in ("rhs", "jac") else v for k, v in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {"names": None, "state": None, "mass": None, **state}  # of versions before these fields
        y, p = state["y0"], state["p"]
        t = state["t_span"][0] if "t_span" in state else (state["t0"][0] if len(y) else 0.0)
        if y.ndim == 2:
            y, p = (y[0], p[0]) if len(y) else (np.zeros(y.shape[1]), np.zeros(p.shape[1]))
        for role in ("rhs", "jac"):
            if isinstance(state[role], Style):
                state[role] = in_place(state[role], float(t), y, p)
        vars(self).update(state)
