"""Kinetic energy of the flow and the size of its Jacobian, integrated along the trajectory (RNODE).

    kinetic     K = (1/d) int ||f(t, y)||^2 dt
    frobenius   F = (1/d) int ||eps^T df/dy||^2 dt,    eps ~ N(0, 1)^d,    E ||eps^T J||^2 = ||J||_F^2
    rnode       energy K + jacobian F

means over the batch and over the d numbers of a sample; `over="sum"` leaves out 1/d.  K favours straight trajectories
of constant speed, F a field that changes little from place to place.  eps is drawn once a solve and a sample, so that
the integrand is smooth in time; F costs one vector-Jacobian product an evaluation.

C. Finlay, J.-H. Jacobsen, L. Nurbekyan, A. Oberman, How to Train Your Neural ODE: the World of Jacobian and Kinetic
Regularization, ICML 2020, PMLR 119:3154-3164 (arXiv:2002.02798), where the loss with both terms is divided by batch
size times dimension and both coefficients are .01.  (Its code has K/2: a coefficient taken from there counts half
here.)
"""

from __future__ import annotations

from typing import Any

import torch

from ...core import options
from .augment import Integrand
from .draws import normal_like
from .plan import Func, Reading, Regulariser, Solver, Sum, Term

Tensor = torch.Tensor


def square(x: Tensor, over: str) -> Tensor:
    """Sum or mean of squares of each sample's numbers, (B,)."""
    squares = (x * x).reshape(len(x), -1)
    return squares.mean(1) if over == "mean" else squares.sum(1)


def check_over(name: str, over: str) -> str:
    """The option `over` of the regulariser `name`, checked."""
    return options.choice(f"{name}: over", over, ("mean", "sum"))


def mean_integral(reading: Reading) -> Tensor:
    """The term's integral, mean over the samples that reached the end."""
    assert reading.integral is not None  # the term has an integrand
    return reading.mean(reading.integral)


class Kinetic(Regulariser):
    """The kinetic energy K of the flow; `over`: "mean" or "sum" over a sample's numbers."""

    name = "kinetic"
    integrates = True

    def __init__(self, over: str = "mean") -> None:
        self.over = check_over(self.name, over)

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        return Term(mean_integral, integrand=Integrand(lambda f, t, y, dy: square(dy, self.over)))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "over": self.over}


class Frobenius(Regulariser):
    """The size F of the Jacobian, by one probe a sample and solve; `over`: "mean" or "sum" over a sample's numbers."""

    name = "frobenius"
    fixed_rows = True
    integrates = True

    def __init__(self, over: str = "mean") -> None:
        self.over = check_over(self.name, over)

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        probe = normal_like(y0.detach(), generator)

        def value(f: Func, t: Tensor, y: Tensor, dy: Tensor) -> Tensor:
            if len(y) != len(probe):
                raise ValueError(
                    f"frobenius: the probe has {len(probe)} rows and the state {len(y)}; solve with compact=False"
                )
            if not dy.requires_grad:
                # f does not depend on y, or on anything that has a gradient
                return y.new_zeros(len(y))
            (product,) = torch.autograd.grad(
                dy, y, probe, create_graph=torch.is_grad_enabled(), retain_graph=True, allow_unused=True
            )
            return y.new_zeros(len(y)) if product is None else square(product, self.over)

        return Term(mean_integral, integrand=Integrand(value, reverse=True))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "over": self.over}


def rnode(energy: float = 1.0, jacobian: float = 1.0, over: str = "mean") -> Sum:
    """The sum energy * K + jacobian * F; both weights are positive."""
    return Sum((energy, Kinetic(over)), (jacobian, Frobenius(over)))
