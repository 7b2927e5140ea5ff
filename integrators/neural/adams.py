"""Adams's methods on a grid: the slopes of past steps give the next one.

With the slopes at the last k grid points, and their polynomial p, the explicit method (Bashforth) steps by the integral
of p over the step, in order k.  The implicit one (Moulton) takes the slope at the step's end into the polynomial, order
k + 1, beginning from the explicit one's result and repeating until a repetition changes nothing beyond the tolerance.
Here the polynomial goes through the points where the grid has them: on equal steps that gives the classical
coefficients, and on others those that belong to them, as long as they do not grow (`GROWTH`).  The first steps, and
those after a step that is too long for the past, are taken by "rk4".  These are torchdiffeq's rules but for unequal
steps, on which it uses the coefficients of equal ones.

E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., Springer 1993, sections III.1
and III.5.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from ..core.errors import outside
from .fixed import RULES, Explicit, Grid, Slope, Stepper, Steps

Tensor = torch.Tensor
#: with fewer past slopes steps are taken by "rk4"
FEWEST = 3
#: largest order, and iterations of the implicit method, as in torchdiffeq
ORDER, ITERATIONS = 12, 4
#: past slopes are left out until the coefficients' magnitudes add up to at most so many times those of equal steps
GROWTH = 2.0


@dataclass(frozen=True)
class Adams:
    """Adams's method.

    implicit    Bashforth's result is corrected by Moulton's formula.
    order       the largest one; one below it are the past slopes that are kept.
    most        corrections of a step.
    rtol, atol  a correction of the increment d below atol + rtol |d| in every component is the last one; numbers, or
                tensors (D,).
    """

    name: str
    implicit: bool
    order: int = ORDER
    most: int = ITERATIONS
    rtol: Any = 1e-7
    atol: Any = 1e-9

    def steps(self, grid: Grid, slope: Slope) -> Steps:
        """What takes the steps of a solve."""
        return _Steps(self, grid, slope)

    steps_back = steps


def coefficients(nodes: Tensor) -> Tensor:
    """The integrals (k,) from 0 to 1 of the Lagrange polynomials of the nodes (k,), float64 and differentiable.

    They are integrated by Gauss's formula, which is exact for them.
    """
    x, w = (torch.from_numpy(part).to(nodes.device) for part in _gauss((len(nodes) + 1) // 2))
    own = torch.eye(len(nodes), dtype=torch.bool, device=nodes.device)
    apart = torch.where(own, 1.0, nodes[:, None] - nodes)
    factors = torch.where(own, 1.0, (x[:, None, None] - nodes) / apart)
    return w @ factors.prod(2)


@cache
def _gauss(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of Gauss's formula on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(points)
    return 0.5 * (1.0 + x), 0.5 * w


@cache
def _equal(k: int) -> float:
    """What the magnitudes of the explicit method's coefficients for k equal steps add up to."""
    return float(coefficients(-torch.arange(k, dtype=torch.float64)).abs().sum())


class _Steps(Stepper):
    def __init__(self, method: Adams, grid: Grid, slope: Slope) -> None:
        super().__init__(grid, slope)
        self.method, self.start = method, Explicit(RULES["rk4"], grid, slope)
        #: times and slopes of past grid points, the last one first
        self.past: deque[tuple[Tensor, Tensor]] = deque(maxlen=max(method.order - 1, 1))

    def step(self, t0: Tensor, t1: Tensor, y: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        f0 = self.at(t0, y, t1)
        self.past.appendleft((t0, f0))
        nodes, explicit = self._formula(t0, t1)
        if len(explicit) < FEWEST:
            return self.start.step(t0, t1, y, f0)
        slopes = torch.stack([f for _, f in list(self.past)[: len(explicit)]])
        h = (t1 - t0).to(y.dtype)
        d = h * torch.tensordot(explicit.to(y.dtype), slopes, 1)
        if self.method.implicit:
            d = self._corrected(t0, t1, y, d, h, coefficients(torch.cat([nodes.new_ones(1), nodes])), slopes)
        return y + d, lambda: f0

    def _formula(self, t0: Tensor, t1: Tensor) -> tuple[Tensor, Tensor]:
        """The past points that the step takes, in units of its size from its start, and the explicit coefficients."""
        begin = t0.double()
        nodes = (torch.stack([t.double() for t, _ in self.past]) - begin) / (t1.double() - begin)
        for k in range(min(len(nodes), self.method.order - 1), FEWEST - 1, -1):
            found = coefficients(nodes[:k])
            if float(found.detach().abs().sum()) <= GROWTH * _equal(k):
                return nodes[:k], found
        return nodes[:0], nodes[:0]

    def _corrected(
        self, t0: Tensor, t1: Tensor, y: Tensor, d: Tensor, h: Tensor, implicit: Tensor, slopes: Tensor
    ) -> Tensor:
        """The increment d, corrected until that changes nothing; a warning where it still does."""
        method, weights = self.method, implicit.to(y.dtype)
        rest = h * torch.tensordot(weights[1:], slopes, 1)
        for _ in range(method.most):
            before, d = d, h * weights[0] * self.at(t1, y + d, t0) + rest
            with torch.no_grad():
                allowed = method.atol + method.rtol * torch.maximum(before.abs(), d.abs())
                if bool(((d - before).abs() < allowed).all()):
                    return d
        warnings.warn(
            f"the corrections of {method.name!r} have not converged within {method.most} iterations, and the solution "
            "may be wrong: a smaller options['step_size'], more options['max_iters'], or looser rtol and atol help; "
            'where the problem is stiff, an implicit Runge-Kutta method such as "radauIIA3"',
            stacklevel=outside(),
        )
        self.past.pop()
        return d
