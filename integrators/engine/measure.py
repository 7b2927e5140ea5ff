"""What a run is measured by: its family's error, and a controller's sweep over instances and tolerances."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..methods.tableaus import ExplicitTableau
from ..problems.families import Family
from ..problems.problem import Batch
from .costs import NONE, Costs
from .ensemble import solve_ensemble


def errors(family: Family, batch: Batch, y: np.ndarray, ref: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """Errors (B,) of a run by the family's measure: y and ref (B, nt, n), ok (B,) whether the run succeeded (inf where
    not).
    """
    with np.errstate(all="ignore"):
        if family.error == "energy":
            times = batch.times(family.fractions)
            e0 = batch.invariant("energy", batch.t0, batch.y0)
            e = batch.invariant("energy", times, y)
            err = np.max(np.abs((e - e0[:, None]) / e0[:, None]), axis=1)
        else:
            pick = slice(None) if family.components is None else list(family.components)
            size = np.maximum(np.linalg.norm(ref[..., pick], axis=-1), family.floor)
            d = np.linalg.norm((y - ref)[..., pick], axis=-1) / size
            err = np.max(d, axis=1)
    return np.where(ok & np.isfinite(err), err, np.inf)


def sweep(
    family: Family, batch: Batch, ref: np.ndarray, method: str | ExplicitTableau, controller: Any, rtols: np.ndarray,
    max_steps: int = 50_000, costs: Costs = NONE,
) -> tuple[np.ndarray, np.ndarray]:
    """Error and weighted work (B, K) of a controller on every instance at every tolerance, in one ensemble."""
    count, k = len(batch), len(rtols)
    index = np.repeat(np.arange(count), k)
    big = batch[index]
    r = np.tile(np.asarray(rtols, dtype=np.float64), count)
    times = big.times(family.fractions)
    sol = solve_ensemble(
        big, method, controller, r, (r * family.atol_factor)[:, None], t_eval=times, max_steps=max_steps
    )
    reference_states = ref[index] if ref.shape[1] else ref
    assert sol.y_eval is not None  # t_eval was given
    err = errors(family, big, sol.y_eval, reference_states, sol.success)
    return err.reshape(count, k), costs.work(sol.stats).reshape(count, k)
