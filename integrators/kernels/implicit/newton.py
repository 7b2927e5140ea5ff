"""Source of what methods with Newton's iteration share: when J and its factors are renewed, norms, dense output.

J is kept while it serves, and so are the factors.  The controller's flags (see `controllers.contract`) say what the
next attempt does: KEEP_JACOBIAN, REFRESH_JACOBIAN, and KEEP_LU, which lets the factors stand although the size changes.
Without a word about J the rule is RADAU5's: it is evaluated anew where the worst rate of the last attempt exceeded 1e-3
and the solution has moved since (Hairer & Wanner II, IV.8).  Without KEEP_LU, and where the step was cut to land on the
end, the factors are renewed whenever the size has changed.

Factors of another size, h_lu, under KEEP_LU: increments are multiplied by 2/(1 + h_lu/h), which balances what is too
long in the directions of small and of large eigenvalues (CVODE; P. N. Brown, G. D. Byrne, A. C. Hindmarsh, SIAM J. Sci.
Stat. Comput. 10 (1989) 1038).

Such an iteration contracts no faster than off = |1 - h_lu/h|/(1 + h_lu/h): what it is trusted to do at its first step
is no better than that.

If Newton fails with a kept J or kept factors, the attempt begins again with fresh ones; if it fails with those, the
attempt counts as non-finite and is rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import contract
from ..pieces import increments, newton
from ..start import Embedded, start_source
from ..templates import constants, text
from . import mass
from .jacobian import reads_time

KEEP = 1e-3  # worst rate at which a Jacobian is kept

#: rows of X that the pieces name: size of the last factorisation (NaN: none), worst rate, last stage's
#: theta/(1 - theta), age
ROWS = ("HLU", "RATE", "ETA", "LAGE")


def newton_source(shift: float, pair: tuple[float, float] | None = None) -> str:
    """The pieces of `pieces.newton`, where shift/h I - J is factored, and for a pair (re, im) the matrix
    (re + i im)/h I - J too.
    """
    re, im = pair or (0.0, 0.0)
    shifts: dict[str, object] = {"SHIFT": shift, "SHIFT_RE": re, "SHIFT_IM": im, "PAIR": pair is not None}
    shifts |= {} if pair else {"factor_complex": None}
    refresh, keep = int(contract.REFRESH_JACOBIAN), int(contract.KEEP_JACOBIAN)
    flags = {"REFRESH": refresh, "KEEP_OR_REFRESH": refresh | keep, "STAND": int(contract.KEEP_LU)}
    return constants(KEEP=KEEP, FACTORS=2.0 if pair else 1.0, **shifts, **flags) + "\n\n" + text(newton)


def newton_start(
    tableau: Embedded, source: Any, more: tuple[tuple[str, str], ...] = (), slope: bool = False
) -> str:
    """`start(A)`: as for explicit methods; a lane just loaded has neither Jacobian nor factors, rate nor flags.

    more: (row, expression) of further rows with a value at the start.  slope: K0 is y' in the method's own stages, and
    not f(t, y), which differ with a mass matrix.
    """
    rows = (("TJ", "math.nan"), ("HLU", "math.nan"), ("RATE", "0.0"), ("ETA", "1.0"), ("CO_FLAGS", "0.0"), *more)
    if source.mass is not None:
        order = float(tableau.embedded_order + 1)
        return mass.start_source(order, rows, slope, reads_time(source.rhs))
    lines = start_source(tableau, source.n).rstrip("\n") + "\n    for l in range(W):\n"
    lines += "        fresh = A[FRESH + l] == 1.0\n"
    for name, value in rows:
        lines += f"        A[{name} + l] = {value} if fresh else A[{name} + l]\n"
    return lines + "\n"


def numbers(row: np.ndarray) -> tuple:
    """A vector or a matrix of coefficients as tuples of floats, which a generated module can hold."""
    return tuple(numbers(x) for x in row) if np.ndim(row) > 1 else tuple(float(x) for x in row)


def dense_source(D: np.ndarray) -> str:
    """Dense output from increments in the rows ZS (stages, n) (see `pieces.increments`)."""
    return constants(D=numbers(D), D_STAGES=D.shape[0], D_TERMS=D.shape[1]) + "\n\n" + text(increments)
