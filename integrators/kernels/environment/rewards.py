"""Rewards of the environments by name: those that ship, and a caller's own.

A reward of one's own is two functions of a row of `FACTS`: `step(facts)` is what an attempt pays, `end(facts)` what the end of an episode
pays besides.  They are compiled into the loop, as a right-hand side is: numbers, branches, elementary functions of `vecmath`.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checks.arrays_reached import indexes_arrays
from ...core.errors import OptionError, refuse, shown
from ...core.names import unknown
from ..blocks import R

#: what a reward may look at, by index; the last three are known at the end of an episode only, and NaN before
FACTS = (
    "work", "work_before", "base_work", "err", "accepted", "h", "left", "rtol", "lagrange", "error", "base_work_at_error", "reached",
)  # fmt: skip
WORK = 0  # right-hand sides so far, the linear algebra of implicit methods included
WORK_BEFORE = 1  # before this attempt
BASE_WORK = 2  # that the baseline law takes for the whole instance at this tolerance
ERR = 3  # scaled error of the attempt
ACCEPTED = 4  # 1.0 or 0.0
H = 5  # size of the attempt
LEFT = 6  # part of the span that is still to come after the attempt
RTOL = 7  # relative tolerance of the episode
LAGRANGE = 8  # the multiplier, an option of the environment
ERROR = 9  # error of the episode by the family's measure, inf where the end was not reached
BASE_WORK_AT_ERROR = 10  # that the baseline law takes for this error
REACHED = 11  # 1.0 where the end was reached, else 0.0

#: `consts[0]` of a kernel with a reward of a caller's own
OWN = 4.0


@dataclass(frozen=True)
class RewardRule:
    """A reward: its name, what it is in words, its number in the kernel, whether `lagrange` is a part of it, and a caller's functions."""

    name: str
    doc: str
    code: float
    priced: bool = False
    step: Callable | None = None
    end: Callable | None = None


RULES: dict[str, RewardRule] = {shipped.name: shipped for shipped in (
    RewardRule("matched", "matched-error return: work saved against the baseline at the error that was reached, paid as it comes", 0.0),
    RewardRule("constraint", "work, and an error above the baseline's at the price `lagrange`", 1.0, True),
    RewardRule("matched_end", "the matched-error return, paid at the end", 2.0),
    RewardRule("propagated", "progress, work, and what every local error becomes at the end, all paid at once", 3.0, True),
)}  # fmt: skip


def register(name: str, step: Callable, end: Callable, doc: str = "") -> RewardRule:
    """Let `name` name a reward of a caller's own wherever a reward is named in this process; returns it.

    step, end: `f(facts) -> float`, facts a row of `FACTS`; `end` is not asked where an episode is cut.  A reward that was registered under
    the name before is replaced.  OptionError for the name of a reward that ships, and where a function does not give a number for a
    row of ones, or looks into arrays.
    """
    if not isinstance(name, str) or not name:
        raise refuse("name", "a name", name)
    if name in RULES and RULES[name].code != OWN:
        raise OptionError(f"reward {shown(name)} ships with the package: give this one another name")
    for what, fn in (("step", step), ("end", end)):
        if not isinstance(getattr(fn, "py_func", fn), types.FunctionType):
            raise refuse(what, "a function of a row of facts that gives a number", fn)
        if indexes_arrays(fn):
            raise OptionError(f"{what} must be made of numbers, branches and functions of stepsmith.integrators.vecmath, not of arrays")
        try:
            found = fn(np.ones(len(FACTS)))
        except Exception as error:
            raise OptionError(f"{what} must be a function of a row of facts that gives a number: {type(error).__name__}: {error}") from None
        if isinstance(found, bool) or not isinstance(found, (int, float, np.number)) or np.isnan(found):
            raise OptionError(f"{what} must be a function of a row of facts that gives a number, got {shown(found)} for a row of ones")
    RULES[name] = RewardRule(name, doc or (step.__doc__ or "").strip(), OWN, True, step, end)
    return RULES[name]


def rule(name: str) -> RewardRule:
    """The reward called `name`; ValueError naming the nearest where there is none (one that another process has registered, perhaps)."""
    if name not in RULES:
        raise unknown("reward", name, RULES)
    return RULES[name]


def rows() -> list[str]:
    """Rows of a kernel with an own reward: `FACTS`, then what it pays for the attempt."""
    return [*(f"FACT{i}" for i in range(len(FACTS))), "OWNPAY"]


def objects(given: RewardRule) -> dict[str, Any]:
    """The functions that the sources below name; none for a reward that ships."""
    return {} if given.step is None else {"reward_step": given.step, "reward_end": given.end}


def seen_source() -> str:
    """Lines of `env_step`, before `commit`: what the next `begin` writes over."""
    return f"""        for l in range(W):
            A[FACT{ERR} + l] = A[{R["err"]} + l]
            A[FACT{H} + l] = A[{R["h"]} + l]
"""


def step_source(algebra: str) -> str:
    """`own_lane(A, consts, l)`: what the attempt pays, into the row OWNPAY.  algebra: the linear algebra's part of the work."""
    return f"""@_inline
def own_lane(A, params, l):
    A[FACT{WORK} + l] = A[NFEV + l]{algebra}
    A[FACT{WORK_BEFORE} + l] = A[WPAID + l]
    A[FACT{BASE_WORK} + l] = 1.0/A[BASEI + l]
    A[FACT{ACCEPTED} + l] = A[ACC + l]
    A[FACT{LEFT} + l] = math.fabs(A[TEND + l] - A[T + l])/A[SPAN + l]
    A[FACT{RTOL} + l] = A[RTOL + l]
    A[FACT{LAGRANGE} + l] = params[1]
    A[FACT{ERROR} + l] = math.nan
    A[FACT{BASE_WORK_AT_ERROR} + l] = math.nan
    A[FACT{REACHED} + l] = math.nan
    A[OWNPAY + l] = reward_step(frozen(A, FACT0 + l, WIDTH, {len(FACTS)})) if A[PAID + l] == 0.0 else 0.0


"""


END = f"""        if consts[0] == {OWN}:
            A[FACT{ERROR} + l] = e
            A[FACT{BASE_WORK_AT_ERROR} + l] = math.exp(base)
            A[FACT{REACHED} + l] = 1.0 if A[STATUS + l] == SUCCESS else 0.0
            r = reward_end(frozen(A, FACT0 + l, WIDTH, {len(FACTS)}))
"""
