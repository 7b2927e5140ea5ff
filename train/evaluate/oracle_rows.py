"""The rows of a comparison that no controller could fill: the best step sequences of single instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...integrators.methods import tableaus
from ..oracle.oracle import PRICES, Oracle, OracleCurve
from .curves import COVERAGE, log_work_at
from .metric import Runs
from .splits import Split, Sweep

#: attempts that the law of `reached` may need on an instance which the oracle searches
ORACLE_STEPS = 150


def oracle_rows(split: Split, reached: Sweep, count: int) -> list[Runs]:
    """Two rows on the instances on which the law of `reached` needs at most `ORACLE_STEPS` attempts.

    "oracle": optimal step sequences of the first `count` instances, errors cancelling as they can be made to.
    "plan": the best sequences without designed cancellation, on all of the instances that the plans cover: what perfect
    foresight, but no luck, would need.  ValueError where no instance is small enough.
    """
    oracle, levels = Oracle(split.batch.rhs, tableaus.get(split.method)), split.family.error_levels
    enough = np.where(reached.err <= levels.min(), reached.attempts, np.inf).min(axis=1)
    rows = np.flatnonzero(enough <= ORACLE_STEPS)
    if rows.size == 0:
        raise ValueError(f"no instance is small enough for the oracle (at most {ORACLE_STEPS} steps)")
    best = [oracle.curve(*_instance(split, i), components=split.family.components) for i in rows[:count]]
    out = [_as_runs("oracle", best, split.ids[rows[:count]])]
    plans = {i: plan for i in rows if (plan := _plan(oracle, split, i)) is not None}
    return [*out, _as_runs("plan", list(plans.values()), split.ids[list(plans)])] if plans else out


def _instance(split: Split, i: Any) -> tuple[Any, ...]:
    """Initial state, parameters, span and reference of an instance."""
    b = split.batch
    return b.y0[i], b.p[i], (b.t0[i], b.t1[i]), split.ref[i, -1]


def _plan(oracle: Oracle, split: Split, i: Any) -> OracleCurve | None:
    """The plans of an instance; None where they do not cover enough of the error levels."""
    try:
        # twice as dense as the family's tolerances in error, as theirs
        plan = oracle.plan(
            *_instance(split, i), rtol=1e-6, subdivide=6, prices=PRICES[::2], components=split.family.components
        )
    except ValueError:  # the coarse controller that sets the nodes fails on it
        return None
    covered = plan.err.size and np.isfinite(log_work_at(plan.err, plan.nfev, split.family.error_levels)).mean()
    return plan if covered >= COVERAGE else None


def _as_runs(name: str, found: Sequence[OracleCurve], ids: np.ndarray) -> Runs:
    width = max(c.err.size for c in found)
    # shorter curves repeat their last point, which changes no envelope
    err, nfev = (
        np.array([np.pad(getattr(c, k), (0, width - c.err.size), mode="edge") for c in found]) for k in ("err", "nfev")
    )
    return Runs(name, err, {"nfev": nfev.astype(float)}, kind="oracle", instances=ids)
