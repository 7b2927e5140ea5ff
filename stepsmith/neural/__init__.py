"""Neural differential equations with PyTorch: solver, module, regularisers and strengths, with controllers by name,
path or object.

    ode = ss.neural.NeuralODE(func, rtol=1e-5, atol=1e-5, regulariser="er_mean")
    strength = ss.neural.strength.exponential(100.0, 10.0, n=iterations)
    out = ode(y0, t)
    loss = task_loss(out.y[-1]) + strength(k) * out.penalty
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..integrators.core import torch_needed as _torch_needed  # noqa: F401 (before torch)

# isort: split
import torch

from .. import controller as _resolve
from ..controllers.strengths import as_strength as _as_strength
from ..integrators.core import options as _options
from ..integrators.neural import NeuralSolution, regularisers
from ..integrators.neural import odeint as _odeint
from ..integrators.neural.fixed import RULES as _RULES
from ..integrators.neural.graphs import outside_graphs as _outside_graphs
from ..integrators.neural.module import NeuralODE as _NeuralODE
from ..integrators.neural.module import NeuralOutput
from ..integrators.neural.regularisers import REGULARISERS, Regulariser, regulariser
from ..integrators.neural.sde.api import sdeint as _sdeint
from ..integrators.neural.sde.module import NeuralSDE as _NeuralSDE
from ..integrators.neural.sde.solution import SDESolution
from ..integrators.neural.spectrum import log_growth as _log_growth
from ..integrators.neural.spectrum import monitor as _monitor
from ..integrators.neural.spectrum_report import Spectrum
from ..integrators.neural.steady import SteadySolution
from ..integrators.neural.steady import steady_state as _steady_state
from ..integrators.neural.steady_module import SteadyOutput
from ..integrators.neural.steady_module import SteadyState as _SteadyState
from . import strength
from .calibration import Calibration, calibrate
from .told import told as _told
from .tolerance import as_in as _as_in
from .tolerance import easing as _easing

__all__ = [
    "REGULARISERS", "Calibration", "NeuralODE", "NeuralOutput", "NeuralSDE", "NeuralSolution", "SDESolution",
    "Spectrum", "SteadyOutput", "SteadySolution", "SteadyState", "calibrate", "log_growth", "monitor", "odeint",
    "regulariser", "regularisers", "sdeint", "steady_state", "strength",
]  # fmt: skip


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
        _refuse_tolerance(tolerance, method)
        return _odeint(**given)
    law = _as_in(tolerance, _resolve(controller, None, method), method, _easing(even_steps, first_step))
    return _odeint(**{**given, "controller": law})


def _refuse_tolerance(tolerance: object, method: str) -> None:
    """ValueError for `tolerance` with a method on a grid."""
    if tolerance is not None:
        raise ValueError(f"tolerance means nothing to {method!r}, which has a grid and no error estimate")


@_outside_graphs
@_options.named
def sdeint(
    drift: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    diffusion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    y0: torch.Tensor,
    t: Any,
    method: str = "sosri",
    controller: Any = "pi34",
    rtol: float = 1e-2,
    atol: float = 1e-2,
    seed: int = 0,
    noise: str = "diagonal",
    *,
    interpretation: str | None = None,
    adjoint: str = "discrete",
    per_sample: bool | None = None,
    first_step: float | None = None,
    min_step: float | None = None,
    max_step: float | None = None,
    step_size: float | None = None,
    max_steps: int = 10_000,
    brownian: Any = "memory",
    revisit: bool = True,
    sample_ids: Any = None,
    heuristics: bool | str = True,
    keep_states: bool = False,
    estimate: str = "published",
) -> SDESolution:
    """Solve dY = drift(t, Y) dt + diffusion(t, Y) dW for a batch y0 (B, *features), or one system (D,), through the
    times t.

    `controller` is a name, the path of a controller file, or an object.  All else as for
    `stepsmith.integrators.neural.sde.api.sdeint`, which says what the arguments are, what is raised, and what the
    solution holds.
    """
    given = locals()
    return _sdeint(**{**given, "controller": _resolve(controller)})


class NeuralODE(_NeuralODE):
    """`stepsmith.integrators.neural.module.NeuralODE` with the controller a name, the path of a controller file, or an
    object, and with `tolerance` as for `odeint`."""

    @_options.named
    def __init__(
        self,
        func: Callable[[torch.Tensor, Any], Any],
        method: str = "tsit5",
        controller: Any = "pi34",
        rtol: Any = 1e-6,
        atol: Any = 1e-9,
        *,
        adjoint: str = "discrete",
        per_sample: bool | None = False,
        regulariser: Regulariser | str | None = None,
        strength: strength.Strength | float | str | None = None,
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
        norm: Callable[[Any], Any] | None = None,
        min_step: float | None = None,
        max_step: float | None = None,
        step_t: Any = None,
        jump_t: Any = None,
        event_fn: Callable[[torch.Tensor, Any], torch.Tensor] | None = None,
        step_size: float | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "tolerance", "__class__")}
        given["strength"] = _as_strength(strength)
        if isinstance(method, str) and method in _RULES:
            _refuse_tolerance(tolerance, method)
            super().__init__(**given)
            return
        eased = _easing(even_steps, first_step, warm_start, steps)
        law = _as_in(tolerance, _resolve(controller, None, method), method, eased)
        super().__init__(**{**given, "controller": law})


class NeuralSDE(_NeuralSDE):
    """`stepsmith.integrators.neural.sde.module.NeuralSDE` with the controller a name, the path of a controller file, or
    an object."""

    def __init__(
        self,
        drift: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        diffusion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        method: str = "sosri",
        controller: Any = "pi34",
        rtol: float = 1e-2,
        atol: float = 1e-2,
        *,
        strength: strength.Strength | float | str | None = None,
        **options: Any,
    ) -> None:
        given = {"method": method, "controller": _resolve(controller), "rtol": rtol, "atol": atol}
        super().__init__(drift, diffusion, strength=_as_strength(strength), **given, **options)


@_outside_graphs
@_options.named
def steady_state(
    func: Callable[..., torch.Tensor],
    z0: torch.Tensor,
    x: Any = None,
    tol: float = 1e-3,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 1000,
    method: str = "tsit5",
    controller: Any = "pi34",
    solver_rtol: float = 0.1,
    solver_atol: float = 0.1,
    first_step: float = 1.0,
    compact: bool = False,
    gradient: str = "gmres",
    gradient_tol: float = 1e-5,
    gradient_max_iter: int = 200,
    on_failure: str = "raise",
) -> SteadySolution:
    """Find z = func(z, x) by integrating dz/dt = func(z, x) - z from z0 until the slope is small.

    `controller` is a name, the path of a controller file, or an object.  All else as for
    `stepsmith.integrators.neural.steady.steady_state`, which says what the arguments are, what is raised, and what the
    solution holds.
    """
    given = locals()
    return _steady_state(**{**given, "controller": _resolve(controller, None, method)})


class SteadyState(_SteadyState):
    """`stepsmith.integrators.neural.steady_module.SteadyState` with the controller a name, the path of a controller
    file, or an object."""

    @_options.named
    def __init__(
        self,
        func: Callable[[torch.Tensor, Any], torch.Tensor],
        start: str = "zeros",
        skip: Callable[[Any], torch.Tensor] | None = None,
        features: int | Sequence[int] | None = None,
        *,
        tol: float = 1e-3,
        rtol: float | None = None,
        atol: float | None = None,
        max_steps: int = 1000,
        method: str = "tsit5",
        controller: Any = "pi34",
        solver_rtol: float = 0.1,
        solver_atol: float = 0.1,
        first_step: float = 1.0,
        compact: bool = False,
        gradient: str = "gmres",
        gradient_tol: float = 1e-5,
        gradient_max_iter: int = 200,
        on_failure: str = "raise",
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(**{**given, "controller": _resolve(controller, None, method)})


@_outside_graphs
@_options.named
def monitor(
    func: Callable[[torch.Tensor, Any], Any] | _NeuralODE,
    y0: Any,
    t: Any,
    *,
    method: Any = "tsit5",
    controller: Any = "pi34",
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    times: int = 8,
    iterations: int = 8,
    vectors: int = 1,
    per_sample: bool = True,
    generator: torch.Generator | None = None,
    warn: bool = True,
    max_steps: int = 10_000,
    step_size: float | None = None,
) -> Spectrum:
    """Measure how much gradients grow in a solve of y' = func(t, y), or of a NeuralODE, and say whether they can be
    used: `Spectrum`, with `exponent`, `growth`, `radius`, `explodes`, `vanishes`, `segment` and `message`.

    `controller` is a name, the path of a controller file, or an object.  All else as for
    `stepsmith.integrators.neural.spectrum.monitor`, which says what the arguments are, and what is raised.
    """
    return _monitor(**locals(), resolve=lambda name: _resolve(name, None, method))


@_outside_graphs
@_options.named
def log_growth(
    func: Callable[[torch.Tensor, Any], Any] | _NeuralODE,
    y0: Any,
    t: Any,
    *,
    method: Any = "tsit5",
    controller: Any = "pi34",
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    times: int = 8,
    vectors: int = 1,
    per_sample: bool = True,
    generator: torch.Generator | None = None,
    max_steps: int = 10_000,
    step_size: float | None = None,
) -> float:
    """The log of the factor by which gradients grow in a solve, the mean over its samples: one number that an
    environment may observe, or a strength take as its `context`.

    `controller` as for `monitor`; all else as for `stepsmith.integrators.neural.spectrum.log_growth`.
    """
    return _log_growth(**locals(), resolve=lambda name: _resolve(name, None, method))


for _outer, _inner in (
    (odeint, _odeint), (sdeint, _sdeint), (NeuralODE, _NeuralODE), (NeuralSDE, _NeuralSDE),
    (steady_state, _steady_state), (SteadyState, _SteadyState), (monitor, _monitor), (log_growth, _log_growth),
):  # fmt: skip
    _told(_outer, _inner)
