"""steps="auto": whether training solves begin warm and take even steps, decided by what they cost.

    PLAIN    every solve chooses its own first size; the last step is cut to fit.
    WARM     a solve begins with the size that suited the last one's first step.
    EVEN     that, and equal steps to the end time.

The cost of a way is its f-evaluations a solve.  The cheapest is kept; where EVEN costs what the way in use costs, it is
taken, since equal steps are the more accurate ones at the same tolerance.  Costs are compared as they come in training:

- The first solves are plain, and later ones from time to time (every `PROBE`-th), so that the mean cost of plain
  stepping is known as the field changes.
- A trial of another way is `TRIAL` solves, ended at once where it has cost `LOSS` evaluations more than plain ones
  would have.  A way that costs less is kept, until its mean is more than that of plain stepping.  After a trial that
  fails, or a way that was left, the next trial is twice as far away.
- An account is kept of what all of this has cost above plain stepping.  While that is more than `SHARE` of all
  evaluations, nothing but plain stepping is done: what trials cost stays below two per cent of a training, whatever the
  field and the batches are like.
- A solve of more than `MANY` steps has nothing to gain: no trials are made.

The decisions depend on nothing but the counts of earlier solves, so that a training is reproducible; all they need is
in `NUMBERS` float64, which travel with the module's state.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor
PLAIN, WARM, EVEN = 0, 1, 2
WAYS = (PLAIN, WARM, EVEN)
#: solves before the first trial, and between trials at first and at most
FIRST, APART, FARTHEST = 4, 16, 1024
TRIAL, PROBE, LOSS, SHARE, MANY = 4, 16, 8.0, 0.01, 50
#: weight of a new cost in the running means
WEIGHT = 0.25


class StepChoice:
    """The choice, on a tensor of `NUMBERS` float64 numbers, zero at first, which it changes in place.

    solves     so far; `total`, the evaluations of all of them; `debt`, what they cost above plain ones, at least 0.
    way        the way in use; `plain`, `own`: mean costs of plain stepping and of the way in use (NaN: not known).
    trial      solves left of a trial of the way `tried`, which has cost `extra` above plain stepping so far.
    due        the solve at which the next trial begins, `apart` after the one before.
    steps      the steps of the last solve.
    """

    NAMES = ("solves", "total", "debt", "way", "plain", "own", "trial", "tried", "extra", "due", "apart", "steps")
    NUMBERS = len(NAMES)

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers
        for name, value in zip(self.NAMES, numbers.tolist(), strict=True):
            setattr(self, name, value)

    solves: float
    total: float
    debt: float
    way: float
    plain: float
    own: float
    trial: float
    tried: float
    extra: float
    due: float
    apart: float
    steps: float

    def next(self) -> int:
        """The way of the solve that comes now."""
        if self.solves < FIRST or self.steps > MANY or self.debt > SHARE * self.total:
            return PLAIN
        if self.trial > 0:
            return int(self.tried)
        if self.way != PLAIN and self.solves % PROBE == 0:
            return PLAIN
        return int(self.way)

    def solved(self, way: int, calls: int, steps: int) -> None:
        """A solve of the way `way`, which `next` gave, took `calls` evaluations and `steps` steps."""
        if self.solves == 0:
            self.apart, self.due = float(APART), float(APART)
        self.solves += 1
        self.total += calls
        self.steps = steps
        if way == PLAIN:
            self.plain = _mean(self.plain, calls)
        else:
            self.debt = max(0.0, self.debt + calls - self.plain)
        if self.trial > 0 and way == self.tried:
            self._tried(calls)
        elif way != PLAIN:
            self.own = _mean(self.own, calls)
        if self.way != PLAIN and self.own > self.plain:
            self._leave()
        if self.trial == 0 and self.solves >= self.due and steps <= MANY:
            self.trial, self.extra = float(TRIAL), 0.0
            self.tried = EVEN if self.way == WARM or (self.way == PLAIN and self.tried == WARM) else WARM
        self._store()

    def failed(self) -> None:
        """A solve failed: its cost says nothing, and the next ones are plain until the next trial."""
        self.solves += 1
        if self.way != PLAIN:
            self._leave()
        self.trial = 0.0
        self._store()

    def _tried(self, calls: int) -> None:
        """Account for a solve of a trial, and decide where it is over."""
        self.trial -= 1
        self.extra += calls - self.plain
        if self.extra > LOSS:
            self.trial = 0.0
        if self.trial > 0:
            return
        used = self.plain if self.way == PLAIN else self.own
        cost = self.plain + self.extra / TRIAL
        limit = used + 0.25 if self.tried == EVEN and self.way == WARM else used - 0.25
        if self.extra < 0.0 and cost <= limit:
            self.way, self.own, self.apart = self.tried, cost, float(APART)
        else:
            self.apart = min(2.0 * self.apart, float(FARTHEST))
        self.due = self.solves + self.apart

    def _leave(self) -> None:
        self.way, self.own = float(PLAIN), 0.0
        self.apart = min(2.0 * self.apart, float(FARTHEST))
        self.due = self.solves + self.apart

    def _store(self) -> None:
        self.numbers.copy_(torch.tensor([getattr(self, name) for name in self.NAMES], dtype=torch.float64))


def _mean(old: float, new: float) -> float:
    """The running mean `old`, zero where there is none, after `new`."""
    return float(new) if old == 0.0 else old + WEIGHT * (new - old)
