"""The coefficients of classical laws by kind: their names, ranges, defaults, and where a formula reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...integrators.core.errors import shown
from . import formula as F
from . import nbody


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of a kind of law.

    slot         where its value stands in the parameter array
    default      its value where a law does not give one
    low, high    the closed range of its values
    store        what the array holds of a value
    """

    slot: int
    default: float
    low: float
    high: float
    store: Callable[[float], float] = float

    def checked(self, law: str, name: str, value: Any) -> float:
        """`value` as a number; ValueError, which names law and coefficient, where it is none or is out of range."""
        try:
            x = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"law {shown(law)}: {name} must be a number, got {shown(value)}") from None
        if not self.low <= x <= self.high:
            raise ValueError(f"law {shown(law)}: {name} must be in [{self.low:g}, {self.high:g}], got {x!r}")
        return x


def _log(x: float) -> float:
    return 0.0 if x == 1.0 else max(-F.FAR, min(F.FAR, math.log(x))) if x > 0.0 else -F.FAR


def _log_error(x: float) -> float:
    return math.log(max(x, F.TINY))


def _inverse(x: float) -> float:
    return 1.0 / x if x > 0.0 else 0.0


_INF = math.inf
_C = Coefficient

#: coefficients of the general linear law
LINEAR: Mapping[str, Coefficient] = MappingProxyType({
    "b1": _C(F.P_B1, 1.0, -10.0, 10.0), "b2": _C(F.P_B2, 0.0, -10.0, 10.0),
    "b3": _C(F.P_B3, 0.0, -10.0, 10.0),
    "a2": _C(F.P_A2, 0.0, -10.0, 10.0), "a3": _C(F.P_A3, 0.0, -10.0, 10.0),
    "safety": _C(F.P_SAFETY, 0.9, 1e-3, 10.0, _log),
    "safety_inside": _C(F.P_SAFETY_IN, 1.0, 1e-3, 10.0, _log),
    "order": _C(F.P_ORDER, 0.0, 0.0, 100.0),
    "err_min": _C(F.P_ERR_MIN, F.TINY, F.TINY, 1.0),
    "err_floor": _C(F.P_LE_FLOOR, 1e-10, F.TINY, 1.0, _log_error),
    "err_start": _C(F.P_LE_START, 1.0, F.TINY, F.HUGE, _log_error),
    "min_i": _C(F.P_MIN_I, 0.0, 0.0, 1.0), "newton_m": _C(F.P_NEWTON_M, 0.0, 0.0, 1e6),
    "newton_all": _C(F.P_NEWTON_ALL, 0.0, 0.0, 1.0),
    "kappa": _C(F.P_INV_KAPPA, 0.0, 0.0, 1e6, _inverse),
    "fmin": _C(F.P_FMIN, 0.2, 0.0, 1.0, _log), "fmax": _C(F.P_FMAX, 10.0, 1.0, _INF, _log),
    "fmax_first": _C(F.P_FMAX_FIRST, 0.0, 0.0, _INF, _log),
    "accept_err": _C(F.P_ACCEPT_ERR, 1.0, 0.0, _INF, lambda x: min(x, F.HUGE)),
    "accept_factor": _C(F.P_ACCEPT_FACTOR, 0.0, 0.0, 1.0, _log),
    "reject_own": _C(F.P_REJECT_OWN, 1.0, 0.0, 1.0), "reject_b1": _C(F.P_REJECT_B1, 0.0, 0.0, 10.0),
    "reject_max": _C(F.P_REJECT_MAX, 0.9, 0.0, 1.0, _log),
    "reject_max2": _C(F.P_REJECT_MAX2, 1.0, 0.0, 1.0, _log),
    "reject_first": _C(F.P_REJECT_FIRST, 1.0, 0.0, 1.0, _log),
    "nonfinite": _C(F.P_NONFINITE, 0.2, 1e-6, 0.99, _log),
    "keep_min": _C(F.P_KEEP_MIN, 0.0, 0.0, 1.0, _log),
    "after_min": _C(F.P_AFTER_MIN, 0.0, 0.0, 1.0, _log), "after_max": _C(F.P_AFTER_MAX, 1.0, 1.0, _INF, _log),
    "band_lo": _C(F.P_BAND_LO, 1.0, 0.0, 1.0, _log), "band_hi": _C(F.P_BAND_HI, 1.0, 1.0, 10.0, _log),
    "band_rate": _C(F.P_BAND_RATE, F.HUGE, 0.0, F.HUGE), "own_ratios": _C(F.P_OWN_RATIOS, 0.0, 0.0, 1.0),
    "jac_rate": _C(F.P_JAC_RATE, 1e-3, 0.0, F.HUGE), "lu_keep": _C(F.P_LU_KEEP, 1.0, 1.0, 10.0, _log),
})  # fmt: skip

