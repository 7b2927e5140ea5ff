"""What a learned controller sees: a table of named, scale-free features of an attempt and of the steps before it.

    obs_i = clip((x_i - a_i) c_i, -b, b),    x_i = (clip(raw_i, low_i, high_i) - shift_i) scale_i

Raw features, their clips and their scales are published constants (the tables below): no raw state, no problem parameter, no
wall clock.  A raw feature that is NaN, because a method or a host cannot fill the slot, or because a lag does not exist yet, gives
x_i = 0.  The normaliser (a, c, b) belongs to a policy; it is the identity unless one was trained with running statistics.

Tier 0 needs an error estimate only, tier 1 the end time and norms of state and error, tier 2 the stages of the step.  `NBODY` are the
two ratios of time scales that Hermite codes have at hand, `NEWTON` what an implicit method knows of its iteration, Jacobian and factors.
A feature is one small function of the shared state head and the record; `Observation.function`
writes the straight-line function that evaluates a selection, to be bound as any formula.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..integrators.core import record as rec
from ..integrators.core.contract import N_HEAD, S_LE1, S_LE2, S_LH1, S_LH2, S_NACC, S_STREAK
from ..integrators.core.names import unknown
from ..integrators.core.namespaces import NUMPY
from ..integrators.core.record import (
    CURV,
    ENORM,
    ERR,
    HS,
    JAC_AGE,
    LU_AGE,
    LU_SHIFT,
    NEWTON_ITERS,
    NEWTON_RATE,
    ORDER,
    RTOL,
    T_LEFT,
    TAU_AARSETH,
    TAU_AMUSE,
    TRUNCATED,
    YNORM,
    H,
)

where = NUMPY["where"]
log = NUMPY["log"]
minimum = NUMPY["minimum"]
maximum = NUMPY["maximum"]

TINY = 1e-300
HUGE = 1e300
LN10 = 2.302585092994046

#: first row of the observation in the state of a learned controller
OBS_AT = N_HEAD


def safe_log(x):
    """log x with x taken into [1e-300, 1e300]; NaN stays NaN."""
    return log(minimum(maximum(x, TINY), HUGE))


def log_err(state, record):
    """log of the attempt's scaled error."""
    return safe_log(record[ERR])


def log_err_1(state, record):
    """log error of the last accepted step; 0 where there is none."""
    return where(state[S_NACC] >= 1.0, state[S_LE1], 0.0)


def log_err_2(state, record):
    """log error of the last but one accepted step; 0 where there is none."""
    return where(state[S_NACC] >= 2.0, state[S_LE2], 0.0)


def log_ratio_1(state, record):
    """log of the attempted size over that of the last accepted step; 0 without one, and where the attempt was cut short."""
    lags = where(record[TRUNCATED] > 0.5, 0.0, state[S_NACC])
    return where(lags >= 1.0, safe_log(record[H]) - state[S_LH1], 0.0)


def log_ratio_2(state, record):
    """log ratio of the sizes of the last two accepted steps; 0 where there are fewer."""
    return where(state[S_NACC] >= 2.0, state[S_LH1] - state[S_LH2], 0.0)


def streak(state, record):
    """Rejections in a row before this attempt."""
    return state[S_STREAK]


def order(state, record):
    """Exponent order k of the error estimate."""
    return record[ORDER]


def log_tol(state, record):
    """log of the relative tolerance."""
    return safe_log(record[RTOL])


def log_left(state, record):
    """log of the attempted size over the time left before the attempt."""
    return safe_log(record[H]) - safe_log(record[T_LEFT])


def log_ynorm(state, record):
    """log(rtol rms(y/scale)): 0 where the relative tolerance sets the scale, below where the absolute one does."""
    return safe_log(record[YNORM] * record[RTOL])


def log_enorm(state, record):
    """log of the error's maximum norm over its rms norm: 0 where all components err alike, log(n)/2 where one does."""
    return safe_log(record[ENORM])


def log_hs(state, record):
    """log(h S), S the stage-based estimate of the largest eigenvalue."""
    return safe_log(record[HS])


def log_curv(state, record):
    """log of the relative change of slope over the step."""
    return safe_log(record[CURV])


def log_stiff_left(state, record):
    """log(S times the time left): how many time scales are still to come."""
    return safe_log(record[HS]) - safe_log(record[H]) + safe_log(record[T_LEFT])


