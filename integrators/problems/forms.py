"""What a Problem and a Batch do when they are made, parameters as a vector and functions in the form that solvers call;
and how they are pickled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .layouts import Layout, layout_of, packed
from .styles import Style, in_place, origin_of

#: functions of a problem that are brought into the form that solvers call, and their roles
FUNCTIONS = {"rhs": "rhs", "jac": "jac", "spectral_radius": "radius"}


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
    """Put the functions into the form that solvers call; y (n,), p (m,): where they are looked at."""
    apart = isinstance(compiled, str) and compiled == "apart"
    if not isinstance(compiled, bool) and not apart:
        raise ValueError(f'compiled must be True, False or "apart", got {compiled!r}')
    for name, role in FUNCTIONS.items():
        fn = getattr(obj, name)
        if callable(fn):
            style = Style(fn, role, y.size, p.size, obj.state, layout, bool(compiled), apart)
            object.__setattr__(obj, name, in_place(style, t, y, p))


class Portable:
    """Pickles of problems: a function that `styles` made is made again from the person's own."""

    def __getstate__(self) -> dict[str, Any]:
        return {k: origin_of(v) or v if k in FUNCTIONS else v for k, v in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        earlier = dict.fromkeys(("names", "state", "mass", "spectral_radius"))  # of versions before these fields
        state = {**earlier, **state}
        y, p = state["y0"], state["p"]
        t = state["t_span"][0] if "t_span" in state else (state["t0"][0] if len(y) else 0.0)
        if y.ndim == 2:
            y, p = (y[0], p[0]) if len(y) else (np.zeros(y.shape[1]), np.zeros(p.shape[1]))
        for name in FUNCTIONS:
            if isinstance(state[name], Style):
                state[name] = in_place(state[name], float(t), y, p)
        vars(self).update(state)
