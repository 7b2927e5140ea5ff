"""Total derivatives of order K along the trajectory (TayNODE).

    R_K = (1/d) int || d^K y / dt^K ||^2 dt,    K = 2, 3

mean over the batch and over the d numbers of a sample; `over="sum"` leaves out 1/d.  A solution whose K-th derivative
is zero is a polynomial of degree K - 1, which a method of order K - 1 follows with any step.  The derivatives are total
ones, field depending on time included:

    D_1 = f,    D_{k+1}(t, y) = dD_k/dt + (dD_k/dy) f(t, y),    d^k y / dt^k = D_k(t, y)

each a Jacobian-vector product in the direction (1, f) by forward mode (`torch.func.jvp`), nested once for K = 3.  func
must be made of operations that forward mode knows, and take t as a tensor.  For K = 2 an evaluation costs about three
of f, for K = 3 about seven.

J. Kelly, J. Bettencourt, M. Johnson, D. Duvenaud, Learning Differential Equations that are Easy to Solve, NeurIPS 2020
(arXiv:2007.04504).  The paper writes the Euclidean norm; the code for MNIST and PhysioNet takes the mean over the
dimension, as here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.func import jvp

from .augment import Integrand
from .kinetic import check_over, mean_integral, square
from .plan import Func, Regulariser, Solver, Term

Tensor = torch.Tensor
ORDERS = (2, 3)


def total_derivative(func: Func, order: int) -> Func:
    """D_order of y' = func(t, y): (t, y) -> d^order y / dt^order, of y's shape."""
    derivative = func
    for _ in range(order - 1):
        derivative = _along(func, derivative)
    return derivative


def _along(func: Func, quantity: Func) -> Func:
    def rate(t: Tensor, y: Tensor) -> Tensor:
        return jvp(quantity, (t, y), (torch.ones_like(t), func(t, y)))[1]

    return rate


class Taylor(Regulariser):
    """R_K with K = `order`, 2 or 3; `over`: "mean" or "sum" over a sample's numbers."""

    integrates = True

    def __init__(self, order: int, over: str = "mean") -> None:
        if order not in ORDERS:
            raise ValueError(f"taylor: order must be one of {ORDERS}, got {order!r}")
        self.order, self.name = order, f"taylor{order}"
        self.over = check_over(self.name, over)

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        def value(f: Func, t: Tensor, y: Tensor, dy: Tensor) -> Tensor:
            # forward mode does not take numbers that share a place, such as another solver's expanded times
            t, y, dy = t.contiguous(), y.contiguous(), dy.contiguous()
            below = total_derivative(f, self.order - 1)
            return square(jvp(below, (t, y), (torch.ones_like(t), dy))[1], self.over)

        return Term(mean_integral, integrand=Integrand(value))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "over": self.over}
