"""The settings at which a model's solves are as accurate as another library makes them, for the fewest evaluations.

    found = ss.neural.calibrate(func, y0, t, like="torchdiffeq", rtol=1e-7)
    ode = ss.neural.NeuralODE(func, **found.module)
    print(found)

A reference is solved for in float64, then the other library solves the batch, and the error that it makes is the error
that is allowed.  Each method and law begins at the tolerance asked for and goes on to looser ones by an eighth of a
decade while its error stays within what is allowed; the cheapest of those that did is the answer.  A model that goes on
learning becomes another field: calibrate again when it has changed much.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .. import controller as _controller
from ..integrators.core import options
from ..integrators.core.solver_options import one_tolerance_each
from ..integrators.methods.tableaus import get as get_tableau
from ..integrators.neural import checks, odeint
from ..integrators.neural.field import call as call_checked
from ..integrators.neural.field import check_callable
from ..integrators.neural.module import NeuralODE
from ..integrators.neural.resolution import floor
from ..integrators.neural.rows import generator_state, left_as_found, same_state
from .tolerance import HOSTS

Tensor = torch.Tensor
LIKE_METHODS = ("dopri5", "bosh3", "dopri8", "adaptive_heun", "fehlberg2")
METHODS = ("dopri5", "tsit5")
CONTROLLERS = ("torchdiffeq", "universal_law")
#: the ways to step that are tried: (even_steps, first_step)
WAYS: tuple[tuple[bool, str | None], ...] = ((True, "bold"), (False, "bold"))
#: points of the search a decade, and how far it goes to either side of the tolerance asked for
A_DECADE, LOOSER, TIGHTER = 8, 24, 8
#: the loosest rtol that is tried, unless a looser one is asked for: what suffices must still do after some training
LOOSEST = 0.01
#: errors of fewer ulp are alike, and a reference is to be this much better than the error allowed
SAME, CLEAR = 4.0, 10.0


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    method, controller, rtol, atol, even_steps, first_step   the settings.
    warm_start     whether a solve that begins with the last one's size is cheaper, and as accurate.
    nfev, error    evaluations of func in a cold solve of the batch with them, and its error: the largest over the
                   output times of the root mean square over the batch, relative to that of the solution.
    nfev_warm      evaluations of a solve that begins with the last one's size.
    like           the library; `like_nfev` and `like_error`, its own of both, at `like_rtol` and `like_atol`.
    """

    method: str
    controller: Any
    rtol: float
    atol: float
    even_steps: bool
    first_step: str | None
    warm_start: bool
    nfev: int
    nfev_warm: int
    error: float
    like: str
    like_rtol: float
    like_atol: float
    like_nfev: int
    like_error: float

    @property
    def odeint(self) -> dict[str, Any]:
        """Keywords for `stepsmith.neural.odeint`, with one step size for the batch."""
        names = ("method", "controller", "rtol", "atol", "even_steps", "first_step")
        return {**{name: getattr(self, name) for name in names}, "per_sample": False}

    @property
    def module(self) -> dict[str, Any]:
        """Keywords for `stepsmith.neural.NeuralODE`."""
        return {**self.odeint, "warm_start": self.warm_start}

    def __str__(self) -> str:
        bold = self.first_step == "bold"
        said = {"bold first step": bold, "even steps": self.even_steps, "warm start": self.warm_start}
        ways = [name for name, on in said.items() if on]
        name = getattr(self.controller, "name", type(self.controller).__name__)
        return (
            f"{self.method} under {name} at rtol = {self.rtol:.3g}, atol = {self.atol:.3g}"
            f"{''.join(f', {way}' for way in ways)}: {self.nfev} evaluations ({self.nfev_warm} warm), error "
            f"{self.error:.2g}\n{self.like} at rtol = {self.like_rtol:.3g}, atol = {self.like_atol:.3g}: "
            f"{self.like_nfev} evaluations, error {self.like_error:.2g}"
        )


