"""Source of the calls of a user's functions, in one wording for all kernels, and of what stands around those functions.

A function reads y and p through frozen views and writes through an open one (see `lanes`).  Where it is not known that
it does the same at every call (`rhs_check.proved`), what it fills is NaN before: a component left out then makes the
slope non-finite instead of keeping the value of an earlier call.  And its views note whether an index leaves them
(`noted`): all that it fills is NaN then.  Where it may index NumPy arrays (`arrays_reached`), indices outside them
raise IndexError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..checks import rhs_check


def reads(state: str) -> str:
    """Arguments y, p of a user's function: the rows `state` and the parameters of lane l."""
    return f"frozen(A, {state} + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR)"


def rhs(time: str, state: str, slope: str) -> str:
    """Call of the right-hand side: f(time, y) of the rows `state` into the rows `slope`."""
    return f"rhs({time}, {reads(state)}, view(A, {slope} + l, WIDTH, DIM))"


def accel(time: str, state: str, slope: str, half: int) -> str:
    """Call of the accelerations: `half` of them, into the rows `slope`.  They cannot read velocities (`positions`)."""
    given = reads(state).replace("frozen(", "positions(", 1)
    return f"accel({time}, {given}, view(A, {slope} + l, WIDTH, {half}))"


def jac(time: str, state: str, matrix: str) -> str:
    """Call of the Jacobian; `matrix` is the source of its view."""
    return f"jac({time}, {reads(state)}, {matrix})"


def guards(objects: Mapping[str, Any], n: int, m: int, device: bool = False) -> str:
    """Source, to stand before a kernel's pieces, that puts the functions of `objects` behind what they need; n, m:
    lengths of y and p.

    device: for CUDA, where an index outside an array is not checked; it brings its own views.
    """
    out = "from stepsmith.integrators.compile.positions import noted_positions, positions\n"
    out = out if "accel" in objects and not device else ""
    for name in ("rhs", "accel", "jac"):
        if name in objects:
            unproved, bounded = _unproved(name, objects, n, m), not device and rhs_check.indexes_arrays(objects[name])
            note = "noted_positions" if name == "accel" and not device else "noted"
            out += guard(name, unproved, bounded, note=note) if unproved or bounded else ""
    return out


def array_guards(objects: Mapping[str, Any], n: int, m: int) -> str:
    """The same for code that calls the functions with contiguous float64 arrays y, p, dy and J (n, n), and not with
    views."""
    out = (
        "from stepsmith.integrators.compile.lanes import frozen, view\n"
        "from stepsmith.integrators.compile.lane_matrix import matrix\n"
        "from stepsmith.integrators.compile.noted import faulty, new_fault, noted\n"
        "import math\n"
    )
    fills = {"rhs": f"view(dy, 0, 1, {n})", "jac": f"matrix(dy.reshape({n * n}), 0, 1, {n}, {n})"}
    for name, dy in fills.items():
        if name in objects:
            bounded = rhs_check.indexes_arrays(objects[name])
            y, p = f"frozen(y, 0, 1, {n})", f"frozen(p, 0, 1, {m})"
            out += guard(name, _unproved(name, objects, n, m), bounded, y, p, dy)
    return out


def _unproved(name: str, objects: Mapping[str, Any], n: int, m: int) -> bool:
    return not rhs_check.proved(objects[name], name, n, m)


def guard(
    name: str, unproved: bool, bounded: bool, y: str = "y", p: str = "p", dy: str = "dy", note: str = "noted"
) -> str:
    """Source that puts the function `name` behind what it needs.  unproved: what it fills is NaN before, and after an
    index outside its arrays.  bounded: indices of NumPy arrays are checked.  y, p, dy: how it is given its arguments;
    note: the function that notes indices outside y.
    """
    text = "from stepsmith.integrators.compile.lanes import bounded as _bounded\n" if bounded else ""
    text += f"given_{name} = {f'_bounded({name})' if bounded else name}\n\n@_inline\ndef {name}(t, y, p, dy):\n"
    if not unproved:
        return text + f"    given_{name}(t, {y}, {p}, {dy})\n\n"
    # a Jacobian may leave entries out: they are 0
    blank = "        for i in range(len(dy)):\n            dy[i] = math.nan\n"
    if name == "jac":
        blank = "        dy[0, 0] = math.nan\n"
    if name != "jac":
        text += "    for i in range(len(dy)):\n        dy[i] = math.nan\n"
    return text + (
        f"    fault = new_fault()\n    given_{name}(t, {note}({y}, fault), noted({p}, fault), noted({dy}, fault))\n"
        f"    if faulty(fault):\n{blank}\n"
    )
