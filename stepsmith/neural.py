"""Neural differential equations with PyTorch: `odeint` with controllers by name, path or object."""

from __future__ import annotations

from typing import Any

from . import controller as _resolve
from .integrators.neural import NeuralSolution
from .integrators.neural import odeint as _odeint

__all__ = ["NeuralSolution", "odeint"]


def odeint(func: Any, y0: Any, t: Any, method: str = "tsit5", controller: Any = "pi34", **options: Any) -> NeuralSolution:
    """Solve y' = func(t, y) for a batch; see `stepsmith.integrators.neural.odeint` for arguments and the solution's fields."""
    return _odeint(func, y0, t, method=method, controller=_resolve(controller, None, method), **options)
