"""Neural differential equations with PyTorch: solver, module, regularisers and strengths, with controllers by name,
path or object.

    ode = ss.neural.NeuralODE(func, rtol=1e-5, atol=1e-5, regulariser="er_mean")
    strength = ss.neural.strength.exponential(100.0, 10.0, n=iterations)
    out = ode(y0, t)
    loss = task_loss(out.y[-1]) + strength(k) * out.penalty
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from .. import controller as _resolve
from ..integrators.core import options as _options
from ..integrators.neural import NeuralSolution, regularisers, strength
from ..integrators.neural import odeint as _odeint
from ..integrators.neural.graphs import outside_graphs as _outside_graphs
from ..integrators.neural.module import NeuralODE as _NeuralODE
from ..integrators.neural.module import NeuralOutput
from ..integrators.neural.regularisers import REGULARISERS, Regulariser, regulariser

__all__ = [
    "REGULARISERS", "NeuralODE", "NeuralOutput", "NeuralSolution", "odeint", "regulariser", "regularisers", "strength",
]  # fmt: skip

_Func = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@_outside_graphs
@_options.named
def odeint(
    func: _Func,
    y0: torch.Tensor,
    t: Any,
    method: str = "tsit5",
    controller: Any = "pi34",
    rtol: float = 1e-6,
    atol: float = 1e-9,
    adjoint: str = "discrete",
    *,
    per_sample: bool | None = None,
    first_step: float | None = None,
    max_steps: int = 10_000,
    checkpoint_every: int | None = None,
    checkpoint: str | None = None,
    checkpoint_mb: float | None = None,
    heuristics: bool | str = True,
    compact: bool = False,
    even_steps: bool = False,
    adjoint_params: Iterable[torch.Tensor] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
) -> NeuralSolution:
    """Solve y' = func(t, y) for a batch y0 (B, *features) or one system (D,) through the times t.

    `controller` is a name, the path of a controller file, or an object; all else as for
    `stepsmith.integrators.neural.odeint`, which says what the arguments are, what is raised, and what the solution
    holds.
    """
    given = locals()
    return _odeint(**{**given, "controller": _resolve(controller, None, method)})


class NeuralODE(_NeuralODE):
    """`stepsmith.integrators.neural.module.NeuralODE` with the controller a name, the path of a controller file, or an
    object."""

    @_options.named
    def __init__(
        self,
        func: _Func,
        method: str = "tsit5",
        controller: Any = "pi34",
        rtol: float = 1e-6,
        atol: float = 1e-9,
        *,
        adjoint: str = "discrete",
        per_sample: bool | None = False,
        regulariser: Regulariser | str | None = None,
        warm_start: bool = False,
        steps: str = "plain",
        on_failure: str = "raise",
        first_step: float | None = None,
        max_steps: int = 10_000,
        checkpoint_every: int | None = None,
        checkpoint: str | None = None,
        checkpoint_mb: float | None = None,
        heuristics: bool | str | None = None,
        compact: bool = False,
        even_steps: bool = False,
        adjoint_params: Iterable[torch.Tensor] | None = None,
        adjoint_rtol: float | None = None,
        adjoint_atol: float | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(**{**given, "controller": _resolve(controller, None, method)})
