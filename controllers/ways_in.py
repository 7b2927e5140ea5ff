"""The ways into other people's solvers, as methods of every controller.

Each host is a file of `hosts`, which is loaded when it is asked for: its library is an extra of the installation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..integrators.core import options


class WaysIn:
    """`for_<host>()`: this controller in the form that the host's own call takes.

    All raise ImportError with the command that installs the host, where it is missing, ValueError for a controller that
    reads what the host does not show, by the names of its features, and OptionError (ValueError and TypeError) for
    a bad option.
    """

    @options.named
    def for_scipy(self, method: str = "RK45") -> Any:
        """The class to hand to `scipy.integrate.solve_ivp(f, span, y0, method=...)`.

        method  "RK23", "RK45", "DOP853", "Radau" or "BDF"

        `solve_ivp` takes its options as before, and `max_steps`, the most attempts of a solve, beside them.  It warns
        where the controller was trained with another method.  More: `hosts.scipy.method`.
        """
        return _host("scipy").method(self, method)

    @options.named
    def for_torchdiffeq(self, method: str = "dopri5", *, warm_start: bool = False, even_steps: bool = False) -> Any:
        """The name to hand to `torchdiffeq.odeint(func, y0, t, method=...)`, odeint_adjoint and odeint_event.

        method      "dopri5", "dopri8", "bosh3", "adaptive_heun" or "fehlberg2"
        warm_start  True: a solve begins with the size that suited the first step of the last one of its kind; what is
                    returned has `reset()`, which forgets them
        even_steps  True: a step is the largest of equal ones to the last time that are no longer than the controller
                    asks for.  Not with events

        What is returned has `stats`, `history` and `totals()`.  A solve that cannot reach its end raises SolveFailed.
        It warns where the controller was trained with another method.  More: `hosts.torchdiffeq.method`.
        """
        return _host("torchdiffeq").method(self, method, warm_start=warm_start, even_steps=even_steps)

    @options.named
    def for_torchode(
        self, atol: Any = 1e-9, rtol: Any = 1e-6, *, term: Any = None, norm: Callable[[Any], Any] | None = None,
        dt_min: float | None = None, dt_max: float | None = None, max_steps: int | None = None,
        warm_start: bool = False, even_steps: bool = False,
    ) -> Any:  # fmt: skip
        """The step size controller to hand to torchode's AutoDiffAdjoint, JointBacksolveAdjoint or BacksolveAdjoint.

        atol, rtol  tolerances, times the controller's tolerance scale: numbers of at least 0, or tensors that
                    broadcast to the state (B, D)
        term        torchode's term, for the choice of a first step; `solve(problem, term=...)` serves too
        norm        (B, D) -> (B,), of the scaled error; None: root mean square
        dt_min      in units of time, positive: a sample fails where the controller asks for less.  None: no bound
        dt_max      in units of time, positive: no step is longer.  None: no bound
        max_steps   attempts after which a sample that is not at its end fails, alone.  None: no bound
        warm_start  True: a solve without dt0 begins with the shortest size that suited a sample's first step in the
                    last solve of its kind; `reset()` forgets them
        even_steps  True: a step is the largest of equal ones to the sample's end that are no longer than the controller
                    asks for

        `solver(step_method)` of what is returned is an AutoDiffAdjoint in which samples fail alone.  More:
        `hosts.torchode.step_size_controller`.
        """
        return _host("torchode").step_size_controller(
            self, atol, rtol, term=term, norm=norm, dt_min=dt_min, dt_max=dt_max, max_steps=max_steps,
            warm_start=warm_start, even_steps=even_steps,
        )  # fmt: skip

    @options.named
    def for_diffrax(
        self, rtol: Any = 1e-6, atol: Any = 1e-9, *, norm: Callable[[Any], Any] | None = None, dtmin: Any = None,
        dtmax: Any = None, force_dtmin: bool = True, even_steps: bool = False, error_order: Any = None,
        warm_start: bool = False,
    ) -> Any:  # fmt: skip
        """The step size controller to hand to `diffrax.diffeqsolve(..., stepsize_controller=...)`.

        rtol, atol   tolerances, times the controller's tolerance scale: numbers of at least 0, or traced scalars
        norm         of a PyTree like the state, of the scaled error; None: root mean square
        dtmin        smallest size, in units of time, positive.  None: no bound
        dtmax        largest size, in units of time, positive.  None: no bound
        force_dtmin  True: what would be smaller is taken at dtmin and accepted whatever its error, if it is finite;
                     False: the solve ends with `RESULTS.dt_min_reached`
        even_steps   True: a step is the largest of equal ones to the end that are no longer than was asked for
        error_order  order of the error estimate (diffrax's, 5 for Dopri5), for solvers that do not tell it
        warm_start   must be False: pass `dt0=ctrl.first_size(sol.controller_state)` of the last solve, and at first
                     `dt0=jnp.array(jnp.nan, t0.dtype)`, with which the controller chooses

        More: `hosts.diffrax.step_size_controller`.
        """
        return _host("diffrax").step_size_controller(
            self, rtol, atol, norm=norm, dtmin=dtmin, dtmax=dtmax, force_dtmin=force_dtmin, even_steps=even_steps,
            error_order=error_order, warm_start=warm_start,
        )  # fmt: skip

    @options.named
    def for_rebound(self, *, epsilon: float = 1e-9, then: Callable[[Any], None] | None = None) -> Any:
        """The heartbeat that sets `sim.dt` of one `rebound.Simulation`: `ctrl.for_rebound().attach(sim)`.

        epsilon  tolerance of ias15's error, positive; REBOUND's default
        then     a heartbeat of your own, called with the simulation after every accepted step

        More: `hosts.rebound.heartbeat`.
        """
        return _host("rebound").heartbeat(self, epsilon=epsilon, then=then)


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
