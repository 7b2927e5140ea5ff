"""The ways into other people's solvers, as methods of every controller.

Each host is a file of `hosts`, which is loaded when it is asked for: its library is an extra of the installation.
"""

from __future__ import annotations

import importlib
from typing import Any


class WaysIn:
    """`for_<host>()`: this controller in the form that the host's own call takes."""

    def for_scipy(self, method: str = "RK45") -> Any:
        """The class to hand to `scipy.integrate.solve_ivp(f, span, y0, method=...)`; see `hosts.scipy.method`."""
        return _host("scipy").method(self, method)

    def for_torchdiffeq(self, method: str = "dopri5", *, warm_start: bool = False, even_steps: bool = False) -> Any:
        """The name to hand to `torchdiffeq.odeint(func, y0, t, method=...)`; see `hosts.torchdiffeq.method`."""
        return _host("torchdiffeq").method(self, method, warm_start=warm_start, even_steps=even_steps)

    def for_torchode(self, atol: Any = 1e-9, rtol: Any = 1e-6, **options: Any) -> Any:
        """The step size controller to hand to torchode's `AutoDiffAdjoint` or `JointBacksolveAdjoint`; see
        `hosts.torchode.step_size_controller`.
        """
        return _host("torchode").step_size_controller(self, atol, rtol, **options)

    def for_diffrax(self, rtol: Any = 1e-6, atol: Any = 1e-9, **options: Any) -> Any:
        """The step size controller to hand to `diffrax.diffeqsolve(..., stepsize_controller=...)`; see
        `hosts.diffrax.step_size_controller`.
        """
        return _host("diffrax").step_size_controller(self, rtol, atol, **options)

    def for_rebound(self, **options: Any) -> Any:
        """The heartbeat that sets `sim.dt` of a `rebound.Simulation`; see `hosts.rebound.heartbeat`."""
        return _host("rebound").heartbeat(self, **options)


def _host(name: str) -> Any:
    """The adapter's module.  ImportError with the command that installs what it stands on, where that is missing."""
    try:
        return importlib.import_module(f".hosts.{name}", __package__)
    except ModuleNotFoundError as problem:
        missing = (problem.name or "").partition(".")[0]
        if missing in ("", __package__.partition(".")[0]) or "pip install" in str(problem):
            raise
        raise ModuleNotFoundError(
            f"{name} needs {missing}, which is not installed: pip install 'stepsmith[{name}]'", name=missing
        ) from None
