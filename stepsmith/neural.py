"""Neural differential equations with PyTorch: solver, module, regularisers and strengths, with controllers by name, path or object.

    ode = ss.neural.NeuralODE(func, rtol=1e-5, atol=1e-5, regulariser="er_mean")
    strength = ss.neural.strength.exponential(100.0, 10.0, n=iterations)
    out = ode(y0, t)
    loss = task_loss(out.y[-1]) + strength(k) * out.penalty
"""

from __future__ import annotations

from typing import Any

from . import controller as _resolve
from .controllers import strength
from .integrators.neural import NeuralSolution, regularisers
from .integrators.neural import odeint as _odeint
from .integrators.neural.module import NeuralODE as _NeuralODE
from .integrators.neural.module import NeuralOutput
from .integrators.neural.regularisers import REGULARISERS, regulariser

__all__ = [
    "REGULARISERS", "NeuralODE", "NeuralOutput", "NeuralSolution", "odeint", "regulariser", "regularisers", "strength",
]  # fmt: skip


def odeint(func: Any, y0: Any, t: Any, method: str = "tsit5", controller: Any = "pi34", **options: Any) -> NeuralSolution:
    """Solve y' = func(t, y) for a batch; see `stepsmith.integrators.neural.odeint` for arguments and the solution's fields."""
    return _odeint(func, y0, t, method=method, controller=_resolve(controller, None, method), **options)


class NeuralODE(_NeuralODE):
    """`stepsmith.integrators.neural.module.NeuralODE` with the controller a name, the path of a controller file, or an object."""

    def __init__(self, func: Any, method: str = "tsit5", controller: Any = "pi34", *args: Any, **options: Any) -> None:
        super().__init__(func, method, _resolve(controller, None, method), *args, **options)
