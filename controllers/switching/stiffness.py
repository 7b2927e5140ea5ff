"""Rules that switch between an explicit and an implicit method by an estimate of stiffness.

Both compare h times an estimate of the spectral radius of df/dy with the length x of the explicit method's interval of
stability on the negative real axis.  Under the explicit method the estimate is Shampine's, |k_j - k_i|/|g_j - g_i| of
two stages at the same time (L. F. Shampine, BIT 17 (1977) 104; Hairer and Wanner II, IV.2); under the implicit one it
is the maximum norm of the Jacobian.

auto_switch   AutoSwitch of OrdinaryDiffEq.jl, which AutoTsit5(Rosenbrock23()) and its like are made of: an attempt is
              stiff where h rho/x > .9, with the size h that comes next.  More than 10 stiff attempts in a row change to
              the implicit method and double the size; more than 3 that are not, in a row, change back and halve it.
hairer        the test of dopri5.f and dop853.f: a step is stiff where h rho > x - .05, 15 of which, unless 6 in a row
              between them are not, mean a stiff problem.  The codes have 3.25 for dopri5, whose x is 3.31, and 6.1 for
              dop853, whose x is 6.39; they begin to count at each thousandth step, and stop where the problem is
              stiff.  Here every step counts, the implicit method takes over, and the same test the other way round
              changes back.

In OrdinaryDiffEq.jl a switch may follow a rejected attempt; here it waits for the next accepted one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from ...integrators.core import options, record
from ...integrators.core.contract import ACCEPT, FLAGS, LOG_FACTOR, METHOD
from ...integrators.core.errors import OptionError, shown
from ...integrators.core.formulas import exp, fabs, where
from ...integrators.core.names import unknown
from ...integrators.core.record import HS
from ...integrators.methods.portfolio import Portfolio
from .rule import Rule

# compile-time values of the formulas (`rule.Place`)
HERE = COUNT = AT = FROM = 0

SIZE, LIMIT, LOG_SIZE, MOST, CALM = 0, 1, 2, 3, 4


def auto_switch(params, state, record, out):
    """Count attempts in a row that are stiff (positive) or not (negative); switch where there are more than MOST."""
    accepted = out[ACCEPT] > 0.5
    ratio = fabs(record[HS]) * exp(out[LOG_FACTOR]) / params[FROM + SIZE]
    calm = ratio <= params[FROM + LIMIT]  # NaN is stiff, as there
    count = state[AT]
    more = where(count < 0.0, 1.0, count + 1.0)
    less = where(count > 0.0, -1.0, count - 1.0)
    count = where(calm, less, more)
    over = where(HERE == 0, count, -count) > params[FROM + MOST]
    goes = accepted & over
    out[LOG_FACTOR] = out[LOG_FACTOR] + where(goes, params[FROM + LOG_SIZE], 0.0)
    out[FLAGS] = out[FLAGS] + where(goes, METHOD * (2.0 - HERE), 0.0)
    state[AT] = count


def hairer(params, state, record, out):
    """Count accepted steps that speak for the other method, and forget them after CALM in a row that do not."""
    accepted = out[ACCEPT] > 0.5
    stiff = fabs(record[HS]) > params[FROM + SIZE]
    speaks = stiff if HERE == 0 else ~stiff
    votes = state[AT] + where(speaks, 1.0, 0.0)
    against = where(speaks, 0.0, state[AT + 1] + 1.0)
    votes = where(against >= params[FROM + CALM], 0.0, votes)
    goes = accepted & (votes >= params[FROM + MOST])
    out[LOG_FACTOR] = out[LOG_FACTOR] + where(goes, params[FROM + LOG_SIZE], 0.0)
    out[FLAGS] = out[FLAGS] + where(goes, METHOD * (2.0 - HERE), 0.0)
    state[AT] = where(accepted, where(goes, 0.0, votes), state[AT])
    state[AT + 1] = where(accepted, where(goes, 0.0, against), state[AT + 1])


#: published constants
AUTO_SWITCH = {"maxstiffstep": 10.0, "maxnonstiffstep": 3.0, "nonstifftol": 0.9, "stifftol": 0.9, "dtfac": 2.0}
HAIRER = {"stiff": 15.0, "calm": 6.0, "margin": 0.05, "dtfac": 1.0}
#: smallest and largest value that a rule accepts
RANGES = {
    "maxstiffstep": (0.0, 1000.0), "maxnonstiffstep": (0.0, 1000.0), "nonstifftol": (0.01, 100.0),
    "stifftol": (0.01, 100.0), "dtfac": (0.01, 1000.0), "stiff": (1.0, 1000.0), "calm": (1.0, 1000.0),
    "margin": (-100.0, 1.0),
}  # fmt: skip


def auto_switch_rule(portfolio: Portfolio, **values: float) -> Rule:
    """AutoSwitch with its published constants, or others by their names there."""
    size = stability_size(portfolio, "auto_switch")
    doc = "OrdinaryDiffEq.jl's AutoSwitch: attempts in a row whose h rho exceeds .9 of the stability interval"
    source = "SciML, OrdinaryDiffEq.jl, AutoSwitch"
    chosen = _chosen("auto_switch", AUTO_SWITCH, values)
    numbers = functools.partial(_of_auto_switch, size)
    return Rule("auto_switch", auto_switch, chosen, numbers, 1, frozenset({record.HS}), doc=doc, source=source)


def _of_auto_switch(size: float, v: dict[str, float], here: int) -> list[float]:
    factor = math.log(v["dtfac"])
    if here == 0:
        return [size, v["nonstifftol"], factor, v["maxstiffstep"]]
    return [size, v["stifftol"], -factor, v["maxnonstiffstep"]]


def hairer_rule(portfolio: Portfolio, **values: float) -> Rule:
    """The stiffness test of dopri5.f with its published constants, or others: stiff (15 steps that vote for the other
    method), calm (6 in a row that forget them), margin (.05, how much before the end of the stability interval), dtfac
    (1, the change of the size).
    """
    size = stability_size(portfolio, "hairer")
    doc = "dopri5's stiffness test: 15 steps at the end of the stability interval, unless 6 in a row are not"
    source = "Hairer, Norsett and Wanner I, dopri5.f; Hairer and Wanner II, IV.2"
    chosen = _chosen("hairer", HAIRER, values)
    numbers = functools.partial(_of_hairer, size)
    return Rule("hairer", hairer, chosen, numbers, 2, frozenset({record.HS}), doc=doc, source=source)


def _of_hairer(size: float, v: dict[str, float], here: int) -> list[float]:
    factor = math.log(v["dtfac"])
    return [size - v["margin"], 0.0, factor if here == 0 else -factor, v["stiff"], v["calm"]]


def stability_size(portfolio: Portfolio, rule: str) -> float:
    """Length of the explicit method's interval of stability; OptionError for a portfolio that is no explicit method
    and an implicit one behind it.
    """
    kinds = [method.implicit for method in portfolio.methods]
    first = portfolio.methods[0]
    if kinds != [False, True] or first.tableau is None:
        raise OptionError(
            f"rule {shown(rule)} switches between an explicit Runge-Kutta pair and an implicit method behind it, as in "
            f"'tsit5+rodas5p', got {portfolio.name!r}: the rule 'race' takes any methods"
        )
    return float(first.tableau.stability_radius)


def _chosen(rule: str, defaults: Mapping[str, float], values: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    for name, value in values.items():
        if name not in defaults:
            raise unknown(f"number of rule {shown(rule)}", name, defaults)
        low, high = RANGES[name]
        given = options.number(name, value)
        if not low <= given <= high:
            raise OptionError(f"{name} of rule {shown(rule)} must be from {low:g} to {high:g}, got {value!r}")
    return tuple((name, float(values.get(name, default))) for name, default in defaults.items())
