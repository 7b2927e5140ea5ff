"""Global regularisers: the error and stiffness estimates of all accepted steps of the solve.

With E_j, S_j, h_j of the accepted steps j = 1..n of a sample (`integrators/neural/solution.py`):

    er_sum   sum_j E_j h_j          er_mean   (1/n) sum_j E_j h_j       er_max   max_j E_j h_j
    er2_sum  sum_j E_j^2            er2_mean  (1/n) sum_j E_j^2
    sr_sum   sum_j S_j h_j          sr_mean   (1/n) sum_j S_j h_j       sr_max   max_j S_j / r

with r the length of the method's stability interval on the negative real axis (Tsit5 3.5068, DP5 3.3066).  With steps
per sample the penalty is the mean over samples, n being each sample's own number of steps; with one step for the whole
batch the norms behind E and S run over the batch already.  Step sizes are constants: gradients run through stages and
states.

er_sum is R_E, er2_sum R_E2, sr_sum R_S of A. Pal, Y. Ma, V. Shah, C. Rackauckas, Opening the Blackbox: Accelerating
Neural Differential Equations by Regularizing Internal Solver Heuristics, ICML 2021, PMLR 139:8325-8335; er_mean and
sr_max are what the code released with it computes, and its strengths (100 to 10; .0285) belong to those.
"""

from __future__ import annotations

import torch

from ...methods.tableaus import ExplicitTableau
from ...methods.tableaus import get as get_tableau
from ..solution import Heuristics, no_stiffness
from .plan import Func, Reading, Regulariser, Solver, Term

Tensor = torch.Tensor


class StepRegulariser(Regulariser):
    """Reduction ("sum", "mean", "max") over accepted steps of E h ("er"), E^2 ("er2"), S h ("sr"; for "max": S / r)."""

    ends_early = True

    def __init__(self, quantity: str, reduction: str) -> None:
        if quantity not in ("er", "er2", "sr"):
            raise ValueError(f"quantity must be er, er2 or sr; got {quantity!r}")
        if reduction not in ("sum", "mean", "max"):
            raise ValueError(f"reduction must be sum, mean or max; got {reduction!r}")
        self.quantity, self.reduction = quantity, reduction
        self.name = f"{quantity}_{reduction}"
        self.estimates = "S" if quantity == "sr" else "E"

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        if solver is not None:
            self.check_method(solver.method)
        return Term(self._penalty)

    def check_method(self, method: str | ExplicitTableau) -> None:
        """ValueError where `method` has no stiffness estimate and this regulariser needs one."""
        tableau = get_tableau(method)
        if self.quantity == "sr" and tableau.stiffness is None:
            raise no_stiffness(tableau.name, f"{self.name}: ")

    def _penalty(self, reading: Reading) -> Tensor:
        solution = reading.solution
        if solution is None:
            raise ValueError(
                f"{self.name} needs the error and stiffness estimates of every step, which a tensor of states does not "
                "hold: solve with stepsmith.neural.odeint (kinetic, taylor, steer and local regularisers work with any "
                "solver)"
            )
        if solution.heuristics is None:
            raise ValueError(f"{self.name} needs the solver's heuristics: leave heuristics=True")
        estimate = solution.heuristics.E if self.estimates == "E" else solution.heuristics.S
        if solution.y.requires_grad and estimate is not None and not estimate.requires_grad:
            raise ValueError(
                f'{self.name} needs gradients through every step: solve with adjoint="discrete" and '
                f"heuristics={self.estimates!r} or True"
            )
        if len(solution.heuristics.E) == 0:
            # nobody took a step, so nobody reached the end
            return solution.y.new_zeros(())
        values = self._values(solution.heuristics)
        if values.dim() == 1:
            per_lane = self._reduce(values[:, None], values.new_tensor([float(len(values))]))[0]
            return per_lane if bool(reading.ok.all()) else values.new_zeros(())
        count = torch.from_numpy(solution.stats.naccept_per_sample).to(values)
        return reading.mean(self._reduce(values, count))

    def _values(self, heuristics: Heuristics) -> Tensor:
        if self.quantity == "sr" and heuristics.S is None:
            raise no_stiffness(heuristics.method, f"{self.name}: ")
        if self.quantity == "er":
            return heuristics.E * heuristics.h
        if self.quantity == "er2":
            return heuristics.E * heuristics.E
        assert heuristics.S is not None  # the method has the estimate
        if self.reduction == "max":
            return heuristics.S / heuristics.stability_radius
        return heuristics.S * heuristics.h

    def _reduce(self, values: Tensor, count: Tensor) -> Tensor:
        # rows behind a sample's last step are zero, and nothing here is negative
        if self.reduction == "max":
            return values.amax(0)
        total = values.sum(0)
        return total if self.reduction == "sum" else total / count.clamp(min=1.0)
