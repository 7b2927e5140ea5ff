"""A bandit over strengths: the one of a few that costs the fewest f-evaluations while the loss stays near its best.

An arm is a strength; it is played for a window of `every` iterations.  The first window goes without a penalty: its
mean count of f-evaluations N_0 and its mean loss are what the others are measured by.  A window with mean count N and
mean task loss q then costs

    c = (min(N / N_0, 2) + min(max(e, 0), 1)) / 3,      e = (q - q* - b |q*|) / (b |q*|)

which lies in [0, 1].  q* is the least mean loss of the windows so far, and b the `budget`: e counts how many budgets
the loss is out of its budget.  A loss that is out by a whole budget costs as much as all f-evaluations of a window
without a penalty, so that no saving pays for it; by the count alone the strongest arm would always win.  The budget
must be wider than the noise of a window's mean loss, or all arms look alike.

What an arm does to the loss and to the counts shows in later windows too; the bandit takes it for the arm that is
played then.  Source: M. Khodak, E. Chow, M.-F. Balcan, A. Talwalkar, "Learning to Relax: setting solver parameters
across a sequence of linear system instances", ICLR 2024, which tunes a solver by its cost; here its two bandits, a
Tsallis-INF and ChebCB (`controllers.online`), tune a strength.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...integrators.core import options
from ...integrators.neural.strength.base import Seen, Strength

if TYPE_CHECKING:
    from ..online.bandit import Bandit

BANDITS = ("tsallis", "chebyshev")
#: the largest N / N_0 that is told apart
MOST = 2.0


class BanditStrength(Strength):
    """See the module's text.

    arms, plays    the strengths, and how many windows each of them was played to the end.
    told, best     what the last window cost (NaN: none yet), and q*.
    """

    kind = "bandit"
    remembered = (
        "bandit_state", *Strength.remembered, "arm", "plays", "told", "best", "_reference", "_count", "_nfev",
        "_losses", "_context",
    )  # fmt: skip
    optional = ("arm", "_context")

    def __init__(self, learner: Bandit, numbers: dict[str, Any]) -> None:
        super().__init__()
        self.learner, self.numbers = learner, numbers
        self.arms: list[float] = numbers["arms"]
        #: index of the arm that is played, None in the first window
        self.arm: int | None = None
        self.plays = [0] * len(self.arms)
        self.told, self.best, self._reference = math.nan, math.inf, math.nan
        self._count, self._nfev, self._losses = 0, 0.0, 0.0
        self._context: float | None = None

    @property
    def level(self) -> float:
        return 0.0 if self.arm is None else self.arms[self.arm]

    @property
    def bandit_state(self) -> dict[str, Any]:
        """What the bandit has learned, with its generator."""
        return self.learner.state()

    @bandit_state.setter
    def bandit_state(self, state: Mapping[str, Any]) -> None:
        self.learner.restore(state)

    def check_value(self, name: str, value: Any) -> None:
        super().check_value(name, value)
        if name == "bandit_state":
            copy.deepcopy(self.learner).restore(value)

    def see(self, seen: Seen) -> float:
        if seen.nfev is None:
            raise ValueError(
                "a bandit over strengths learns from f-evaluations: pass nfev=out.solution.stats.nfev to total()"
            )
        if self.learner.contextual and seen.context is None:
            raise ValueError(
                "bandit 'chebyshev' reads a context: pass context= to total(), such as the logarithm of the stiffness"
            )
        level = self.level
        self._count += 1
        self._nfev += seen.nfev
        self._losses += seen.task
        if self._count == self.numbers["every"]:
            self._close(seen.context)
        return level

    def _close(self, context: float | None) -> None:
        """Tell the bandit what the window cost, and draw the arm of the next one, at `context`."""
        nfev, quality = self._nfev / self._count, self._losses / self._count
        if self.arm is None:
            self._reference = nfev
        else:
            self.told = cost(nfev, self._reference, quality, self.best, self.numbers["budget"])
            self.learner.update(self.arm, self.told, self._context)
            self.plays = [n + (i == self.arm) for i, n in enumerate(self.plays)]
        self.best = min(self.best, quality)
        self._count, self._nfev, self._losses = 0, 0.0, 0.0
        self._context = context if self.learner.contextual else None
        self.arm = self.learner.draw(self._context)

    def describe(self) -> dict[str, Any]:
        shown = {name: list(v) if isinstance(v, (list, tuple)) else v for name, v in self.numbers.items()}
        return {"kind": self.kind, **{name: value for name, value in shown.items() if value is not None}}


def cost(nfev: float, reference: float, quality: float, best: float, budget: float) -> float:
    """What a window costs, in [0, 1]: see the module's text for the formula.

    nfev, reference    mean f-evaluations of the window and of the first one, not negative.
    quality, best      mean loss of the window, and the least of a window before it.
    budget             share of |best| by which the loss may be worse; positive.
    """
    allowed = max(budget * abs(best), 1e-300)
    share = min(nfev / max(reference, 1e-300), MOST)
    excess = min(max((quality - best) / allowed - 1.0, 0.0), 1.0)
    return (share + excess) / (MOST + 1.0)


def bandit(
    arms: Iterable[float] = (0.0, 0.1, 0.3, 1.0, 3.0),
    bandit: str = "tsallis",
    every: int = 20,
    budget: float = 0.02,
    seed: int = 0,
    *,
    context_range: tuple[float, float] | None = None,
) -> BanditStrength:
    """The arm that costs the fewest f-evaluations while the loss stays near its best; the module's text has the rule.

    arms             strengths, finite, not negative and all different, at least two; in ratio units inside
                     `ratio(bandit())`.
    bandit           "tsallis", which reads nothing else, or "chebyshev", which reads `total(..., context=x)`, such as
                     the logarithm of the stiffness.
    every            iterations in a window.
    budget           share of the least loss by which a window's loss may be worse than it; positive.
    seed             of the draws, a whole number.
    context_range    (low, high), the ends of the contexts; "chebyshev" needs it, "tsallis" takes none.

    Needs `total(..., nfev=...)`.  ValueError for what is out of range.
    """
    from ..online import given  # Numba comes with it, which other strengths do without

    if not isinstance(arms, Iterable) or isinstance(arms, (str, bytes, Mapping)):
        raise options.refuse("arms", "a list of at least two strengths", arms)
    found = [options.number(f"arms[{i}]", arm, 0.0) for i, arm in enumerate(arms)]
    if len(found) < 2 or len(set(found)) < len(found):
        raise options.refuse("arms", "a list of at least two strengths, all different", found)
    name = options.choice("bandit", bandit, BANDITS)
    numbers = {
        "arms": [float(arm) for arm in found],
        "bandit": name,
        "every": options.count("every", every),
        "budget": options.positive("budget", budget),
        "seed": options.count("seed", seed, low=0),
        "context_range": context_range,
    }
    learner = given.bandit(name, len(found), context_range, numbers["seed"])
    if context_range is not None:
        numbers["context_range"] = [float(x) for x in context_range]
    return BanditStrength(learner, numbers)