@options.named
def calibrate(
    func: Callable[[Tensor, Tensor], Tensor] | NeuralODE,
    y0: Tensor,
    t: Any,
    like: str = "torchdiffeq",
    rtol: float = 1e-7,
    atol: float = 1e-9,
    *,
    like_method: str = "dopri5",
    methods: Iterable[str] = METHODS,
    controllers: Iterable[Any] = CONTROLLERS,
) -> Calibration:
    """The loosest tolerance, with law, method, warm start and even steps, at which a batch is solved as accurately as
    the library `like` does at rtol and atol, for the fewest evaluations of func.

    Parameters
        func          func(t, y), or a NeuralODE, of which the field alone is taken, with one step size for the batch:
                      pass `step_t` and the like to the new one again.  A Module's copy is made float64 for the
                      reference; another func must take float64 itself.
        y0            (B, *features) or (D,), a batch as training has it; float32 or float64.
        t             (T,) times, as for `odeint`.
        like          "torchdiffeq".
        rtol, atol    the tolerances that were used there; torchdiffeq's defaults are 1e-7 and 1e-9.
        like_method   the method that was used there: "dopri5", "bosh3", "dopri8", "adaptive_heun" or "fehlberg2".
        methods, controllers
                      what is tried: lists of names, and of names, paths or objects.

    Returns a Calibration.  Nothing is differentiated; func is evaluated some hundred times as often as one solve does.
    Random generators and func's buffers, such as running statistics, are left as they were.  Raises ValueError where
    the library is not installed, where its own solve fails, where nothing tried is as accurate, where the reference is
    not ten times as accurate as the library (a func that has no float64), for a func that draws random numbers in every
    call, and as `odeint` does.
    """
    options.choice("like", like, HOSTS)
    options.choice("like_method", like_method, LIKE_METHODS)
    rtol, atol = one_tolerance_each(rtol, atol)
    methods, controllers = _several("methods", methods), _several("controllers", controllers)
    checks.state(y0)
    field = func.func if isinstance(func, NeuralODE) else func
    check_callable(field)
    times = torch.from_numpy(checks.times(t)).to(y0.device)
    with torch.no_grad(), left_as_found(field, y0.device):
        _refuse_draws(field, y0, times)
        truth, known = _reference(field, y0, times)
        host_nfev, host_error = _host(field, y0, times, like_method, rtol, atol, truth)
        if not np.isfinite(host_error):
            raise ValueError(f"{like}'s solve of this batch at rtol = {rtol:g} is not finite, and cannot be matched")
        allowed = max(host_error, SAME * torch.finfo(y0.dtype).eps)
        if known * CLEAR > allowed:
            raise ValueError(
                f"the reference is known to {known:.1g} only, and {like}'s error is {host_error:.1g}: pass a func that "
                "takes float64, such as a torch.nn.Module, or a larger rtol"
            )
        trial = _Trial(field, y0, times, truth, rtol, atol)
        found = list(trial.candidates(methods, controllers, allowed))
        if not found:
            raise ValueError(
                f"nothing that was tried is as accurate as {like} at rtol = {rtol:g} (error {host_error:.1g}): try "
                "other methods or controllers"
            )
        best = min(found, key=lambda c: (c.nfev, c.error))
        best = trial.warm(best, allowed)
    return replace(best, like=like, like_rtol=rtol, like_atol=atol, like_nfev=host_nfev, like_error=host_error)


