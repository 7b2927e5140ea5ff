"""The ways into other people's solvers, as methods of every controller.

Each host is a file of `hosts`, which is loaded when it is asked for: its library is an extra of the installation.
"""

from __future__ import annotations

from typing import Any


class WaysIn:
    """`for_<host>()`: this controller in the form that the host's own call takes."""

    def for_scipy(self, method: str = "RK45") -> Any:
        """The class to hand to `scipy.integrate.solve_ivp(f, span, y0, method=...)`; see `hosts.scipy.method`."""
        from .hosts.scipy import method as make

        return make(self, method)

    def for_torchdiffeq(self, method: str = "dopri5", *, warm_start: bool = False, even_steps: bool = False) -> Any:
        """The name to hand to `torchdiffeq.odeint(func, y0, t, method=...)`; see `hosts.torchdiffeq.method`."""
        from .hosts.torchdiffeq import method as make

        return make(self, method, warm_start=warm_start, even_steps=even_steps)

    def for_torchode(self, atol: Any = 1e-9, rtol: Any = 1e-6, **options: Any) -> Any:
        """The step size controller to hand to torchode's `AutoDiffAdjoint` or `JointBacksolveAdjoint`; see
        `hosts.torchode.step_size_controller`.
        """
        from .hosts.torchode import step_size_controller as make

        return make(self, atol, rtol, **options)

    def for_diffrax(self, rtol: Any = 1e-6, atol: Any = 1e-9, **options: Any) -> Any:
        """The step size controller to hand to `diffrax.diffeqsolve(..., stepsize_controller=...)`; see
        `hosts.diffrax.step_size_controller`.
        """
        from .hosts.diffrax import step_size_controller as make

        return make(self, rtol, atol, **options)

    def for_rebound(self, **options: Any) -> Any:
        """The heartbeat that sets `sim.dt` of a `rebound.Simulation`; see `hosts.rebound.heartbeat`."""
        from .hosts.rebound import heartbeat as make

        return make(self, **options)
