"""Activations of a network's layers: their names, and one formula each beside tanh and relu.

    elu(z)         z, and e^z - 1 below 0
    silu(z)        z / (1 + e^-z)
    gelu(z)        z (1 + erf(z / sqrt 2)) / 2
    gelu_tanh(z)   z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2
    leaky_relu(z)  z, and slope z below 0; the name carries the slope: "leaky_relu(0.01)"

The formulas are branch-free, so that `binding.bind` makes the compiled, CUDA, NumPy and torch forms of one text.  NaN
stays NaN.  Hendrycks and Gimpel 2016, arXiv:1606.08415 (both forms of gelu); Clevert et al. 2015, arXiv:1511.07289
(elu); Elfwing et al. 2017, arXiv:1702.03118 (silu).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from .binding import bind
from .errors import shown
from .formulas import exp, fabs, tanh, where

#: those that `dense` writes itself
PLAIN = ("tanh", "relu", "linear")
SLOPE = 0.01  # of "leaky_relu" without one: torch's
_LEAKY = re.compile(r"leaky_relu\((.{1,40})\)")

# erf by rational functions, x T(x^2)/U(x^2) up to 1 and 1 - e^(-x^2) P(x)/Q(x) above: Cephes, ndtr.c; Moshier 1989,
# Methods and Programs for Mathematical Functions.  Error below 5e-16
_T = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
      5.55923013010394962768e4)  # fmt: skip
_U = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
      4.92673942608635921086e4)  # fmt: skip
_P = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
      1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
      5.57535335369399327526e2)  # fmt: skip
_Q = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
      1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3,
      5.57535340817727675546e2)  # fmt: skip


def erf(x):
    """Error function."""
    z = x * x
    a = fabs(x)
    a = where(a > 8.0, 8.0, a)  # where erf is 1 to the last bit, and the polynomials do not overflow
    t = (((_T[0] * z + _T[1]) * z + _T[2]) * z + _T[3]) * z + _T[4]
    u = ((((z + _U[1]) * z + _U[2]) * z + _U[3]) * z + _U[4]) * z + _U[5]
    p = (((((((_P[0] * a + _P[1]) * a + _P[2]) * a + _P[3]) * a + _P[4]) * a + _P[5]) * a + _P[6]) * a + _P[7]) * a
    q = (((((((a + _Q[1]) * a + _Q[2]) * a + _Q[3]) * a + _Q[4]) * a + _Q[5]) * a + _Q[6]) * a + _Q[7]) * a
    outer = 1.0 - exp(-a * a) * (p + _P[8]) / (q + _Q[8])
    return where(a < 1.0, x * t / u, where(x < 0.0, -outer, outer))


def elu(z):
    """Exponential linear unit with alpha = 1."""
    return where(z > 0.0, z, exp(where(z > 0.0, 0.0, z)) - 1.0)


def silu(z):
    """Sigmoid linear unit, which is also called swish."""
    return z / (1.0 + exp(-z))


def gelu(z):
    """Gaussian error linear unit."""
    return 0.5 * z * (1.0 + erf(0.7071067811865476 * z))


def gelu_tanh(z):
    """Its approximation by tanh."""
    return 0.5 * z * (1.0 + tanh(0.7978845608028654 * (z + 0.044715 * z * z * z)))


def leaky_relu(z, slope):
    """Rectified linear unit with a slope below 0."""
    return where(z < 0.0, slope * z, z)


FORMULAS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (elu, silu, gelu, gelu_tanh, leaky_relu)}
#: what a layer may name; "leaky_relu" with its slope, "leaky_relu(0.01)"
ACTIVATIONS = (*PLAIN, *FORMULAS)


def named(activation: Any) -> str:
    """The one way of writing an activation: "leaky_relu" has its slope.  ValueError for what is no activation."""
    kind, slope = _read(activation)
    return kind if slope is None else leaky(slope)


def leaky(slope: float) -> str:
    """The name of a leaky relu; ValueError unless the slope is a finite number."""
    if isinstance(slope, bool) or not isinstance(slope, (int, float)) or not math.isfinite(slope):
        raise ValueError(f"the slope of leaky_relu must be a finite number, got {shown(slope)}")
    return f"leaky_relu({float(slope)!r})"


def kind(activation: str) -> str:
    """The name of an activation without its slope."""
    return _read(activation)[0]


def slope(activation: str) -> float | None:
    """The slope of a leaky relu; None for every other activation."""
    return _read(activation)[1]


def _read(activation: Any) -> tuple[str, float | None]:
    if isinstance(activation, str):
        if activation == "leaky_relu":
            return activation, SLOPE
        if activation in ACTIVATIONS:
            return activation, None
        if found := _LEAKY.fullmatch(activation):
            try:
                value = float(found[1])
            except ValueError:
                value = math.nan
            leaky(value)
            return "leaky_relu", value
    raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {shown(activation)}")


def bound(activation: str, functions: Mapping[str, object], wrap: Callable | None = None) -> Callable[[Any], Any]:
    """An activation of `FORMULAS` as a function of z, over `functions`: where, exp, fabs, tanh.  wrap: as `bind` takes
    it.
    """
    kind, slope = _read(activation)
    fn = bind(FORMULAS[kind], functions, wrap)
    return fn if slope is None else lambda z: fn(z, slope)


def of_library(activation: str, lib: Any) -> Callable[[Any], Any]:
    """An activation of `FORMULAS` over arrays of `lib`: NumPy, torch or another one with these functions."""
    return bound(activation, {"where": lib.where, "exp": lib.exp, "fabs": lib.abs, "tanh": lib.tanh})


def call(activation: str, argument: str) -> str:
    """Source of a call of an activation of `FORMULAS`, in a module that holds `functions(activation, ...)`."""
    kind, slope = _read(activation)
    return f"act_{kind}({argument})" if slope is None else f"act_{kind}({argument}, {slope!r})"


def functions(activation: str, namespace: Mapping[str, object], wrap: Callable | None = None) -> dict[str, Callable]:
    """What a generated module needs of an activation, by the names that `call` writes; nothing for those of `PLAIN`."""
    kind = _read(activation)[0]
    return {} if kind in PLAIN else {f"act_{kind}": bind(FORMULAS[kind], namespace, wrap)}