#: coefficients of the N-body criteria
CRITERION: Mapping[str, Coefficient] = MappingProxyType({
    "amuse": _C(nbody.C_AMUSE, 0.0, 0.0, _INF), "aarseth": _C(nbody.C_AARSETH, 0.0, 0.0, _INF),
    "prs": _C(nbody.C_PRS, 0.0, 0.0, _INF), "accept_factor": _C(nbody.C_ACCEPT_FACTOR, 0.0, 0.0, 1.0, _log),
    "fmax": _C(nbody.C_FMAX, _INF, 1.0, _INF, _log),
    "nonfinite": _C(nbody.C_NONFINITE, 0.25, 1e-6, 0.99, _log),
    "err_min": _C(F.P_ERR_MIN, F.TINY, F.TINY, 1.0),
    "err_floor": _C(F.P_LE_FLOOR, 1e-10, F.TINY, 1.0, _log_error),
})  # fmt: skip

#: coefficients of the constant step
CONSTANT: Mapping[str, Coefficient] = MappingProxyType({
    "h": _C(nbody.K_SIZE, math.nan, F.TINY, F.HUGE),
    "nonfinite": _C(nbody.K_NONFINITE, 0.5, 1e-6, 0.99, _log),
    "err_min": _C(F.P_ERR_MIN, F.TINY, F.TINY, 1.0),
    "err_floor": _C(F.P_LE_FLOOR, 1e-10, F.TINY, 1.0, _log_error),
})  # fmt: skip

SPECS: Mapping[str, Mapping[str, Coefficient]] = MappingProxyType(
    {"linear": LINEAR, "criterion": CRITERION, "constant": CONSTANT}
)
#: length of the parameter array by kind
SIZES = {"linear": F.N_PARAMS, "criterion": nbody.N_CRITERION, "constant": nbody.N_CONSTANT}

#: parameters of a plain law: what the extras of the general one have where there are none
PLAIN = (
    (F.P_B3, 0.0), (F.P_A2, 0.0), (F.P_A3, 0.0), (F.P_SAFETY_IN, 0.0), (F.P_ORDER, 0.0), (F.P_MIN_I, 0.0),
    (F.P_NEWTON_M, 0.0),
    (F.P_NEWTON_ALL, 0.0), (F.P_INV_KAPPA, 0.0), (F.P_ACCEPT_FACTOR, -F.FAR), (F.P_REJECT_FIRST, 0.0),
    (F.P_REJECT_MAX2, 0.0),
    (F.P_KEEP_MIN, -F.FAR), (F.P_AFTER_MIN, -F.FAR), (F.P_BAND_LO, 0.0), (F.P_BAND_HI, 0.0), (F.P_BAND_RATE, F.HUGE),
    (F.P_KAPPA, 0.0), (F.P_OWN_RATIOS, 0.0), (F.P_JAC_RATE, 1e-3), (F.P_LU_KEEP, 0.0),
)  # fmt: skip
