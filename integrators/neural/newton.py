"""Stage equations of implicit Runge-Kutta methods by Newton's method, and their derivatives.

For the slopes K_i of m stages that depend on one another,

    K_i = f(t_i, y_i + h sum_j a_ij K_j),        (I - h A * J) dK = f - K,    J_i = df/dy at stage i,

where block (i, j) of A * J is a_ij J_i: dense matrices over all m D unknowns, evaluated anew in every iteration.  The
iteration ends at round-off: where a step changes no number by more than a few units in its last place, or where small
steps no longer shrink.  By the implicit function theorem the same matrix at the solution gives what K does as anything
in y_i, h and f moves; it is solved with transposed in the backward pass, and the iterations leave no graph.

E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 2nd ed., Springer 1996, section IV.8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor
#: slope of stage i at a state (D,)
StageSlope = Callable[[int, Tensor], Tensor]
#: a change of as many units in the last place ends the iteration
UNITS = 8.0


class NoConvergence(Exception):
    """Newton's iteration found no solution; the message says why."""


@dataclass(frozen=True)
class Stages:
    """m stage equations.

    slope  of every stage.
    own    (m, m) coefficients among the stages, in the state's dtype.
    most   iterations from each first guess.
    """

    slope: StageSlope
    own: Tensor
    most: int


def solve(stages: Stages, base: Tensor, h: Tensor, guess: Tensor) -> Tensor:
    """The slopes K (m, D) for the states `base` (m, D) without the stages' own part, and the signed size h (0-d).

    Newton starts from the slope `guess` (D,) in all stages, and where that leads nowhere from zero, which begins with
    the step that is implicit in the linear part alone.  K has its gradient in base, h and what f depends on; there are
    no second derivatives.  Raises NoConvergence.
    """
    with torch.no_grad():
        try:
            k = _iterated(stages, base.detach(), h.detach(), guess.detach().expand_as(base))
        except NoConvergence:
            k = _iterated(stages, base.detach(), h.detach(), torch.zeros_like(base))
    if not torch.is_grad_enabled():
        return k
    y = base + h * (stages.own @ k)
    if y.requires_grad:
        f, jacobians = evaluated(stages.slope, y)
    else:
        # what func closes over may want a gradient
        f = torch.stack([stages.slope(i, row) for i, row in enumerate(y)])
        if not f.requires_grad:
            return k
        jacobians = evaluated(stages.slope, y)[1]
    return _Implicit.apply(k, f, matrix(stages.own, h.detach(), jacobians))


def evaluated(slope: StageSlope, y: Tensor) -> tuple[Tensor, Tensor]:
    """The stages' slopes (m, D) at their states y (m, D), with graph, and the matrices J (m, D, D) without."""
    with torch.enable_grad():
        if not y.requires_grad:
            y = y.detach().requires_grad_()
        rows = y.unbind(0)
        fs = [slope(i, row) for i, row in enumerate(rows)]
        jacobians = [_jacobian(f, row) for f, row in zip(fs, rows, strict=True)]
        return torch.stack(fs), torch.stack(jacobians)


def _jacobian(f: Tensor, y: Tensor) -> Tensor:
    unit = torch.eye(len(y), dtype=y.dtype, device=y.device)
    if not f.requires_grad:
        return torch.zeros_like(unit)
    (found,) = torch.autograd.grad(f, y, unit, retain_graph=True, allow_unused=True, is_grads_batched=True)
    return torch.zeros_like(unit) if found is None else found


def matrix(own: Tensor, h: Tensor, jacobians: Tensor) -> Tensor:
    """I - h A * J, (m D, m D)."""
    m, width = jacobians.shape[:2]
    coupled = torch.einsum("ij,ink->injk", h * own, jacobians).reshape(m * width, m * width)
    return torch.eye(m * width, dtype=own.dtype, device=own.device) - coupled


def _iterated(stages: Stages, base: Tensor, h: Tensor, k: Tensor) -> Tensor:
    """K, from the guess k (m, D), without gradient."""
    eps = torch.finfo(base.dtype).eps
    last = torch.inf
    for _ in range(stages.most):
        y = base + h * (stages.own @ k)
        f, jacobians = evaluated(stages.slope, y)
        step, info = torch.linalg.solve_ex(matrix(stages.own, h, jacobians), (f.detach() - k).reshape(-1))
        if int(info) != 0:
            raise NoConvergence("the matrix of Newton's iteration is singular")
        step = step.view_as(k)
        k = k + step
        if not torch.isfinite(k).all():
            raise NoConvergence("the slope is not finite within Newton's iteration")
        moved, size = (h * step).abs(), y.abs() + (h * k).abs()
        most = float(moved.max())
        if bool((moved <= UNITS * eps * size).all()):
            return k
        if most <= eps**0.5 * float(size.max()) and most > 0.5 * last:
            return k
        last = most
    blind = "" if bool(jacobians.any()) else ", in which func shows no derivative in y"
    raise NoConvergence(f"Newton's iteration does not converge ({stages.most} iterations){blind}")


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, k: Tensor, f: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        return k.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (matrix,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            raise RuntimeError(
                "implicit methods have no second derivatives here (create_graph=True): use an explicit method such as "
                '"rk4"'
            )
        return None, torch.linalg.solve(matrix.mT, g.reshape(-1)).view_as(g), None

