"""Dual ascent: as strong as the quality allows.

The cheapest model whose quality is within a budget is the saddle point of

    penalty + mu (q - q_ref - budget),      mu >= 0,

with q the quality as a loss.  Training on task loss + lambda * penalty with lambda = 1 / mu, and ascending in log mu,

    log lambda(k + 1) = log lambda(k) - rate clip((q(k) - q_ref(k) - budget) / budget, -1, 1),

raises the strength while the quality is within its budget and lowers it where it is not.  q_ref is a number that is
known, such as the result without a penalty, or the best q so far.  q is a running mean of the training loss
(watch="loss"), updated every `every` iterations, or what `report` is told (watch="validation").

This is the dual method for constrained problems (D. P. Bertsekas, Nonlinear Programming, 1999, section 6.3) with steps
in the logarithm, as A. Stooke, J. Achiam, P. Abbeel, Responsive Safety in Reinforcement Learning by PID Lagrangian
Methods, ICML 2020, arXiv:2007.03964, use it (their K_I alone).
"""

from __future__ import annotations

import math
from typing import Any

from ...core import options
from .base import Seen, Strength

WATCHED = ("loss", "validation")
#: weight of an iteration in the running mean of the training loss
MEMORY = 0.05


class DualAscent(Strength):
    """See the module's text.  quality: the running q; best: the least so far."""

    kind = "dual_ascent"
    remembered = (*Strength.remembered, "_level", "quality", "best", "at_floor")

    def __init__(self, numbers: dict[str, Any]) -> None:
        super().__init__()
        self.numbers = numbers
        self._level = float(numbers["start"])
        self.quality = self.best = math.inf
        self.at_floor = 0

    @property
    def level(self) -> float:
        return self._level

    @property
    def higher_is_better(self) -> bool:
        return bool(self.numbers["higher_is_better"])

    def see(self, seen: Seen) -> float:
        n = self.numbers
        if n["watch"] == "loss":
            self.quality = seen.task if math.isinf(self.quality) else self.quality + MEMORY * (seen.task - self.quality)
            if (self.iteration + 1) % n["every"] == 0:
                self._update(self.quality)
        return self._level

    def report(self, metric: float) -> None:
        """`metric`: a loss on validation data, lower is better, or with higher_is_better=True a score."""
        found = options.number("metric", metric)
        if self.numbers["watch"] == "validation":
            self.quality = -found if self.numbers["higher_is_better"] else found
            self._update(self.quality)

    def _update(self, quality: float) -> None:
        n = self.numbers
        self.best = min(self.best, quality)
        known = n["reference"]
        reference = self.best if known is None else (-known if n["higher_is_better"] else known)
        budget = n["budget"] * (abs(reference) if n["relative"] else 1.0)
        excess = (quality - reference - budget) / max(budget, 1e-300)
        wanted = self._level * math.exp(-n["rate"] * min(max(excess, -1.0), 1.0))
        self._level = min(max(wanted, n["low"]), n["high"])
        self.at_floor = self.at_floor + 1 if wanted < n["low"] else 0
        if self.at_floor >= n["floor_patience"]:
            self.switch_off(
                f"the quality stays out of its budget at the least strength, {n['low']:g}: this task has no headroom"
            )

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, **{name: value for name, value in self.numbers.items() if value is not None}}


def dual_ascent(
    start: float = 0.1,
    budget: float = 0.02,
    *,
    watch: str = "loss",
    relative: bool | None = None,
    higher_is_better: bool = False,
    reference: float | None = None,
    rate: float = 0.2,
    low: float = 1e-3,
    high: float = 10.0,
    every: int = 10,
    floor_patience: int = 10,
) -> DualAscent:
    """As strong as the quality allows; see the module's text for the rule.

    start, low, high    the first strength, the least, the largest: positive.
    budget              how much worse the quality may be than the reference; positive.
    watch               "loss": the running mean of the training loss; "validation": what `report` is told.
    relative            whether the budget is a share of the reference; None: for losses, and not for scores.
    higher_is_better    whether `report` is told a score; only with watch="validation".
    reference           the quality to compare with, in the units of what is watched; None: the best so far.
    rate                largest change of the logarithm of the strength in an update.
    every               iterations between two updates, with watch="loss".
    floor_patience      updates in a row that would go below `low`, after which the strength is off.

    The strength is in ratio units inside `ratio(dual_ascent())`, and raw by itself.  ValueError for what is out of
    range.
    """
    watch, higher = options.choice("watch", watch, WATCHED), options.flag("higher_is_better", higher_is_better)
    if higher and watch == "loss":
        raise ValueError('higher_is_better is about what report() is told: pass watch="validation" with it')
    numbers = {
        "start": options.positive("start", start),
        "budget": options.positive("budget", budget),
        "watch": watch,
        "relative": (not higher) if relative is None else options.flag("relative", relative),
        "higher_is_better": higher,
        "reference": options.number("reference", reference, none=True),
        "rate": options.positive("rate", rate),
        "low": options.positive("low", low),
        "high": options.positive("high", high),
        "every": options.count("every", every),
        "floor_patience": options.count("floor_patience", floor_patience),
    }
    if not numbers["low"] <= numbers["start"] <= numbers["high"]:
        raise ValueError(f"start must lie between low and high, got low={low!r}, start={start!r}, high={high!r}")
    return DualAscent(numbers)
