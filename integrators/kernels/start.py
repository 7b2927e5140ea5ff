"""Source of `start(A)`: first slope and first step size of methods that compute with the right-hand side.

Hairer, Norsett & Wanner I, II.4 as in SciPy's select_initial_step, with the exponent 1/(embedded order + 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from . import calls
from .loops import Source, called, step_time


class Embedded(Protocol):
    """What a starting step size needs to know of a method."""

    @property
    def embedded_order(self) -> int: ...


def start_source(tableau: Embedded, n: int, marks: str = "", slope: Callable[[str, str, str], str] = calls.rhs) -> str:
    """Source of `start(A)`: first slope and first step size of the lanes marked FRESH.

    `marks`: a method's own lines (`fresh` says whether the lane starts).  `slope(time, state, slope)`: a call of the
    right-hand side, by rows.
    """
    k = float(tableau.embedded_order + 1)
    src = Source("start(A)")
    src.lines += "    for l in range(W):\n" + called(n, slope(step_time(0.0), "Y", "K1"))
    # a component at 0 without an absolute tolerance has no scale yet, and no say in the size
    scale = "sc = A[ATOL + j] + A[RTOL + l]*fabs(A[Y + j])\nok = sc > 1e-300\nsc = where(ok, sc, 1.0)\n"
    src.loop(
        n,
        3,
        "A[K0 + j] = where(A[FRESH + l] == 1.0, A[K1 + j], A[K0 + j])\n"
        + scale
        + "a = where(ok, A[Y + j]/sc, 0.0)\nb = where(ok, A[K1 + j]/sc, 0.0)\n"
        "@0 += a*a\n@1 += b*b\n@2 += 0.0*A[Y + j] + 0.0*A[K1 + j]\n",
        f"d0 = sqrt(@0*{1.0 / n!r})\nd1 = sqrt(@1*{1.0 / n!r})\n"
        "h0 = where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01*d0/d1)\n"
        "h0 = minimum(h0, fabs(A[TEND + l] - A[T + l]))\n"
        "A[S3 + l] = where(h0 > 0.0, h0, 0.0)\nA[S4 + l] = d1\n"
        "bad = (A[FRESH + l] == 1.0) & (@2 != 0.0) & (A[STATUS + l] == 0.0)\n"
        "A[STATUS + l] = where(bad, BAD_START, A[STATUS + l])\n",
    )
    src.loop(
        n,
        0,
        "A[G + j] = A[Y + j] + A[DIR + l]*A[S3 + l]*A[K1 + j]\n",
        "",
        slope("A[T + l] + A[DIR + l]*A[S3 + l]", "G", "K2"),
    )
    src.loop(
        n,
        1,
        scale + "c = where(ok, (A[K2 + j] - A[K1 + j])/sc, 0.0)\n@0 += c*c\n",
        "h0 = A[S3 + l]\nd1 = A[S4 + l]\n"
        f"d2 = sqrt(@0*{1.0 / n!r})/h0\nd2 = where(d2 - d2 == 0.0, d2, 0.0)\ndm = maximum(d1, d2)\n"
        f"h1 = where(dm <= 1e-15, maximum(1e-6, h0*1e-3), exp(log(0.01/maximum(dm, 1e-300))*{1.0 / k!r}))\n"
        "h = minimum(minimum(100.0*h0, h1), fabs(A[TEND + l] - A[T + l]))\n"
        "given = A[HZERO + l] > 0.0\nfresh = A[FRESH + l] == 1.0\n"
        "A[H + l] = where(fresh, where(given, A[HZERO + l], h), A[H + l])\n"
        "A[NFEV + l] += where(fresh, where(given, 1.0, 2.0), 0.0)\n" + marks,
    )
    return src.text()
