"""Steps of a given size by implicit Runge-Kutta methods, and the same steps of the adjoint equations.

Stages that depend on one another are found together by Newton's method, to round-off (`newton`); where the rows are
lower triangular, one after another.  Coefficients are in `implicit_rules`.

Going backwards, state, cotangent and parameters' integral are one system, of which only the state's stages are found by
iterations.  With J_i at those stages the cotangent's are a linear system of the same size, A_i being its stages,

    A_i = a - h sum_j a_ij J_j^T A_j,        a_new = a - h sum_i b_i J_i^T A_i,

and the parameters' integral gains -h sum_i b_i (df/dtheta)_i^T A_i: the method's own step of the whole system, without
second derivatives of f and without matrices of the parameters' size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch

from . import newton
from .failures import SolveFailed
from .fixed import Grid, Slope, Stepper, Steps, advanced
from .implicit_rules import EXACT, Exact

Tensor = torch.Tensor
#: iterations that torchdiffeq allows
ITERATIONS = 100


@dataclass(frozen=True)
class Implicit:
    """An implicit Runge-Kutta method, whose iterations end after `most`."""

    name: str
    exact: Exact
    most: int = ITERATIONS

    @cached_property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The rows a_ij."""
        return tuple(tuple(self.exact.rounded(x) for x in row) for row in self.exact.a)

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        """The nodes c."""
        return tuple(self.exact.rounded(x) for x in self.exact.c)

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """The weights b."""
        return tuple(self.exact.rounded(x) for x in self.exact.b)

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The stages that are found together, in their order."""
        s = len(self.nodes)
        triangular = not any(self.rows[i][j] for i in range(s) for j in range(i + 1, s))
        return tuple(range(i, i + 1) for i in range(s)) if triangular else (range(s),)

    def own(self, block: range, like: Tensor) -> Tensor:
        """The coefficients of a block's stages among themselves."""
        return like.new_tensor([[self.rows[i][j] for j in block] for i in block])

    def bases(self, y: Tensor, h: Tensor, ks: list[Tensor], block: range) -> list[Tensor]:
        """What the slopes `ks` of the stages before a block make of y, for each of the block's."""
        return [advanced(y, h, self.rows[i][: len(ks)], ks) for i in block]

    def steps(self, grid: Grid, slope: Slope) -> Steps:
        """What takes the steps of a solve."""
        return _Forward(self, grid, slope)

    def steps_back(self, grid: Grid, system: Any) -> Steps:
        """What takes the steps of the adjoint `system` (`fixed_adjoint.Augmented`)."""
        return _Backward(self, grid, system)


METHODS = {name: Implicit(name, exact) for name, exact in EXACT.items()}


class _Forward(Stepper):
    def __init__(self, method: Implicit, grid: Grid, slope: Slope) -> None:
        super().__init__(grid, slope)
        self.method = method

    def stages(self, t0: Tensor, t1: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor]:
        """The slopes of all stages, and the slope at t0."""
        method, h = self.method, (t1 - t0).to(y.dtype)
        start = self.at(t0, y, t1)
        ks: list[Tensor] = []
        for block in method.blocks:
            bases, own = method.bases(y, h, ks, block), method.own(block, y)
            if not own.any():
                i = block.start
                ks.append(start if i == 0 and method.nodes[0] == 0.0 else self.node(t0, t1, method.nodes[i], bases[0]))
                continue

            def slope(i: int, y: Tensor, block: range = block) -> Tensor:
                return self.node(t0, t1, method.nodes[block[i]], y)

            try:
                ks.extend(newton.solve(newton.Stages(slope, own, method.most), torch.stack(bases), h, start))
            except newton.NoConvergence as error:
                raise SolveFailed(
                    f"the solve failed at t = {float(t0.detach()):.6g}: the stages of {method.name!r} for a step of "
                    f"size {abs(float(h.detach())):.6g} were not found, {error}. What helps: a smaller "
                    "options['step_size'] (without one a step is as long as the time between two outputs)"
                ) from None
        return ks, start

    def step(self, t0: Tensor, t1: Tensor, y: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                f"method {self.method.name!r} differentiates func to find its stages, which torch.inference_mode does "
                "not allow: use torch.no_grad"
            )
        ks, start = self.stages(t0, t1, y)
        return advanced(y, (t1 - t0).to(y.dtype), self.method.weights, ks), lambda: start


class _Backward(Stepper):
    """The same for the vectors (state, cotangent, parameters' integral) of an adjoint system."""

    def __init__(self, method: Implicit, grid: Grid, system: Any) -> None:
        super().__init__(grid, system)
        self.method, self.system, self.forward = method, system, _Forward(method, grid, system.slope)

    def step(self, t0: Tensor, t1: Tensor, z: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        method, h, width = self.method, (t1 - t0).to(z.dtype), self.system.width
        y, a, integral = z[:width], z[width : 2 * width], z[2 * width :]
        ks, _ = self.forward.stages(t0, t1, y)

        def slope(i: int, y: Tensor) -> Tensor:
            return self.node_of_state(t0, t1, method.nodes[i], y)

        at = torch.stack([advanced(y, h, row, ks) for row in method.rows])
        f, jacobians = newton.evaluated(slope, at)
        pulled, cotangents = self._cotangents(a, h, jacobians)
        new = advanced(a, h, method.weights, pulled)
        weights = h * z.new_tensor(method.weights)
        integral = integral + self.system.pulled(f, -weights[:, None] * torch.stack(cotangents))
        y = advanced(y, h, method.weights, ks)
        return torch.cat([y, new, integral]), partial(self.at, t0, z, t1)

    def node_of_state(self, t0: Tensor, t1: Tensor, c: float, y: Tensor) -> Tensor:
        """The state's slope at a node."""
        return self.forward.node(t0, t1, c, y)

    def _cotangents(self, a: Tensor, h: Tensor, jacobians: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The slopes -J_i^T A_i of the cotangent in all stages, and the stages A_i."""
        method = self.method
        ks: list[Tensor] = []
        stages: list[Tensor] = []
        for block in method.blocks:
            bases = torch.stack(method.bases(a, h, ks, block))
            turned = -jacobians[block.start : block.stop].mT
            matrix = newton.matrix(method.own(block, a), h, turned)
            # (I - h A * (-J^T)) K = -J^T (base) gives the slopes
            slopes = (turned @ bases[:, :, None])[:, :, 0]
            found = torch.linalg.solve(matrix, slopes.reshape(-1)).view_as(bases)
            stages.extend(bases + h * (method.own(block, a) @ found))
            ks.extend(found)
        return ks, stages