def _several(name: str, value: Any) -> tuple[Any, ...]:
    """What is tried as a tuple; OptionError for a single name, whose letters would be tried, and for no collection."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise options.refuse(name, "a list or tuple of what to try", value)
    return tuple(value)


def _refuse_draws(func: Any, y0: Tensor, times: Tensor) -> None:
    """ValueError where func draws random numbers in every call."""
    t0 = times[0].to(y0.dtype)
    call_checked(func, t0, y0.detach().clone())
    before = generator_state(y0.device)
    call_checked(func, t0, y0.detach().clone())
    if not same_state(before, generator_state(y0.device)):
        raise ValueError(
            "func draws random numbers in every call (dropout, or noise in training mode?), and has no solution to "
            "calibrate by: call func.eval() before, and func.train() behind"
        )


@dataclass(frozen=True)
class _Trial:
    """Solves of one batch at other settings than the tolerances asked for."""

    func: Any
    y0: Tensor
    times: Tensor
    truth: Tensor
    rtol: float
    atol: float

    def at(self, k: int, method: str, controller: Any, way: tuple[bool, str | None]) -> Calibration | None:
        """The solve at 10^(k / A_DECADE) times the tolerances; None where it fails, or where they cannot be that."""
        scale = 10.0 ** (k / A_DECADE)
        rtol, atol = max(scale * self.rtol, floor(self.y0.dtype, get_tableau(method).order)), scale * self.atol
        if rtol > max(LOOSEST, self.rtol):
            return None
        even, first = way
        sol = odeint(
            self.func, self.y0, self.times, method, controller, rtol, atol, "none", per_sample=False, heuristics=False,
            even_steps=even, first_step=first,
        )  # fmt: skip
        if not sol.success:
            return None
        error = _error(sol.y, self.truth)
        return Calibration(
            method, controller, rtol, atol, even, first, False, sol.stats.nfev, sol.stats.nfev, error, "", 0.0, 0.0, 0,
            0.0,
        )  # fmt: skip

    def candidates(
        self, methods: tuple[str, ...], controllers: tuple[Any, ...], allowed: float
    ) -> Iterator[Calibration]:
        """Of each method, law and way to step the loosest solve up to which every one is accurate enough."""
        for method in methods:
            for named in controllers:
                law = _controller(named, None, method)
                for way in WAYS:
                    found = self.loosest(method, law, way, allowed)
                    if found is not None:
                        yield found

    def loosest(self, method: str, law: Any, way: tuple[bool, str | None], allowed: float) -> Calibration | None:
        best = self.at(0, method, law, way)
        if best is None or best.error > allowed:
            for k in range(-1, -TIGHTER - 1, -1):
                best = self.at(k, method, law, way)
                if best is not None and best.error <= allowed:
                    return best
            return None
        for k in range(1, LOOSER + 1):
            looser = self.at(k, method, law, way)
            if looser is None or looser.error > allowed:
                break
            best = looser
        return best

    def warm(self, best: Calibration, allowed: float) -> Calibration:
        """`best` with what a warm start brings."""
        given = best.odeint
        cold = odeint(self.func, self.y0, self.times, adjoint="none", heuristics=False, **given)
        size = float(cold.stats.first_step[0])
        sol = odeint(self.func, self.y0, self.times, adjoint="none", heuristics=False, **{**given, "first_step": size})
        good = sol.success and _error(sol.y, self.truth) <= allowed and sol.stats.nfev < best.nfev
        return replace(best, warm_start=good, nfev_warm=sol.stats.nfev)


def _error(y: Tensor, truth: Tensor) -> float:
    """The largest over the output times of the rms over the batch, relative to the solution's."""
    off = (y.double() - truth).flatten(1)[1:]
    size = truth.flatten(1)[1:].square().mean(1).sqrt().clamp(min=1e-300)
    error = float((off.square().mean(1).sqrt() / size).max())
    return error if np.isfinite(error) else float("inf")


def _reference(func: Any, y0: Tensor, t: Tensor) -> tuple[Tensor, float]:
    """The solution (T, *y0.shape) in float64, and the error to which it is known."""
    start = y0.detach().double()
    if isinstance(func, torch.nn.Module) and y0.dtype != torch.float64:
        func = copy.deepcopy(func).double()
    found = []
    for rtol in (1e-12, 1e-10):
        try:
            sol = odeint(
                func, start, t, "dop853", _controller("pi34"), rtol, rtol * 1e-3, "none", per_sample=False,
                heuristics=False, max_steps=100_000,
            )  # fmt: skip
        except (RuntimeError, TypeError, ValueError) as error:
            if y0.dtype == torch.float64:
                raise
            raise ValueError(
                "calibrate needs func in float64 for its reference: pass a torch.nn.Module, of which a copy is cast, "
                f"or a float64 problem ({error})"
            ) from error
        if not sol.success:
            raise ValueError(f"no reference: {sol.message}")
        found.append(sol.y)
    return found[0], _error(found[1], found[0])


def _host(func: Any, y0: Tensor, t: Tensor, method: str, rtol: float, atol: float, truth: Tensor) -> tuple[int, float]:
    """Evaluations and error of torchdiffeq's solve, by torchdiffeq."""
    try:
        from torchdiffeq import odeint as theirs
    except ImportError:
        raise ValueError('like="torchdiffeq" measures torchdiffeq itself: pip install torchdiffeq') from None
    calls = 0

    def counted(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return func(t, y)

    try:
        y = theirs(counted, y0.detach(), t.to(y0.dtype), rtol=rtol, atol=atol, method=method)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"torchdiffeq itself does not solve this batch at rtol = {rtol:g}: there is nothing to match ({error})"
        ) from error
    return calls, _error(y, truth)
