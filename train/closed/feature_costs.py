"""What a feature costs: nanoseconds an attempt in the lanes of an ensemble, measured by leaving it out.

Every selection of features is a kernel of its own.  With weights of 0 all of them take the law's own steps, so that
their seconds differ by what they compute alone.  They take turns, and the least of the rounds counts, in CPU time:
other jobs on the machine disturb it least.

What one feature brings when it goes is near the noise, and features share what they compute, so such differences do not
add up to what all of them cost.  That is measured too, with the first feature alone, and the differences are made to
add up to it (`shared_out`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...controllers.learned.network import Learned
from ...controllers.learned.products import parts
from ...integrators import methods
from ...integrators.engine.ensemble import solve_ensemble
from ...policies import closed_form
from ..evaluate.splits import Split

ROUNDS = 11
#: seconds that one timed ensemble is to take at least
LEAST_S = 0.02


@dataclass(frozen=True)
class FeatureCosts:
    """Nanoseconds an attempt of a whole solve.

    whole       with all features and actions
    features    of each of the features, by name
    others      of the actions besides the first, together
    """

    whole: float
    features: dict[str, float]
    others: float = 0.0

    def log_cost(self, controller: Learned, without: str = "") -> float:
        """log of the time of an attempt with a controller's features (but `without`) over that with all of them.

        A product costs what its factors do where they are not there anyway.
        """
        d = controller.decision
        kept = [name for name in d.observation.features if name != without]
        there = {part for name in kept for part in (name, *parts(name))}
        saved = sum(cost for name, cost in self.features.items() if name not in there)
        saved += self.others if d.n_act == 1 else 0.0
        return float(np.log(max(self.whole - saved, 0.05 * self.whole) / self.whole))

    def as_dict(self) -> dict[str, object]:
        """Plain data, for the run folder and the file's provenance."""
        return {
            "ns_an_attempt": round(self.whole, 3),
            "ns_a_feature": {name: round(cost, 3) for name, cost in self.features.items()},
            "ns_other_actions": round(self.others, 3),
        }

    @classmethod
    def restored(cls, state: dict[str, Any]) -> FeatureCosts:
        """What `as_dict` gave."""
        features = {name: float(cost) for name, cost in state["ns_a_feature"].items()}
        return cls(float(state["ns_an_attempt"]), features, float(state["ns_other_actions"]))


def measured(split: Split, controller: Learned, rounds: int = ROUNDS) -> FeatureCosts:
    """The costs of a closed form's features on a split, at the tolerance in the middle of the family's.

    Under implicit methods, whose kernels take long to compile, the features are measured together and share their cost.
    """
    zero = controller.with_weights(np.zeros(controller.n_weights))
    names = list(controller.decision.observation.features)
    if len(names) == 1:
        contestants = [zero]
    elif methods.get(split.method).implicit:
        contestants = [zero, closed_form.selected(zero, names[:1])]
    else:
        contestants = [zero, *(closed_form.selected(zero, [n for n in names if n != name]) for name in names)]
    several = controller.decision.n_act > 1
    if several:
        contestants.append(closed_form.linear(names, controller.decision.law, n_act=1))
    each = len(names) > 1 and not methods.get(split.method).implicit
    if each:
        contestants.append(closed_form.linear(names[:1], controller.decision.law, n_act=1))
    seconds, attempts = _turns(split, contestants, rounds)
    whole = 1e9 * seconds[0] / attempts
    less = np.maximum(whole - 1e9 * seconds[1:] / attempts, 0.0)
    if each:  # all but the first feature, and the other actions, go together in the last one
        less = np.concatenate([less[:1], shared_out(less[1:-1], float(less[-1]))])
    others, less = (float(less[-1]), less[:-1]) if several else (0.0, less)
    if methods.get(split.method).implicit and len(names) > 1:
        less = np.full(len(names), less[0] / (len(names) - 1))
    elif len(names) == 1:
        less = np.zeros(1)
    return FeatureCosts(float(whole), dict(zip(names, less.tolist(), strict=True)), others)


def shared_out(less: np.ndarray, together: float) -> np.ndarray:
    """Costs (k,), measured one by one, made to add up to `together`: what is missing is shared alike, what is too much
    is taken off in proportion.
    """
    total = float(less.sum())
    return less + (together - total) / len(less) if total <= together else less * (together / total)


def _turns(split: Split, contestants: Sequence[Learned], rounds: int) -> tuple[np.ndarray, float]:
    """Least CPU seconds (contestants,) of one ensemble, and the attempts that it makes."""
    rtol = float(split.tolerances[len(split.tolerances) // 2])

    def run(controller: Learned, copies: int) -> tuple[float, float]:
        index = np.tile(np.arange(len(split.batch)), copies)
        batch = split.batch[index]
        tol = np.full(len(batch), rtol)
        start = time.process_time()
        sol = solve_ensemble(
            batch, split.method, controller, tol, (tol * split.family.atol_factor)[:, None], threads=1
        )
        return time.process_time() - start, float(sol.stats.naccept.sum() + sol.stats.nreject.sum())

    for controller in contestants:  # compiled, and warm
        run(controller, 1)
    once, _ = run(contestants[0], 1)
    copies = int(np.clip(np.ceil(LEAST_S / max(once, 1e-6)), 1, 256))
    found = np.zeros((rounds, len(contestants)))
    attempts = 0.0
    for r in range(rounds):
        for i, controller in enumerate(contestants):
            found[r, i], attempts = run(controller, copies)
    return found.min(axis=0), attempts
