"""Rewards of the environments: those that ship, and a caller's own.  A reward is one object, which holds what it pays.

Work w is right-hand sides, and Jacobians, factorisations and back-substitutions at the costs of `places`; e is the
error that the episode reached.  Both are compared with the baseline law's on the same instance.  The pieces that a
reward is made of, with their formulas, are functions of the template `pay`; a kernel is compiled for one reward.
Beside them:

`window` > 0 charges every decade by which e leaves e_base(tol)/10..10 e_base(tol): a tolerance then keeps its meaning.
A trajectory that fails counts with the largest error of the baseline's table and pays `fail` on top ("propagated": 100
times). With `time_discount` g < 1 a reward at time t is multiplied by g**((t - t0)/(t1 - t0)).  Neither w nor e is
observed: a return is a function of the whole episode.

A reward of one's own is two functions of a row of `FACTS`: `step(facts)` is what an attempt pays, `end(facts)` what the
end of an episode pays besides.  They are compiled into the loop, as a right-hand side is: numbers, branches, elementary
functions of `vecmath`.
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
from .. import templates
from ..layout import Layout
from . import pay

#: what a reward may look at, by index; the last three are known at the end of an episode only, and NaN before
FACTS = (
    "work", "work_before", "base_work", "err", "accepted", "h", "left", "rtol", "lagrange", "error",
    "base_work_at_error", "reached",
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


@dataclass(frozen=True)
class RewardRule:
    """A reward.

    name      what it is called in options and files
    doc       what it is, in words
    attempt   what it pays for an attempt: a function of the template `pay`
    ended     what it pays at the end of an episode: another
    priced    whether the option `lagrange` is a part of it
    banded    whether `window` is a part of it
    charged   whether `fail` is a part of it
    followed  whether it needs to know what local errors become at the end (template `propagated`, `Pool.followed`)
    step, end a caller's own functions of a row of `FACTS`; None for a reward that ships
    """

    name: str
    doc: str
    attempt: Callable
    ended: Callable
    priced: bool = False
    banded: bool = True
    charged: bool = True
    followed: bool = False
    step: Callable | None = None
    end: Callable | None = None

    @property
    def own(self) -> bool:
        """Whether it is a caller's own."""
        return self.step is not None

    def objects(self) -> dict[str, Callable]:
        """The caller's functions, by the names that the pieces call them by; none for a reward that ships."""
        return {} if self.step is None or self.end is None else {"reward_step": self.step, "reward_end": self.end}

    def source(self) -> str:
        """Its pieces, under the names `attempt_pay` and `end_pay` that an environment's loop calls them by."""
        shared = (pay.work_so_far, pay.share_spent, pay.decades_above, pay.strayed)
        facts = (pay.see_attempt, pay.see_decision, pay.own_lane) if self.own else ()
        named = f"attempt_pay = {self.attempt.__name__}\nend_pay = {self.ended.__name__}\n\n\n"
        return templates.text(*shared, *facts, self.attempt, self.ended) + named

    def constants(self, lay: Layout) -> str:
        """Source lines of the constants that its pieces name."""
        places = {}
        if self.own:
            places = {f"FACT_{name.upper()}": lay.rows[f"FACT{i}"]*lay.width for i, name in enumerate(FACTS)}
        return templates.constants(OWN_REWARD=self.own, PROPAGATED=self.followed, NFACTS=len(FACTS), **places)


RULES: dict[str, RewardRule] = {shipped.name: shipped for shipped in (
    RewardRule(
        "matched",
        "matched-error return: work saved against the baseline at the error that was reached, paid as it comes",
        pay.attempt_matched, pay.end_matched,
    ),
    RewardRule(
        "constraint", "work, and an error above the baseline's at the price `lagrange`",
        pay.attempt_constraint, pay.end_constraint, priced=True,
    ),
    RewardRule(
        "matched_end", "the matched-error return, paid at the end", pay.attempt_matched_end, pay.end_matched_end,
    ),
    RewardRule(
        "propagated", "progress, work, and what every local error becomes at the end, all paid at once",
        pay.attempt_propagated, pay.end_propagated, priced=True, banded=False, followed=True,
    ),
)}  # fmt: skip


def register(name: str, step: Callable, end: Callable, doc: str = "") -> RewardRule:
    """Let `name` name a reward of a caller's own wherever a reward is named in this process; returns it.

    step, end: `f(facts) -> float`, facts a row of `FACTS`; `end` is not asked where an episode is cut.  A reward that
    was registered under the name before is replaced.  OptionError for the name of a reward that ships, and where a
    function does not give a number for a row of ones, or looks into arrays.
    """
    if not isinstance(name, str) or not name:
        raise refuse("name", "a name", name)
    if name in RULES and not RULES[name].own:
        raise OptionError(f"reward {shown(name)} ships with the package: give this one another name")
    for what, fn in (("step", step), ("end", end)):
        _check(what, fn)
    said = doc or (step.__doc__ or "").strip()
    RULES[name] = RewardRule(
        name, said, pay.attempt_own, pay.end_own, priced=True, banded=False, charged=False, step=step, end=end
    )
    return RULES[name]


def _check(what: str, fn: Any) -> None:
    """OptionError where `fn` is no function of a row of facts that gives a number."""
    if not isinstance(getattr(fn, "py_func", fn), types.FunctionType):
        raise refuse(what, "a function of a row of facts that gives a number", fn)
    if indexes_arrays(fn):
        made_of = "numbers, branches and functions of stepsmith.integrators.vecmath"
        raise OptionError(f"{what} must be made of {made_of}, not of arrays")
    wanted = f"{what} must be a function of a row of facts that gives a number"
    try:
        found = fn(np.ones(len(FACTS)))
    except Exception as error:
        raise OptionError(f"{wanted}: {type(error).__name__}: {error}") from None
    if isinstance(found, bool) or not isinstance(found, (int, float, np.number)) or np.isnan(found):
        raise OptionError(f"{wanted}, got {shown(found)} for a row of ones")


def rows() -> list[str]:
    """Rows of a kernel with a caller's own reward: `FACTS`, then what it pays for the attempt."""
    return [*(f"FACT{i}" for i in range(len(FACTS))), "OWNPAY"]


def rule(name: str) -> RewardRule:
    """The reward called `name`; ValueError naming the nearest where there is none (one that another process has
    registered, perhaps)."""
    if name not in RULES:
        raise unknown("reward", name, RULES)
    return RULES[name]
