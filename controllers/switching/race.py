"""The rule that measures: the method that gets furthest for what it costs.

    rate = log( size that comes next / cost of the attempts since the last accepted step )

with the cost in right-hand sides, those of Jacobians, factorisations and back-substitutions included.  The rate of the
method at work is smoothed over its accepted steps.  Now and then another method has a trial of some accepted steps; if
its rate at the end is better than that of the method at home by a margin, it is at home from then on, else the
trajectory goes back, and the next trial comes after twice as many steps.  A trial that becomes dear, an explicit method
where the problem is stiff, is ended at its first accepted step at which its rate is hopeless.  It does not begin where
stability forbids that it wins: with rho an estimate of the largest eigenvalue, an explicit method of s stages whose
interval of stability is x long gets no further than x/(s rho) for an evaluation.

It needs nothing but sizes and counts, and so takes any methods: explicit ones of several orders as well as explicit
and implicit ones.  Source: none, it is the plain form of what LSODA and codes of variable order do with estimates.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

from ...integrators.core import options
from ...integrators.core.contract import ACCEPT, FLAGS, LOG_FACTOR, METHOD
from ...integrators.core.errors import OptionError
from ...integrators.core.formulas import fabs, log, maximum, minimum, where
from ...integrators.core.names import unknown
from ...integrators.core.record import HS, NF, NJAC, NLU, NSOLVE, H
from ...integrators.methods.method import Method
from ...integrators.methods.portfolio import Portfolio
from .rule import Rule

# compile-time values of the formula (`rule.Place`)
HERE = COUNT = AT = FROM = 0

# numbers: accepted steps of a trial, steps before the first one, the longest wait, the margin (log), what is hopeless
# (log), smoothing; what a Jacobian, a factorisation and a back-substitution cost
TRIAL, WAIT, LONGEST, MARGIN, HOPELESS, SMOOTH, JACOBIAN, LU, SOLVE = 0, 1, 2, 3, 4, 5, 6, 7, 8
# for each method the log of x/s, FREE where stability sets no bound
BOUNDS = 9
FREE = 1e3
# rows of the state: cost since the last accepted step, accepted steps with the method at work, the method at home, its
# rate, which trial comes next (0, 1, ...), the wait before the next trial; then for each method the log of the size
# that it asked for last, plus SHIFT (0: it has not been at work)
COST, STEPS, HOME, RATE, TURN, GAP = 0, 1, 2, 3, 4, 5
ROWS = 6
SHIFT = 4000.0


def counted(value):
    """A count that a method may not report."""
    return where(value >= 0.0, value, 0.0)


def race(params, state, record, out):
    """One attempt: the rate of the method at work, and whether another one has its turn."""
    accepted = out[ACCEPT] > 0.5
    linear = params[FROM + JACOBIAN] * counted(record[NJAC]) + params[FROM + LU] * counted(record[NLU])
    cost = state[AT + COST] + counted(record[NF]) + linear + params[FROM + SOLVE] * counted(record[NSOLVE])
    size = log(maximum(record[H], 1e-300)) + out[LOG_FACTOR]
    now = size - log(maximum(cost, 1.0))
    steps = state[AT + STEPS] + 1.0
    home = state[AT + HOME]
    rate = state[AT + RATE]
    here = float(HERE)
    settled = home == here
    smooth = where(steps <= 2.0, now, rate + params[FROM + SMOOTH] * (now - rate))
    gap = maximum(state[AT + GAP], params[FROM + WAIT])

    # at home: after so many steps the next of the others has its trial
    leaves = accepted & settled & (steps >= gap)
    turn = state[AT + TURN]
    other = 1.0 + turn - (COUNT - 1.0) * where(turn >= COUNT - 1.0, 1.0, 0.0)
    aim = here + other
    aim = where(aim >= COUNT, aim - COUNT, aim)

    # one that stability holds below the rate at home has no trial
    bound = FREE
    for k in range(COUNT):
        bound = where(aim == float(k), params[FROM + BOUNDS + k], bound)
    rho = fabs(record[HS])
    bound = where(rho > 0.0, bound + log(maximum(record[H], 1e-300)) - log(where(rho > 0.0, rho, 1.0)), FREE)
    held = leaves & (bound < rate)
    leaves = leaves & ~held

    # on trial: at its end, or where it is hopeless before
    over = (steps >= params[FROM + TRIAL]) | (now < rate - params[FROM + HOPELESS])
    ends = accepted & ~settled & over
    wins = ends & (now > rate + params[FROM + MARGIN])
    loses = ends & ~wins

    goes = leaves | loses
    aim = where(leaves, aim, home)
    out[FLAGS] = out[FLAGS] + where(goes, METHOD * (aim + 1.0), 0.0)
    # a method that was at work before begins with the size that it had
    known = 0.0
    for k in range(COUNT):
        known = where(aim == float(k), state[AT + ROWS + k], known)
    again = goes & (known > 0.0)
    out[LOG_FACTOR] = out[LOG_FACTOR] + where(again, known - SHIFT - size, 0.0)
    state[AT + ROWS + HERE] = where(accepted, size + SHIFT, state[AT + ROWS + HERE])
    state[AT + COST] = where(accepted, 0.0, cost)
    state[AT + STEPS] = where(accepted, where(goes | wins | held, 0.0, steps), state[AT + STEPS])
    state[AT + HOME] = where(wins, here, home)
    state[AT + RATE] = where(accepted, where(settled, smooth, where(wins, now, rate)), rate)
    after = where(turn + 1.0 >= COUNT - 1.0, 0.0, turn + 1.0)
    state[AT + TURN] = where(leaves | held, after, where(wins, 0.0, turn))
    longer = minimum(gap + gap, params[FROM + LONGEST])
    state[AT + GAP] = where(wins, params[FROM + WAIT], where(loses | held, longer, gap))


DEFAULTS = {
    "trial": 3.0, "wait": 8.0, "longest": 200.0, "margin": 0.05, "hopeless": 2.0, "smooth": 0.3,
    "jacobian": 1.0, "lu": 1.0, "solve": 0.3,
}  # fmt: skip
RANGES = {
    "trial": (1.0, 1000.0), "wait": (1.0, 1e6), "longest": (1.0, 1e9), "margin": (0.0, 10.0), "hopeless": (0.0, 100.0),
    "smooth": (0.01, 1.0), "jacobian": (0.0, 1e9), "lu": (0.0, 1e9), "solve": (0.0, 1e9),
}  # fmt: skip


def race_rule(portfolio: Portfolio, **values: float) -> Rule:
    """The rule with its numbers, or others by name: trial (accepted steps of one), wait (steps before the first, and
    after a change), longest (of the waits), margin and hopeless (natural logarithms of a ratio of rates), smooth;
    jacobian, lu, solve (what they cost, in right-hand sides: `engine.costs` measures them).
    """
    for name, value in values.items():
        if name not in DEFAULTS:
            raise unknown("number of rule 'race'", name, DEFAULTS)
        low, high = RANGES[name]
        if not low <= options.number(name, value) <= high:
            raise OptionError(f"{name} of rule 'race' must be from {low:g} to {high:g}, got {value!r}")
    chosen: Mapping[str, float] = {name: float(values.get(name, default)) for name, default in DEFAULTS.items()}
    doc = "the method that gets furthest for what it costs; the others have short trials, more and more rarely"
    numbers = functools.partial(_numbers, tuple(_bound(method) for method in portfolio.methods))
    return Rule("race", race, tuple(chosen.items()), numbers, ROWS + len(portfolio), sees=frozenset({HS}), doc=doc)


def _numbers(bounds: tuple[float, ...], values: dict[str, float], here: int) -> list[float]:
    return [*values.values(), *bounds]


def _bound(method: Method) -> float:
    """The log of what an evaluation of an explicit pair gets at most, times rho; FREE of other methods."""
    pair = method.tableau
    return FREE if pair is None else math.log(pair.stability_radius / (pair.stages - pair.fsal))
