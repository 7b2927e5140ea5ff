"""What `solve_ensemble` returns: the end of every trajectory, its counts, and what was kept along the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import OptionError
from ..kernels import layout
from ..problems.states import State
from .dense_output import EnsembleDense
from .ragged import Ragged


@dataclass(frozen=True)
class EnsembleStats:
    """Per trajectory, int64 (B,): nfev, naccept, nreject, nfallback, njev, nlu, nsolve; naccept_over, accepted attempts
    whose scaled error estimate exceeded 1; nswitch, changes of the method in a portfolio.  wall_s: seconds for the
    whole ensemble, without compilation.
    """

    nfev: np.ndarray
    naccept: np.ndarray
    nreject: np.ndarray
    nfallback: np.ndarray
    wall_s: float
    njev: np.ndarray
    nlu: np.ndarray
    nsolve: np.ndarray
    naccept_over: np.ndarray
    nswitch: np.ndarray


@dataclass(frozen=True, repr=False)
class EnsembleSolution:
    """t (B,) times reached; y (B, n) states there; status (B,), success (B,). y_eval (B, k, n) at `t_eval`, NaN where a
    trajectory did not get that far, or None. t_eval: (1, k) or (B, k), or None. output (B, ...): what `output=` made of
    the trajectories, or None. h_next (B,): the step size that would have come next, or None. tolerance_scale: what the
    controller multiplied the tolerances asked for by. t_events, y_events: for every function in `events`, the times
    (`t_events[e][i]`, (k,)) and states (k, n) of trajectory i, or None without. dense: with dense=True, `dense[i](t)`,
    a `DenseOutput`, and `sol(t)` of all of them. method (B,): of a portfolio, the index of the method that was at work
    in the end, or None. Printed, it is a summary of some lines.
    """

    t: np.ndarray
    y: np.ndarray
    status: np.ndarray
    stats: EnsembleStats
    t_eval: np.ndarray | None = None
    y_eval: np.ndarray | None = None
    output: np.ndarray | None = None
    h_next: np.ndarray | None = None
    tolerance_scale: float = 1.0
    t_events: tuple[Ragged, ...] | None = None
    y_events: tuple[Ragged, ...] | None = None
    dense: EnsembleDense | None = None
    method: np.ndarray | None = None

    def __call__(self, t: Any) -> np.ndarray:
        """The states of all trajectories at t (k,), (B, k, n), by dense output; OptionError where that was not kept."""
        if self.dense is None:
            raise OptionError("this solution has no dense output: solve with dense=True")
        return self.dense(t)

    @property
    def success(self) -> np.ndarray:
        """(B,) bool."""
        return (self.status == layout.SUCCESS) | (self.status == layout.EVENT)

    def shaped(self, state: State, output: bool = False) -> EnsembleSolution:
        """This solution with states (..., *shape) in place of vectors of real numbers; output: whether it is states."""
        y_eval = None if self.y_eval is None else state.shaped(self.y_eval)
        kept = state.shaped(self.output) if output and self.output is not None else self.output
        events = None if self.y_events is None else tuple(ragged.shaped(state) for ragged in self.y_events)
        return replace(self, y=state.shaped(self.y), y_eval=y_eval, output=kept, y_events=events)

    def message(self, i: int) -> str:
        """What happened to trajectory i."""
        return layout.message(int(self.status[i]), int(self.stats.naccept_over[i]), self.tolerance_scale)

    def __repr__(self) -> str:
        return "\n".join(_summary(self))


def counted(stat: np.ndarray, wall: float) -> EnsembleStats:
    """Statistics of an ensemble from the kernel's columns `layout.STATS` (B, N_STATS)."""
    by = {name: stat[:, i].astype(np.int64) for i, name in enumerate(layout.STATS) if name.startswith("n")}
    return EnsembleStats(wall_s=wall, nswitch=np.zeros(len(stat), dtype=np.int64), **by)


def from_kernel(
    stat: np.ndarray, y: np.ndarray, wall: float, t_eval: np.ndarray | None, y_eval: np.ndarray | None,
    scale: float = 1.0,
) -> EnsembleSolution:  # fmt: skip
    """The solution from what a kernel wrote: the columns `layout.STATS` (B, N_STATS) and the final states (B, n).

    scale: the controller's tolerance scale.
    """
    status, t, h_next = (stat[:, layout.STATS.index(name)] for name in ("status", "t", "h_next"))
    return EnsembleSolution(
        t.copy(), y, status.astype(np.int8), counted(stat, wall), t_eval, y_eval, h_next=h_next.copy(),
        tolerance_scale=scale,
    )  # fmt: skip


def _summary(sol: EnsembleSolution) -> Iterator[str]:
    count = len(sol.status)
    arrived, stopped = (int(np.count_nonzero(sol.status == kind)) for kind in layout.SUCCESSES)
    failed = count - arrived - stopped
    scale = sol.tolerance_scale
    at = "" if scale == 1.0 else f" at {scale:.3g} times the tolerances asked for"
    yield f"EnsembleSolution of {count} trajectories{at}: {arrived} {layout.MESSAGES[layout.SUCCESS]}" + (
        (f", {stopped} ended at a terminal event" if stopped else "") + (f", {failed} failed" if failed else "")
    )
    kinds, first, sizes = np.unique(sol.status[~sol.success], return_index=True, return_counts=True)
    if kinds.size:
        places = np.flatnonzero(~sol.success)[first]
        yield "  failed: " + "; ".join(
            f"{layout.MESSAGES[int(kind)].partition(';')[0]} ({size}, first {place})"
            for kind, size, place in sorted(zip(kinds, sizes, places, strict=True), key=lambda f: -f[1])
        )
    if count:
        nfev = sol.stats.nfev
        yield (
            f"  evaluations of the right-hand side: {nfev.mean():.1f} on average, {nfev.max()} at most; "
            f"{sol.stats.wall_s / count:.2g} s a trajectory"
        )
    if sol.method is not None and count:
        switches = sol.stats.nswitch
        yield f"  changes of the method: {switches.mean():.1f} on average, {switches.max()} at most"
    over = np.flatnonzero(sol.stats.naccept_over)
    if over.size:
        yield (
            f"  {over.size} with accepted steps whose error estimate was above the tolerance"
            f"{'' if scale == 1.0 else f' times {scale:.3g}'}, which the controller let pass (first {over[0]})"
        )
    for k, times in enumerate(sol.t_events or ()):
        yield f"  event {k}: {len(times.flat)} times, {times.counts.max(initial=0)} at most in a trajectory"
    arrays = {"y": sol.y, "y_eval": sol.y_eval, "output": sol.output}
    yield "  " + ", ".join(f"{name} {value.shape}" for name, value in arrays.items() if value is not None)
