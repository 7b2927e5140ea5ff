"""A strength in units that carry over from task to task and from tolerance to tolerance: the ratio of two gradients.

    lambda(k) = r(k) s(k),      s = min over groups of ||d loss / d group|| / ||d penalty / d group||

E_j is in units of the tolerance and of the controller's caution, so that one lambda is a different penalty at every
tolerance.  The ratio is not: at r = 1 the penalty pulls as hard as the task does.  log s is a running mean of
measurements, each of which takes two backward passes more; they are made at iterations 0, 4, 16, and every `every`-th
from then on, so that they cost less than 2 / every of a training run (`cost` says what they did).  A group that the
penalty or the task loss does not reach, such as a head behind the solve, has no say; the smallest of the others' keeps
any of them from being overruled.

An iteration whose measurement fails goes without the penalty, with a warning.  Where a gradient is not finite the next
iteration measures again, and after three such in a row the strength is off.  Where no group has both gradients, the
next measurements are made after 1, 2, 4, ... iterations, at most `every`.

At the first weights the task loss is steep and the field slow, so that s can be far larger than it will be.  A ratio
that is too large then can press the field to nothing, where the penalty's gradient is small and s stays large.
`warm_up` is for that: iterations before the first measurement.  With `ceiling` s never rises.

Where r < 1 a point at which all gradients cancel is one of the task loss alone: ||d loss|| = r ||d loss|| has no other
solution.  This is the balance of gradients of Z. Chen, V. Badrinarayanan, C.-Y. Lee, A. Rabinovich, GradNorm, ICML 2018
(PMLR 80:794-803), with the task's as the measure and without their learnt weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from ...core import options
from .base import Lost, Measured, Seen, Strength
from .groups import Parameters, Tensor, cosine, gradients, norms
from .schedules import constant

#: iterations of the first measurements
EARLY = (0, 4, 16)
#: weight of a measurement in the running mean of the logarithm
WEIGHT = 0.5


class Ratio(Strength):
    """A strength whose level is in units of the ratio of gradients; `inner` is the ratio over time.

    scale   the running s, NaN before the first measurement.
    now     s as the last measurement alone has it, and `cosine` that of the two gradients; NaN before the first.
    """

    kind = "ratio"
    remembered = (*Strength.remembered, "scale", "now", "cosine", "measured", "_failed", "_again", "inner_state")
    needs_parameters = True

    def __init__(self, inner: Strength, every: int, warm_up: int = 0, ceiling: bool = False) -> None:
        super().__init__()
        self.inner, self.every, self.warm_up, self.ceiling = inner, every, warm_up, ceiling
        self.needs_response = inner.needs_response
        self.scale = self.now = self.cosine = math.nan
        self.measured = 0
        #: measurements that failed since the last good one, and the iteration of the next after them
        self._failed = self._again = 0

    @property
    def level(self) -> float:
        return self.inner.value * self.scale if self.measured else 0.0

    @property
    def last_ratio(self) -> float:
        return self.last / self.scale if self.last else 0.0

    @property
    def inner_state(self) -> dict[str, Any]:
        """What the ratio's own rule has seen."""
        return self.inner.state_dict()

    @inner_state.setter
    def inner_state(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)

    def check_state(self, state: Mapping[str, Any]) -> None:
        super().check_state(_completed(state))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(_completed(state))

    def check_value(self, name: str, value: Any) -> None:
        super().check_value(name, value)
        if name == "inner_state":
            self.inner.check_state(value)

    @property
    def higher_is_better(self) -> bool:
        return self.inner.higher_is_better

    def see(self, seen: Seen) -> float:
        k = self.iteration - self.warm_up
        if k < 0:
            self.inner.iteration += 1
            return 0.0
        waits = (self._failed or not self.measured) and self.iteration >= self._again
        if waits or k in EARLY or k % self.every == 0:
            self._measure(seen)
        if not self.measured:
            self.inner.iteration += 1
            return 0.0
        ratio = self.inner.see(replace(seen, measured=Measured(self.scale, self.now, self.cosine)))
        level = ratio * self.scale
        if not math.isfinite(level):
            raise Lost(f"the strength is {level:g}")
        self.inner.iteration += 1
        if self.inner.off:
            self.off = self.inner.off
        return level

    def _lose(self, what: str) -> None:
        self.inner.iteration += 1  # a rule over time goes on
        super()._lose(what)

    def _measure(self, seen: Seen) -> None:
        began = time.perf_counter()
        assert seen.groups is not None
        both = [gradients(x, seen.groups) for x in (seen.loss, seen.penalty)]
        tasks, penalties = map(norms, both)
        self.cosine = cosine(*both)
        self._measuring += time.perf_counter() - began
        for name, sizes in (("task loss", tasks), ("penalty", penalties)):
            if not all(map(math.isfinite, sizes)):
                self._fail(1, f"the gradient of the {name} is not finite")
        found = [a / b for a, b in zip(tasks, penalties, strict=True) if a > 0.0 and b > 0.0]
        if not found or not 0.0 < min(found) < math.inf:
            what = "no group of the parameters has a gradient of the task loss and one of the penalty"
            self._fail(min(2 ** min(self._failed, 30), self.every), what)
        now = math.log(min(found))
        past = now if not self.measured else math.log(self.scale)
        change = WEIGHT * (now - past)
        self.scale = math.exp(past + (min(change, 0.0) if self.ceiling else change))
        self.now = math.exp(now)
        self.measured += 1
        self._failed = 0

    def _fail(self, wait: int, what: str) -> NoReturn:
        """The iteration is lost, and the next measurement is made in `wait` iterations."""
        self._failed, self._again = self._failed + 1, self.iteration + wait
        raise Lost(what)

    def report(self, metric: float) -> None:
        self.inner.report(metric)
        self.off = self.off or self.inner.off

    @property
    def due(self) -> bool:
        return not self.off and self.measured > 0 and self.inner.due

    def respond(
        self,
        validation_loss: Tensor,
        training_loss: Tensor | None = None,
        penalty: Tensor | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """As the ratio's own rule has it, for which the penalty is in units of the ratio."""
        if self.needs_response and self.off:
            return
        if self.needs_response and not self.measured:
            raise ValueError("no gradients have been measured yet: call respond() where due is True")
        scaled = None if penalty is None else self.scale * penalty
        self.inner.respond(validation_loss, training_loss, scaled, parameters)
        self.off = self.off or self.inner.off

    def describe(self) -> dict[str, Any]:
        more = ({"warm_up": self.warm_up} if self.warm_up else {}) | ({"ceiling": True} if self.ceiling else {})
        return {"kind": "ratio", "of": self.inner.describe(), "every": self.every, **more}


def _completed(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state of version 0.1 lacks what the last measurement alone found."""
    return {"now": math.nan, "cosine": math.nan, **state} if isinstance(state, Mapping) else state


def ratio(value: float | Strength, every: int = 32, warm_up: int = 0, ceiling: bool = False) -> Ratio:
    """The penalty's gradient is `value` times as large as the task loss's.

    value    a positive number, or a Strength that says the ratio at every iteration (`exponential(3.0, 0.3, n)`).
    every    iterations between two measurements of the gradients, at least 1.
    warm_up  iterations at the beginning without a penalty, which are not measured either.
    ceiling  whether the scale s never rises, so that the ratio is an upper bound.

    Use it with `total(loss, penalty, parameters)`.  ValueError for numbers out of range.
    """
    inner = value if isinstance(value, Strength) else constant(options.positive("the ratio", value))
    if isinstance(inner, Ratio):
        raise ValueError("a ratio of a ratio means nothing: pass the ratio as a number, or as another strength")
    every, warm_up = options.count("every", every), options.count("warm_up", warm_up, low=0)
    return Ratio(inner, every, warm_up, options.flag("ceiling", ceiling))


def auto() -> Ratio:
    """What strength="auto" is: `ratio(0.1)`, a cautious constant.

    In `benchmarks/README.md` it saved f-evaluations on every task, without a loss of quality that could be told from
    chance; on classifiers a ratio of 1 saved more.  A training that rests on a plateau at first it can keep there
    (`benchmarks/neural_plateau.py`): take `ratio(0.1, every=4)` then, or a `warm_up` with `ceiling`.
    """
    return ratio(0.1)