def log_h_tau(state, record):
    """log of the attempted size over AMUSE's time scale at its end."""
    return safe_log(record[H]) - safe_log(record[TAU_AMUSE])


def log_tau_ratio(state, record):
    """log of AMUSE's time scale over Aarseth's."""
    return safe_log(record[TAU_AMUSE]) - safe_log(record[TAU_AARSETH])


def log_newton_rate(state, record):
    """log of the worst rate of Newton's iteration in the attempt."""
    return safe_log(record[NEWTON_RATE])


def newton_iters(state, record):
    """Newton iterations of the stage that needed most."""
    return record[NEWTON_ITERS]


def log_jac_age(state, record):
    """log of 1 + the attempts that the Jacobian had served before this one."""
    return safe_log(1.0 + record[JAC_AGE])


def log_lu_age(state, record):
    """log of 1 + the attempts that the LU factors had served before this one."""
    return safe_log(1.0 + record[LU_AGE])


def lu_shift(state, record):
    """log of the attempted size over the one of the LU factors."""
    return record[LU_SHIFT]


def clipped(x, low, high, shift, scale):
    """Raw feature to one of size 1; NaN gives 0."""
    x = (minimum(maximum(x, low), high) - shift) * scale
    return where(x == x, x, 0.0)


def normalised(x, shift, scale, bound):
    """(x - shift) scale within [-bound, bound]."""
    return minimum(maximum((x - shift) * scale, -bound), bound)


