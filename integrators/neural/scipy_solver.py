"""Solves by SciPy's solvers, outside torch: float64 on the CPU, without gradient.

func is asked in the state's own dtype and device, one call a slope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

from .failures import SolveFailed

Tensor = torch.Tensor
SOLVERS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


@dataclass(frozen=True)
class Scipy:
    """What SciPy is asked for.

    solver      one of SOLVERS, or a class of SciPy's kind.
    min_step    0.0 for none; for LSODA alone.
    max_step    None for none.
    rtol, atol  numbers, or tensors (D,).
    """

    solver: Any
    min_step: float
    max_step: float | None
    rtol: Any
    atol: Any

    def integrate(self, slope: Callable[[Tensor, Tensor], Tensor], y0: Tensor, t: Tensor) -> Tensor:
        """The states (T, D) at the times t (T,), from y0 (D,) at t[0], without gradient.

        Raises SolveFailed where the solver gives up, or where its numbers are not finite.
        """
        times = t.detach().double().cpu().numpy()

        name = self.solver if isinstance(self.solver, str) else self.solver.__name__

        def rhs(at: float, y: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                found = slope(y0.new_tensor(at), y0.new_tensor(y)).detach().double().cpu().numpy()
            # others take a shorter step; none can at the start, and LSODA would go on for ever
            if (at == times[0] or name == "LSODA") and not np.isfinite(found).all():
                raise SolveFailed(f"SciPy's {name} failed at t = {at:.6g}: the slope is not finite. What helps: a "
                                  "field that stays bounded, a shorter span, another solver")
            return found

        limits = {"min_step": self.min_step} if self.min_step > 0.0 else {}
        if self.max_step is not None:
            limits["max_step"] = self.max_step
        rtol, atol = (x.double().cpu().numpy() if isinstance(x, Tensor) else x for x in (self.rtol, self.atol))
        start = y0.detach().double().cpu().numpy()
        done = solve_ivp(rhs, times[[0, -1]], start, self.solver, times, rtol=rtol, atol=atol, **limits)
        if not done.success:
            raise SolveFailed(f"SciPy's {name} failed: {done.message} What helps: looser tolerances, a field that "
                              "stays bounded, another solver")
        if not np.isfinite(done.y).all():
            raise SolveFailed(f"SciPy's {name} found numbers that are not finite. What helps: a field that stays "
                              "bounded, a shorter span")
        return torch.from_numpy(np.ascontiguousarray(done.y.T)).to(y0)
