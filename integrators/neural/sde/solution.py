"""What `sdeint` returns: a NeuralSolution with the Brownian motion at the outputs, and counts of both fields."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...kernels.layout import MESSAGES, SUCCESS, message
from ..solution import CallCount, Heuristics, NeuralSolution, NeuralStats
from .plan import Plan, Taken

Tensor = torch.Tensor


@dataclass(frozen=True, repr=False)
class SDEHeuristics(Heuristics):
    """E and S of the accepted steps as in `Heuristics`; S is divided by the size of the method's region of stability.

    method: a name of `methods.sde`.  S is None but for sosri.
    """

    @property
    def stability_radius(self) -> float:
        """1: S counts in units of it already."""
        return 1.0

    @property
    def R_S(self) -> Tensor:
        """sum_j S_j |h_j|: (B,) with steps per sample, else 0-d.  ValueError where the method has no S."""
        if self.S is None:
            raise ValueError(f"method {self.method!r} has no stiffness estimate: use sosri")
        return (self.S * self.h).sum(0)


@dataclass(frozen=True, repr=False)
class SDEStats(NeuralStats):
    """Counts of a solve as in `NeuralStats`, where nfev counts the drift.

    ngev              calls of the diffusion in the pass, each for the whole batch, looks at it included.
    ngev_per_sample   (B,) int, evaluations of it that the sample itself needed.
    nfev_replay       calls of the drift in the replay.
    """

    ngev: int = 0
    ngev_per_sample: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, repr=False)
class SDESolution(NeuralSolution):
    """Solution of a batch of stochastic differential equations: a NeuralSolution, and

    W    (T, B, D) float64 (or (T, B, 1) with scalar noise, without B of one system) the Brownian motion at the output
         times, zero at the first one, without gradient.
    """

    W: Tensor | None = None
    _states: Tensor | None = field(default=None, repr=False)

    @property
    def states(self) -> Tensor:
        """(n_steps, B, *features) the states that the accepted steps began at, without gradient; behind a sample's last
        step its y0.  ValueError where they were not kept."""
        if self._states is None:
            raise ValueError("the states of the steps were not kept: solve with keep_states=True")
        return self._states

    def detach(self) -> SDESolution:
        """The same solution without gradient, which holds no graph.  No copy is made."""
        heuristics = None if self.heuristics is None else self.heuristics.detach()
        return replace(self, y=self.y.detach(), heuristics=heuristics)


def solution_of(
    plan: Plan,
    taken: Taken,
    y0: Tensor,
    t: Tensor,
    counts: tuple[int, int, int, CallCount],
    wall_s: float,
    scale: float,
) -> SDESolution:
    """The answer; t: the times as they were given; y0: the state likewise; counts: calls of drift and diffusion in the
    pass, of the drift that only looked, and the count of the replay; scale: the controller's tolerance scale."""
    done, single = taken.done, y0.dim() == 1
    batch = 1 if single else len(y0)
    path = taken.path[:, 0] if single else taken.path
    return SDESolution(
        t=t,
        y=taken.y.reshape(len(plan.t), *y0.shape),
        success=bool((done.status == SUCCESS).all()),
        message=_message(done.status, int(_over(taken).sum()), None if plan.coupled else batch, scale),
        t_last=_spread(done.t_last, batch),
        y_last=done.y_last.detach().reshape(y0.shape).clone(),
        stats=_stats(taken, batch, counts, wall_s),
        heuristics=_heuristics(plan, taken) if plan.heuristics else None,
        tolerance_scale=scale,
        W=path,
        _states=None if taken.states is None else taken.states.reshape(-1, *y0.shape),
    )


def _spread(lanes: np.ndarray, batch: int) -> np.ndarray:
    """Numbers of lanes as numbers of samples, (batch,)."""
    return np.broadcast_to(lanes, (batch,)).copy()


def _over(taken: Taken) -> np.ndarray:
    """Accepted steps of each lane whose scaled error exceeded 1."""
    return np.count_nonzero(taken.done.grid.err > 1.0, axis=0)


def _message(status: np.ndarray, over: int, batch: int | None, scale: float) -> str:
    """One line on how the solve ended; batch: number of samples, None with one step for all."""
    failed = status[status != SUCCESS]
    if len(failed) == 0:
        return message(SUCCESS, over, scale)
    first = MESSAGES[int(failed[0])].replace("right-hand side", "drift, diffusion")
    return first if batch is None else f"{len(failed)} of {batch} samples failed; the first: {first}"


def _stats(taken: Taken, batch: int, counts: tuple[int, int, int, CallCount], wall_s: float) -> SDEStats:
    done, over = taken.done, _over(taken)
    return SDEStats(
        nfev=counts[0],
        nfev_check=counts[2],
        ngev=counts[1],
        naccept=int(done.naccept.sum()),
        nreject=int(done.nreject.sum()),
        nfallback=int(done.nfallback.sum()),
        status=_spread(done.status, batch),
        nfev_per_sample=_spread(done.nfev, batch),
        ngev_per_sample=_spread(taken.drawn, batch),
        naccept_per_sample=_spread(done.naccept, batch),
        nreject_per_sample=_spread(done.nreject, batch),
        nfallback_per_sample=_spread(done.nfallback, batch),
        naccept_over=int(over.sum()),
        naccept_over_per_sample=_spread(over, batch),
        wall_s=wall_s,
        first_step=_spread(done.h_first, batch),
        _gradient_calls=counts[3],
    )


def _heuristics(plan: Plan, taken: Taken) -> SDEHeuristics:
    """E and S of the accepted steps: with gradient where they have one, else the numbers of the pass."""
    grid, like = taken.done.grid, taken.y

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device=like.device, dtype=like.dtype)

    def lanes(x: Tensor) -> Tensor:
        return x[:, 0] if plan.coupled else x

    err, stiff = taken.err, taken.stiff
    if err is None:
        err = tensor(grid.err)
    if stiff is None and plan.method.stiffness is not None and grid.hs is not None:
        stiff = tensor(grid.hs / np.where(grid.h > 0, grid.h, 1.0) / plan.method.stiffness[2])
    start = torch.from_numpy(grid.t.copy()).to(like.device)
    some = None if stiff is None else lanes(stiff)
    return SDEHeuristics(lanes(start), lanes(tensor(grid.h)), lanes(err), some, plan.method.name)
