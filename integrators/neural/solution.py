"""What `odeint` returns: the solution, its counts, and the solver's heuristics.

With e_j = h_j sum_i e_i k_i the error estimate of accepted step j, and (k, g)_i, (k, g)_j the method's pair of stages
at c = 1,

    E_j = rms( e_j / (atol + rtol max(|y_j|, |y_{j+1}|)) )         S_j = ||k_j - k_i|| / ||g_j - g_i||

    R_E = sum_j E_j |h_j|          R_E2 = sum_j E_j^2          R_S = sum_j S_j |h_j|

R_E is the error regulariser (ERNODE), R_S the stiffness regulariser (SRNODE) of A. Pal, Y. Ma, V. Shah, C. Rackauckas,
Opening the Blackbox: Accelerating Neural Differential Equations by Regularizing Internal Solver Heuristics, ICML 2021,
PMLR 139:8325-8335.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..core.brief import Brief
from ..methods.tableaus import ExplicitTableau
from ..methods.tableaus import get as get_tableau

Tensor = torch.Tensor


def no_stiffness(method: str, who: str = "") -> ValueError:
    """The error, to be raised, for asking S of a method that has none; `who` is put before it."""
    return ValueError(f"{who}method {method!r} has no stage-based stiffness estimate; use dopri5, tsit5 or dop853")


@dataclass(frozen=True, repr=False)
class Heuristics(Brief):
    """Numbers of every accepted step: (n_steps, B) with steps per sample, zero behind a sample's last step, else
    (n_steps,).

    t, h        start (float64) and positive size (y's dtype) of the steps, without gradient.
    E           scaled error; with gradient under the discrete adjoint only.
    S           stiffness estimate, 1/time; None where the method has no pair of stages for it (bs32, vern7, vern8,
                vern9, fehlberg45, adaptive_heun, fehlberg2).
    method      name of the method.

    E and S with gradient hold the graph of the whole solve.  Whoever keeps them from iteration to iteration keeps
    every graph: keep `detach()`, or the plain `numbers()`.
    """

    t: Tensor
    h: Tensor
    E: Tensor
    S: Tensor | None
    method: str
    _tableau: ExplicitTableau | None = field(default=None, repr=False)

    @property
    def tableau(self) -> ExplicitTableau:
        """The method's coefficients."""
        return self._tableau or get_tableau(self.method)

    @property
    def stability_radius(self) -> float:
        """The length of the method's interval of stability on the negative real axis, in units of 1/(h S)."""
        return self.tableau.stability_radius

    @property
    def R_E(self) -> Tensor:
        """sum_j E_j |h_j|: (B,) with steps per sample, else 0-d."""
        return (self.E * self.h).sum(0)

    @property
    def R_E2(self) -> Tensor:
        """sum_j E_j^2: (B,) with steps per sample, else 0-d."""
        return (self.E * self.E).sum(0)

    @property
    def R_S(self) -> Tensor:
        """sum_j S_j |h_j|: (B,) with steps per sample, else 0-d.  ValueError where the method has no S."""
        if self.S is None:
            raise no_stiffness(self.method)
        return (self.S * self.h).sum(0)

    def detach(self) -> Heuristics:
        """The same numbers without gradient, which hold no graph.  No copy is made."""
        return replace(self, E=self.E.detach(), S=None if self.S is None else self.S.detach())

    def numbers(self) -> dict[str, float]:
        """R_E, R_E2, and R_S where the method has S, as plain numbers for a log; with steps per sample, means over the
        samples.  One transfer from the device each."""
        free = self.detach()
        sums = {"R_E": free.R_E, "R_E2": free.R_E2} | ({} if self.S is None else {"R_S": free.R_S})
        return {name: float(value.mean()) for name, value in sums.items()}


class CallCount:
    """A number of calls that a Field and the stats of its solve share.

    It goes on growing in backward passes, and holds no func.
    """

    def __init__(self) -> None:
        self.calls = 0


@dataclass(frozen=True, repr=False)
class NeuralStats(Brief):
    """Counts of a solve.

    nfev            calls of func in the adaptive pass, each for the whole batch (or what is left of it), those of
                    nfev_check included.
    nfev_check      how many of them only looked at func: whether rows depend on each other (`rows`), in the first solve
                    of a func with steps per sample (1; 3 where it is not deterministic), and whether float32 times will
                    do (`clock`).
    naccept, nreject, nfallback
                    steps accepted, attempts rejected, and attempts decided by the controller's fallback: with steps per
                    sample sums over the samples, else the batch's own.
    status          (B,) int, one a sample: 1 success, negative a failure (`integrators/kernels/layout.py`).
    naccept_over    accepted steps whose scaled error estimate exceeded 1: the controller let them pass.  Summed as
                    naccept.
    *_per_sample    (B,) int; nfev_per_sample counts the evaluations that the sample itself needed in the adaptive pass.
    wall_s          seconds in `odeint`, replay included, backward excluded.
    first_step      (B,) float64, the size that the controller proposed after a sample's first accepted step: what a
                    solve of a problem much like this one does well to begin with.  NaN where no step was accepted.
    """

    nfev: int
    naccept: int
    nreject: int
    nfallback: int
    status: np.ndarray
    nfev_per_sample: np.ndarray
    naccept_per_sample: np.ndarray
    nreject_per_sample: np.ndarray
    nfallback_per_sample: np.ndarray
    wall_s: float
    first_step: np.ndarray
    naccept_over: int
    naccept_over_per_sample: np.ndarray
    nfev_check: int
    _gradient_calls: CallCount = field(repr=False)
    _continuous: bool = field(default=False, repr=False)

    @property
    def nfev_replay(self) -> int:
        """Calls of func in the replay, and with checkpoints the repeats in backward passes done so far.

        Zero where the adaptive pass itself has the gradient: one step size for the batch and no checkpoints.
        """
        return 0 if self._continuous else self._gradient_calls.calls

    @property
    def nfev_backward(self) -> int:
        """Calls of func in the backward solves of a continuous adjoint so far, each with a vector-Jacobian product."""
        return self._gradient_calls.calls if self._continuous else 0


@dataclass(frozen=True, repr=False)
class NeuralSolution(Brief):
    """Solution of a batched initial-value problem.

    t           output times (T,), or (T, B), as given.
    y           (T, B, *features), or (T, D) of one system, in y0's form, each part with T first; outputs that a failed
                sample did not reach, or that lie behind an event, are NaN.
    success     True if every sample reached the last time.
    message     one line saying what happened.
    t_last      (B,) float64, B = 1 for one system: each sample's last good time, or that of its event.
    y_last      of y0's shape: the states there, without gradient.
    stats       NeuralStats.
    heuristics  Heuristics, or None with heuristics=False.
    tolerance_scale
                what the controller multiplied the tolerances asked for by; E counts in those that result.
    event_t     with an event_fn, in t's dtype: the events' times, (B,) with steps per sample, else 0-d; NaN where there
                is none before the end.  None without an event_fn.
    event_y     of y0's shape: the states at the events, NaN where there is none.
    """

    t: Tensor
    y: Any
    success: bool
    message: str
    t_last: np.ndarray
    y_last: Any
    stats: NeuralStats
    heuristics: Heuristics | None
    tolerance_scale: float = 1.0
    event_t: Tensor | None = None
    event_y: Any = None

    @property
    def status(self) -> np.ndarray:
        """(B,) int status a sample."""
        return self.stats.status

    def detach(self) -> NeuralSolution:
        """The same solution without gradient, t, y, events and heuristics, which holds no graph.  No copy is made."""

        def free(state: Any) -> Any:
            return tree.tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, state)

        heuristics = None if self.heuristics is None else self.heuristics.detach()
        held = {name: free(getattr(self, name)) for name in ("t", "y", "event_t", "event_y")}
        return replace(self, **held, heuristics=heuristics)
