"""Features: what a learned controller can see of an attempt and of the steps before it, by name.

Raw features, their clips and their scales are published constants (the table below): no raw state, no problem
parameter, no wall clock.  A feature is one small function of the shared state head and the record.

Tier 0 needs an error estimate only, tier 1 the end time and norms of state and error, tier 2 the stages of the step.
`NBODY` are the two ratios of time scales that Hermite codes have at hand, `NEWTON` what an implicit method knows of its
iteration, Jacobian and factors.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...integrators.checks.arrays_reached import indexes_arrays
from ...integrators.core import options
from ...integrators.core import record as rec
from ...integrators.core.binding import bind
from ...integrators.core.contract import S_LE1, S_LE2, S_LH1, S_LH2, S_NACC, S_STREAK
from ...integrators.core.errors import OptionError, refuse, shown
from ...integrators.core.formulas import log, maximum, minimum, where
from ...integrators.core.record import (
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
    SPAN,
    T_LEFT,
    TAU_AARSETH,
    TAU_AMUSE,
    TRUNCATED,
    YNORM,
    H,
)
from .probe import slots_read

TINY = 1e-300
HUGE = 1e300
LN10 = 2.302585092994046

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
    """log of the attempted size over that of the last accepted step; 0 without one, and where the attempt was cut
    short.
    """
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


def low_order(state, record):
    """1 up to exponent order 6, 0 above: what is multiplied by it rests under methods of higher order."""
    return where(record[ORDER] <= 6.0, 1.0, 0.0)


def log_tol(state, record):
    """log of the relative tolerance."""
    return safe_log(record[RTOL])


def log_left(state, record):
    """log of the attempted size over the time left before the attempt."""
    return safe_log(record[H]) - safe_log(record[T_LEFT])


def time_left(state, record):
    """Share of the span that is left before the attempt: 1 at the start, near 0 at the end."""
    return record[T_LEFT] / record[SPAN]


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
    """One feature.

    tier            what a host must offer: 0 an error estimate, 1 norms, 2 stages
    fn              `fn(state, record)`, the raw value
    low, high       what the raw value is clipped to
    shift, scale    what follows: (x - shift)*scale
    slots           record slots that `fn` reads
    own             whether it was registered by a caller
    factors         the two features that it is the product of (`products`), or none
    """

    name: str
    tier: int
    fn: Callable
    low: float
    high: float
    shift: float
    scale: float
    slots: frozenset[int]
    own: bool = False
    factors: tuple[Feature, ...] = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A product's function cannot be pickled: the product is made again."""
        return (_again, self.factors) if self.factors else super().__reduce_ex__(protocol)

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value after scaling (0, for a missing slot, included)."""
        return min((self.low - self.shift) * self.scale, 0.0), max((self.high - self.shift) * self.scale, 0.0)

    @property
    def doc(self) -> str:
        """What it is, in words."""
        return (self.fn.__doc__ or "").strip()


def _again(a: Feature, b: Feature) -> Feature:
    """The product of two features, out of a pickle."""
    from .products import product

    return product(a, b)


def _f(tier: int, fn: Callable, low: float, high: float, shift: float, scale: float, *slots: int) -> Feature:
    return Feature(fn.__name__, tier, fn, low, high, shift, scale, frozenset(slots))


#: the table; adding a feature is a function above and a line here, outside the package `register` (a published line
#: does not change: files refer to it by name)
FEATURES: dict[str, Feature] = {f.name: f for f in (
    _f(0, log_err, -10.0, 10.0, 0.0, 0.5, ERR),
    _f(0, log_err_1, -10.0, 10.0, 0.0, 0.5),
    _f(0, log_err_2, -10.0, 10.0, 0.0, 0.5),
    _f(0, log_ratio_1, -4.0, 4.0, 0.0, 1.0, H, TRUNCATED),
    _f(0, log_ratio_2, -4.0, 4.0, 0.0, 1.0),
    _f(0, streak, 0.0, 3.0, 0.0, 1.0),
    _f(0, order, 1.0, 14.0, 5.0, 0.25, ORDER),
    _f(0, low_order, 0.0, 1.0, 0.0, 1.0, ORDER),
    _f(0, log_tol, -14.0 * LN10, 0.0, -5.0 * LN10, 1.0 / (3.0 * LN10), RTOL),
    _f(1, log_left, -12.0, 0.0, -4.0, 0.25, H, T_LEFT),
    _f(1, time_left, 0.0, 1.0, 0.5, 2.0, T_LEFT, SPAN),
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
# the default spaces; they do not change: a new feature is asked for by name
TIER0: tuple[str, ...] = (
    "log_err",
    "log_err_1",
    "log_err_2",
    "log_ratio_1",
    "log_ratio_2",
    "streak",
    "order",
    "log_tol",
)
TIER1: tuple[str, ...] = (*TIER0, "log_left", "log_ynorm", "log_enorm")
TIER2: tuple[str, ...] = (*TIER1, "log_hs", "log_curv", "log_stiff_left")
STIFF: tuple[str, ...] = TIER1 + NEWTON


def register(
    fn: Callable, low: float, high: float, shift: float, scale: float, slots: Iterable[int] | None = None,
    tier: int = 2,
    name: str | None = None,
) -> Feature:  # fmt: skip
    """Let a caller's feature be asked for by name wherever features are named in this process.

    fn              `fn(state, record)`, a branch-free formula over `stepsmith.integrators.core.formulas`, marked by
                    `formula`; its docstring says what it is
    low, high       what its value is clipped to
    shift, scale    what follows: (x - shift)*scale, which ought to be of size 1
    slots           record slots that it reads (`stepsmith.integrators.core.record`); None: they are found
    tier            what a host must offer: 0 an error estimate, 1 norms, 2 stages
    name            what it is called; default `fn.__name__`

    A feature that was registered under the name before is replaced; selections made before keep theirs.  OptionError
    for the name of a feature that ships, and where something does not fit.
    """
    from ...integrators.compile.vecmath import NAMESPACE

    if not isinstance(fn, types.FunctionType) or not getattr(fn, "formula", False):
        raise refuse("fn", "a function marked by stepsmith.integrators.core.formulas.formula", fn)
    if indexes_arrays(bind(fn, NAMESPACE, lambda helper: helper)):  # it is compiled without checks of indices
        raise OptionError(
            f"fn {shown(fn.__name__)} must be made of numbers and stepsmith.integrators.core.formulas, not of arrays"
        )
    name = options.text("name", fn.__name__ if name is None else name)
    if "*" in name:
        raise OptionError(f"name {shown(name)}: * stands between the two features of a product")
    if name in FEATURES and not FEATURES[name].own:
        raise OptionError(f"feature {shown(name)} ships with the package: give this one another name")
    high = options.number("high", high)
    low = options.number("low", low, below=high)
    read = slots_read(fn)
    if slots is not None:
        if isinstance(slots, (str, bytes)) or not isinstance(slots, Iterable):
            raise refuse("slots", "record slots or None", slots)
        declared = frozenset(options.count("slot", slot, 0, rec.N_RECORD - 1) for slot in slots)
        if not read <= declared:
            missing = ", ".join(rec.NAMES[i] for i in sorted(read - declared))
            raise OptionError(f"slots must hold what fn reads: {missing} is missing (None: they are found)")
        read = declared
    tier, shift, scale = (
        options.count("tier", tier, 0, 2),
        options.number("shift", shift),
        options.positive("scale", scale),
    )
    FEATURES[name] = Feature(name, tier, fn, low, high, shift, scale, read, own=True)
    return FEATURES[name]
