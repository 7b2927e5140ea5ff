"""What a feature costs: nanoseconds an attempt in the lanes of an ensemble, measured by leaving it out.

Every selection of features is a kernel of its own.  With weights of 0 all of them take the law's own steps, so that
their seconds differ by what they compute alone.  They take turns, in CPU time, and ratios within a round count: other
jobs on the machine disturb them least.

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
from ...integrators.kernels.build import lanes_for
from ...policies import closed_form
from ..evaluate.clock import copies
from ..evaluate.splits import Split

ROUNDS = 21
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
    whole, parts_of = _turns(split, contestants, rounds)
    less = np.maximum(whole * (1.0 - parts_of[1:]), 0.0)
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


def _turns(split: Split, contestants: Sequence[Learned], rounds: int) -> tuple[float, np.ndarray]:
    """Nanoseconds an attempt of the first contestant, and the time of each over the first's (contestants,).

    The ratios are medians over rounds, in each of which all take their turn, so that what a round does to all of them
    alike cancels.
    """
    rtol = float(split.tolerances[len(split.tolerances) // 2])

    def run(controller: Learned, rows: np.ndarray) -> tuple[float, np.ndarray]:
        batch = split.batch[rows]
        tol = np.full(len(batch), rtol)
        start = time.process_time()
        sol = solve_ensemble(
            batch, split.method, controller, tol, (tol * split.family.atol_factor)[:, None], threads=1
        )
        return time.process_time() - start, sol.stats.naccept + sol.stats.nreject

    _, attempts = run(contestants[0], np.arange(len(split.batch)))
    # the longest runs would be alone in their block, where the lanes beside them idle
    order = np.argsort(-attempts, kind="stable")
    order = order[len(order) // 10 :]
    rows = np.repeat(order, copies(attempts[order].astype(float), lanes_for(split.batch.n)))
    for controller in contestants:  # compiled, and warm
        once, _ = run(controller, rows)
    rows = np.repeat(rows, int(np.clip(np.ceil(LEAST_S / max(once, 1e-6)), 1, 256)))
    found = np.array([[run(controller, rows)[0] for controller in contestants] for _ in range(rounds)])
    whole = 1e9 * float(found[:, 0].min()) / float(attempts[rows].sum())
    return whole, np.median(found / found[:, :1], axis=0)
