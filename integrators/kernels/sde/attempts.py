"""Source of `step(A, t, h)`, one trial step of a method: YN and the estimate E.

Roessler's SRI methods are written here from their coefficients (`methods.sde.sri` has the formulas); the others are the
functions of the template `steps` with the method's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...methods.sde import SDEMethod
from ...methods.sde.sri import SRI
from ..templates import text
from . import steps

#: whose step is that of a function with another name
SAME = {"gotta_go_fast": "stochastic_heun"}


def step_source(method: SDEMethod, plain: bool) -> str:
    """`step(A, t, h)` and what it takes; plain: without the estimate where that is work of its own."""
    if method.sri is not None:
        return text(steps.f, steps.g, steps.at_start) + sri_source(method.sri, method, plain)
    name = SAME.get(method.name, method.name)
    source = text(steps.f, steps.g, steps.at_start, steps.drift_at_euler_s_end, getattr(steps, name))
    # of sra1 alone
    weights = f"D0, D1 = {', '.join(repr(float(s)) for s in method.slopes)}\n\n\n" if method.slopes else ""
    return weights + source + f"step = {name}\n\n\n"


def terms(weights: Sequence[Any], rows: Sequence[str]) -> str:
    """`w0*A[r0 + i] + ...` of the weights that are not 0; "" without any."""
    return " + ".join(f"{float(w)!r}*A[{r} + i]" for w, r in zip(weights, rows, strict=False) if float(w) != 0.0)


def sri_source(sri: SRI, method: SDEMethod, plain: bool) -> str:
    """`step` of an SRI method."""
    same = sri.drift_stages()
    slopes = [f"K{k}" if k is not None else "" for k in same]
    noises = [f"GG{i}" for i in range(sri.stages)]
    out = "@_inline\ndef step(A, t, h):\n    root = sqrt(h)\n    at_start(A, t)\n"
    for i in range(1, sri.stages):
        if same[i] == i:
            out += _stage(terms(sri.a0[i], slopes), terms(sri.b0[i], noises), "c2", f"U{i}")
            out += f"    f(A, t + {float(sri.c0[i])!r}*h, U{i}, K{i})\n"
        out += _stage(terms(sri.a1[i], slopes), terms(sri.b1[i], noises), "root", "S")
        out += f"    g(A, t + {float(sri.c1[i])!r}*h, S, GG{i})\n"
    out += (
        "    for i in range(N):\n        w = A[DW + i*OWN]\n        c1 = 0.5*(w*w - h)/root\n"
        "        c2 = 0.5*w + A[HL + i*OWN]\n        c3 = w*(w*w - 3.0*h)/(6.0*h)\n"
        f"        e2 = c2*({terms(sri.beta3, noises)}) + c3*({terms(sri.beta4, noises)})\n"
        f"        A[YN + i] = (A[Y + i] + h*({terms(sri.alpha, slopes)}) + w*({terms(sri.beta1, noises)})"
        f" + c1*({terms(sri.beta2, noises)}) + e2)\n"
    )
    if not plain:
        pairs = [(float(s), f"A[{slope} + i]") for s, slope in zip(method.slopes, slopes, strict=True) if s]
        size = " + ".join(value if s == 1.0 else f"{s!r}*{value}" for s, value in pairs)
        out += f"        A[E + i] = {float(method.delta)!r}*h*({size}) + e2\n"
    return out + "\n\n"


def _stage(drifts: str, noises: str, factor: str, row: str) -> str:
    """Lines that put the state of a stage into a row."""
    out = "    for i in range(N):\n"
    if factor == "c2" and noises:
        out += "        c2 = 0.5*A[DW + i*OWN] + A[HL + i*OWN]\n"
    value = "A[Y + i]" + (f" + h*({drifts})" if drifts else "") + (f" + {factor}*({noises})" if noises else "")
    return out + f"        A[{row} + i] = {value}\n"