@dataclass(frozen=True)
class Feature:
    """One feature: raw value `fn(state, record)`, clip [low, high], then (x - shift)*scale; `slots` are the record's it reads."""

    name: str
    tier: int
    fn: Callable
    low: float
    high: float
    shift: float
    scale: float
    slots: frozenset[int]

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value after scaling (0, for a missing slot, included)."""
        return min((self.low - self.shift) * self.scale, 0.0), max((self.high - self.shift) * self.scale, 0.0)

    @property
    def doc(self) -> str:
        """What it is, in words."""
        return (self.fn.__doc__ or "").strip()


def _f(tier: int, fn: Callable, low: float, high: float, shift: float, scale: float, *slots: int) -> Feature:
    return Feature(fn.__name__, tier, fn, low, high, shift, scale, frozenset(slots))


#: the table; adding a feature is a function above and a line here (a published line does not change: files refer to it by name)
FEATURES: dict[str, Feature] = {f.name: f for f in (
    _f(0, log_err, -10.0, 10.0, 0.0, 0.5, ERR),
    _f(0, log_err_1, -10.0, 10.0, 0.0, 0.5),
    _f(0, log_err_2, -10.0, 10.0, 0.0, 0.5),
    _f(0, log_ratio_1, -4.0, 4.0, 0.0, 1.0, H, TRUNCATED),
    _f(0, log_ratio_2, -4.0, 4.0, 0.0, 1.0),
    _f(0, streak, 0.0, 3.0, 0.0, 1.0),
    _f(0, order, 1.0, 14.0, 5.0, 0.25, ORDER),
    _f(0, log_tol, -14.0 * LN10, 0.0, -5.0 * LN10, 1.0 / (3.0 * LN10), RTOL),
    _f(1, log_left, -12.0, 0.0, -4.0, 0.25, H, T_LEFT),
    _f(1, log_ynorm, -10.0, 0.0, 0.0, 0.25, YNORM, RTOL),
    _f(1, log_enorm, 0.0, 5.0, 0.0, 0.5, ENORM),
    _f(2, log_hs, -8.0, 4.0, -1.0, 0.5, HS),
    _f(2, log_curv, -8.0, 0.0, -3.0, 0.5, CURV),
    _f(2, log_stiff_left, -4.0, 14.0, 4.0, 0.25, HS, H, T_LEFT),
    _f(2, log_h_tau, -8.0, 4.0, -4.0, 0.5, H, TAU_AMUSE),
    _f(2, log_tau_ratio, -6.0, 6.0, 0.0, 0.5, TAU_AMUSE, TAU_AARSETH),
    _f(2, log_newton_rate, -14.0, 0.0, -5.0, 0.25, NEWTON_RATE),
    _f(2, newton_iters, 0.0, 10.0, 3.0, 0.4, NEWTON_ITERS),
    _f(2, log_jac_age, 0.0, 4.0, 0.0, 0.5, JAC_AGE),
    _f(2, log_lu_age, 0.0, 4.0, 0.0, 0.5, LU_AGE),
    _f(2, lu_shift, -0.5, 0.5, 0.0, 4.0, LU_SHIFT),
)}  # fmt: skip

NBODY: tuple[str, ...] = ("log_h_tau", "log_tau_ratio")
NEWTON: tuple[str, ...] = ("log_newton_rate", "newton_iters", "log_jac_age", "log_lu_age", "lu_shift")
TIER0: tuple[str, ...] = tuple(f.name for f in FEATURES.values() if f.tier == 0)
TIER1: tuple[str, ...] = TIER0 + tuple(f.name for f in FEATURES.values() if f.tier == 1)
TIER2: tuple[str, ...] = TIER1 + tuple(f.name for f in FEATURES.values() if f.tier == 2 and f.name not in NBODY + NEWTON)
STIFF: tuple[str, ...] = TIER1 + NEWTON


@dataclass(frozen=True)
class Observation:
    """An ordered selection of features by name (default: tier 2 for explicit stages).

    Raises ValueError for an unknown name (naming the nearest), a repeated one, and an empty selection.
    """

    features: tuple[str, ...] = TIER2

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise ValueError(f"features must be a sequence of names, got the string {self.features!r}")
        object.__setattr__(self, "features", tuple(self.features))
        for name in self.features:
            if name not in FEATURES:
                raise unknown("feature", name, FEATURES)
        twice = sorted({n for n in self.features if self.features.count(n) > 1})
        if twice:
            raise ValueError(f"features are repeated: {', '.join(twice)}")
        if not self.features:
            raise ValueError("an observation needs at least one feature")

    @classmethod
    def of_tier(cls, tier: int) -> Observation:
        """All features of a tier (0, 1, 2) and those below."""
        if tier not in (0, 1, 2):
            raise ValueError(f"tier must be 0, 1 or 2, got {tier!r}")
        return cls((TIER0, TIER1, TIER2)[tier])

    @property
    def n(self) -> int:
        """Number of features."""
        return len(self.features)

    @property
    def table(self) -> tuple[Feature, ...]:
        """The selected features."""
        return tuple(FEATURES[name] for name in self.features)

    @property
    def tier(self) -> int:
        """Highest tier among the features: what a host must offer."""
        return max(f.tier for f in self.table)

    @property
    def slots(self) -> frozenset[int]:
        """Record slots that are read."""
        return frozenset[int]().union(*(f.slots for f in self.table))

    @property
    def low(self) -> np.ndarray:
        """(n,) float64 lower bounds before the normaliser."""
        return np.array([f.bounds[0] for f in self.table])

    @property
    def high(self) -> np.ndarray:
        """(n,) float64 upper bounds before the normaliser."""
        return np.array([f.bounds[1] for f in self.table])

    def function(self, params_at: int, plain: bool = False) -> Callable[..., None]:
        """`features(params, state, record, out)`: writes state[OBS_AT:OBS_AT + n]; `out` is left alone.

        The normaliser stands at params[params_at:]: n shifts, n scales and the common bound.  plain: it is the identity, and not applied.
        """
        return _function(self.features, params_at, plain)


@functools.cache
def _function(features: tuple[str, ...], at: int, plain: bool) -> Callable[..., None]:
    n = len(features)
    src = "def features(params, state, record, out):\n"
    for i, name in enumerate(features):
        f = FEATURES[name]
        src += f"    x{i} = clipped({name}(state, record), {f.low!r}, {f.high!r}, {f.shift!r}, {f.scale!r})\n"
        if not plain:
            src += f"    x{i} = normalised(x{i}, params[{at + i}], params[{at + n + i}], params[{at + 2 * n}])\n"
    # everything is read before anything is written
    src += "".join(f"    state[{OBS_AT + i}] = x{i}\n" for i in range(n))
    glb = dict(globals())
    # the text is made of table names and numbers of this file only
    exec(compile(src, "<stepsmith observation>", "exec"), glb)
    fn = glb["features"]
    fn.__doc__ = "Features " + ", ".join(features) + "."
    return fn


def slot_names(slots: frozenset[int]) -> tuple[str, ...]:
    """Names of record slots, in the record's order."""
    return tuple(rec.NAMES[i] for i in sorted(slots))
