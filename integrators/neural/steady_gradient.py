"""The gradient of a steady state z = f(z, x), by the implicit function theorem.

    dz = (I - J)^-1 (df at constant z),    J = df/dz at the steady state,

so that a loss L with the gradient g = dL/dz has, in whatever else f depends on,

    dL = w . (df at constant z),    (I - J^T) w = g.

J^T w is one vector-Jacobian product of f at the steady state, for all samples at once; how it came about leaves no
graph.  The linear system is solved by `krylov` in the backward pass.

S. Bai, J. Z. Kolter, V. Koltun, Deep Equilibrium Models, NeurIPS 2019, theorem 1.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core.errors import outside
from .krylov import Found, fixed_point, gmres

Tensor = torch.Tensor


class LinearRecord:
    """What the backward passes of a steady state have done so far.

    products   vector-Jacobian products of f, all backward passes together.
    last       how many of them the last linear solve took; None before the first backward pass.
    residual   (B,) float64, ||g - (I - J^T) w|| / (||g|| + ||w||) of the last one; zero where g is, NaN where g is not
               finite.
    """

    def __init__(self) -> None:
        self.products = 0
        self.last: int | None = None
        self.residual: np.ndarray | None = None


@dataclass(frozen=True)
class LinearSolver:
    """How (I - J^T) w = g is solved: the options of `steady_state` of the same names."""

    gradient: str
    tol: float
    most: int
    on_failure: str


class Equation:
    """f at the steady states, with its graph.

    f, z   (lanes, width): f at the leaf z.
    ok     (lanes,) bool: the lanes that have a steady state; the others get no gradient.
    """

    def __init__(self, f: Tensor, z: Tensor, ok: Tensor, how: LinearSolver, record: LinearRecord) -> None:
        self.f, self.z, self.ok, self.how, self.record = f, z, ok, how, record

    def transposed(self, w: Tensor) -> Tensor:
        """J^T w."""
        self.record.products += 1
        (found,) = torch.autograd.grad(self.f, self.z, w, retain_graph=True, allow_unused=True)
        return torch.zeros_like(w) if found is None else found

    def solve(self, g: Tensor) -> Tensor:
        """w for the gradient g (lanes, width) of the loss in the steady states.

        RuntimeError, or a UserWarning, where it is not found; under on_failure="mask" it is then zero.
        """
        how, record = self.how, self.record
        g = torch.where(self.ok[:, None], g, 0.0)
        find = gmres if how.gradient == "gmres" else fixed_point
        found = find(self.transposed, g, how.tol, how.most)
        record.last, record.residual = found.products, found.residual.double().cpu().numpy()
        if bool(found.done.all()):
            return found.w
        text = _told(found, how)
        if how.on_failure == "raise":
            raise RuntimeError(text)
        rest = "these samples add nothing to the gradient" if how.on_failure == "mask" else "the gradient is as wrong"
        warnings.warn(f"{text}; {rest}", stacklevel=outside())
        return torch.where(found.done[:, None], found.w, 0.0) if how.on_failure == "mask" else found.w


def _told(found: Found, how: LinearSolver) -> str:
    """What is wrong with a linear solve, and what helps."""
    failed, worst = ~found.done, float(found.residual[~found.done].max())
    many = f"{int(failed.sum())} of {len(failed)} samples"
    said = (
        f'the linear solve of the gradient of a steady state (gradient="{how.gradient}") did not converge for {many}: '
        f"a residual of {worst:.2g} after {found.products} products, where gradient_tol asks for {how.tol:g}"
    )
    if how.gradient == "fixed_point":
        return (
            f'{said}. Where f does not contract in z the iteration diverges: use gradient="gmres"; where it contracts '
            "slowly a larger gradient_max_iter helps"
        )
    return (
        f"{said}. What helps: a larger gradient_max_iter or gradient_tol, float64, or an f that contracts; where "
        "I - df/dz is singular there is no gradient"
    )


def wants_gradient(f: Tensor, z: Tensor) -> bool:
    """Whether f depends on anything that requires a gradient besides the leaf z.

    A function of one's own may use what its node does not show (a checkpoint does): then it counts as one that does.
    """
    todo, seen = [f.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(node, torch.autograd.function.BackwardCFunction) or leaf is not None and leaf is not z:
            return True
        todo.extend(earlier for earlier, _ in node.next_functions)
    return False


class Implicit(torch.autograd.Function):
    """Steady states z (lanes, width) with the gradient that they have through f (lanes, width); zero in z0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, f: Tensor, z0: Tensor, equation: Equation) -> Tensor:
        ctx.equation = equation
        return z.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a steady state has first derivatives only (create_graph=True): for second ones take the gradient "
                "through the steps, odeint(lambda t, z: func(z, x) - z, ...)"
            )
        with torch.autocast(g.device.type, enabled=False):
            w = ctx.equation.solve(g)
        return None, w, torch.zeros_like(g) if ctx.needs_input_grad[2] else None, None
