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
from ..integrators.neural import NeuralSolution, regularisers
from ..integrators.neural import odeint as _odeint
from ..integrators.neural.fixed import RULES as _RULES
from ..integrators.neural.graphs import outside_graphs as _outside_graphs
from ..integrators.neural.module import NeuralODE as _NeuralODE
from ..integrators.neural.module import NeuralOutput
from ..integrators.neural.module import refuse_grid as _refuse_grid
from ..integrators.neural.regularisers import REGULARISERS, Regulariser, regulariser
from . import strength
from .calibration import Calibration, calibrate
from .tolerance import as_in as _as_in
from .tolerance import easing as _easing

__all__ = [
    "REGULARISERS", "Calibration", "NeuralODE", "NeuralOutput", "NeuralSolution", "calibrate", "odeint", "regulariser",
    "regularisers", "strength",
]  # fmt: skip

_Func = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@_outside_graphs
@_options.named
def odeint(
    func: Callable[[torch.Tensor, Any], Any],
    y0: Any,
    t: Any,
    method: str = "tsit5",
    controller: Any = "pi34",
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    adjoint: str = "discrete",
    *,
    per_sample: bool | None = None,
    first_step: Any = None,
    max_steps: int = 10_000,
    checkpoint_every: int | None = None,
    checkpoint: str | None = None,
    checkpoint_mb: float | None = None,
    heuristics: bool | str = True,
    compact: bool = False,
    even_steps: bool = False,
    tolerance: str | None = None,
    adjoint_params: Iterable[torch.Tensor] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    norm: Callable[[Any], Any] | None = None,
    min_step: float | None = None,
    max_step: float | None = None,
    step_t: Any = None,
    jump_t: Any = None,
    event_fn: Callable[[torch.Tensor, Any], torch.Tensor] | None = None,
    step_size: float | None = None,
) -> NeuralSolution:
    """Solve y' = func(t, y) for a batch y0 (B, *features), one system (D,), or a state of any form through the times t.

    `controller` is a name, the path of a controller file, or an object.  `tolerance="torchdiffeq"`: rtol and atol mean
    what they mean in torchdiffeq, whose error at them is as large on typical fields (`tolerance.as_in`); OptionError
    where that is not known for method and controller.  All else as for `stepsmith.integrators.neural.odeint`, which
    says what the arguments are, what is raised, and what the solution holds.
    """
    given = locals()
    del given["tolerance"]
    if isinstance(method, str) and method in _RULES:
        if tolerance is not None:
            raise ValueError(f"tolerance means nothing to {method!r}, which has a grid and no error estimate")
        return _odeint(**given)
    law = _as_in(tolerance, _resolve(controller, None, method), method, _easing(even_steps, first_step))
    return _odeint(**{**given, "controller": law})


class NeuralODE(_NeuralODE):
    """`stepsmith.integrators.neural.module.NeuralODE` with the controller a name, the path of a controller file, or an
    object, and with `tolerance` as for `odeint`."""

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
        first_step: float | str | None = None,
        max_steps: int = 10_000,
        checkpoint_every: int | None = None,
        checkpoint: str | None = None,
        checkpoint_mb: float | None = None,
        heuristics: bool | str | None = None,
        compact: bool = False,
        even_steps: bool = False,
        tolerance: str | None = None,
        adjoint_params: Iterable[torch.Tensor] | None = None,
        adjoint_rtol: float | None = None,
        adjoint_atol: float | None = None,
        min_step: float | None = None,
        max_step: float | None = None,
        step_t: Any = None,
        jump_t: Any = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "tolerance", "__class__")}
        _refuse_grid(method)
        eased = _easing(even_steps, first_step, warm_start, steps)
        law = _as_in(tolerance, _resolve(controller, None, method), method, eased)
        super().__init__(**{**given, "controller": law})
