"""`steady_state`: z with func(z, x) = z, found by integrating dz/dt = func(z, x) - z until the slope is small.

That is the forward pass of a continuous deep equilibrium model: A. Pal, A. Edelman, C. Rackauckas, Continuous Deep
Equilibrium Models: Training Neural ODEs Faster by Integrating Them to Infinity, arXiv:2201.12240.  The way there is in
`steady_pass`, the gradient in `steady_gradient`, and `steady_module` has the model with its two regularisers.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..core import options
from ..core.errors import outside
from ..kernels.layout import SUCCESS
from ..methods.tableaus import ExplicitTableau
from . import autocast, checks
from .failures import filled, numbers
from .solution import CallCount
from .steady_field import SteadyField, check_func, check_input, check_samples, lent_places, samples_of
from .steady_gradient import Equation, Implicit, LinearRecord, LinearSolver, wants_gradient
from .steady_options import SteadyOptions, checked
from .steady_pass import MESSAGES, Arrival, approach

Tensor = torch.Tensor


@dataclass(frozen=True)
class SteadyStats:
    """Counts of a steady state.

    nfev            calls of func on the way, each for the whole batch (or what is left of it), those of nfev_check
                    included.
    nfev_check      how many of them only looked whether samples depend on each other, in the first solve of a func.
    nfev_graph      1 where func was called once more, at the steady state, for the sake of a gradient; else 0.
    naccept, nreject
                    steps accepted and attempts rejected, sums over the samples; *_per_sample, (B,) int, each sample's
                    own, and nfev_per_sample the evaluations that the sample itself needed.
    t_last          (B,) float64, the time that each sample took.
    wall_s          seconds in `steady_state`, backward excluded.
    """

    nfev: int
    nfev_check: int
    nfev_graph: int
    naccept: int
    nreject: int
    nfev_per_sample: np.ndarray
    naccept_per_sample: np.ndarray
    nreject_per_sample: np.ndarray
    t_last: np.ndarray
    wall_s: float
    _linear: LinearRecord = field(repr=False)

    @property
    def nfev_backward(self) -> int:
        """Vector-Jacobian products of func in the backward passes done so far."""
        return self._linear.products

    @property
    def linear_iterations(self) -> int | None:
        """How many of them the last backward pass took to solve its linear system; None before the first."""
        return self._linear.last

    @property
    def linear_residual(self) -> np.ndarray | None:
        """(B,) the relative residuals that it left, in the 2-norm; None before the first."""
        return self._linear.residual


@dataclass(frozen=True)
class SteadySolution:
    """What `steady_state` gives; B = 1 for one system.

    z           of z0's shape: the steady states, with their gradient.  What a sample gets that has none says
                on_failure.
    z_last      of z0's shape: each sample's last state, without gradient.
    residual    (B,) float64, max_i |func(z, x)_i - z_i| there; NaN where z0 or func at z0 is not finite.
    success     True if every sample has arrived.
    status      (B,) int: 1 arrived; -1 max_steps attempts made, -2 the step size underflowed, -3 no finite step, -4
                not finite at z0, -5 diverged.
    message     one line saying what happened.
    mask        (B,) bool on z's device: which samples have arrived.
    stats       SteadyStats.
    """

    z: Tensor
    z_last: Tensor
    residual: np.ndarray
    success: bool
    status: np.ndarray
    message: str
    mask: Tensor
    stats: SteadyStats


@options.named
def steady_state(
    func: Callable[..., Tensor],
    z0: Tensor,
    x: Any = None,
    tol: float = 1e-3,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    max_steps: int = 1000,
    method: str | ExplicitTableau = "tsit5",
    controller: Any = "pi34",
    solver_rtol: float = 0.1,
    solver_atol: float = 0.1,
    first_step: float = 1.0,
    compact: bool = False,
    gradient: str = "gmres",
    gradient_tol: float = 1e-5,
    gradient_max_iter: int = 200,
    on_failure: str = "raise",
    resolve: Callable[[str], object] | None = None,
) -> SteadySolution:
    """Find z = func(z, x) by integrating dz/dt = func(z, x) - z from z0.

    Parameters
        func        func(z, x), or func(z) without x -> a tensor like z: f itself, not the slope f - z.  It must leave z
                    and x as they are, and what it gives for a sample must depend on that sample alone.
        z0          (B, *features), a batch, or (D,), one system; float32 or float64.
        x           a tensor, or a tuple, list or dict of tensors, nested if need be.  With a batch the first axis of
                    each is that of the samples; what all samples share func may close over.
        tol         both rtol and atol where they are not given.
        rtol, atol  a sample has arrived where max_i |f_i - z_i| <= atol + rtol max_i |z_i|.
        max_steps   attempts that a sample may make.
        method      an explicit Runge-Kutta pair whose last stage is the slope at the new state: "tsit5", "dopri5",
                    "bs32", "dop853", "bs54", "vern6", "dopri8", or such an ExplicitTableau.
        controller  an object of the controller contract, or a name if `resolve` is given.
        solver_rtol, solver_atol
                    tolerances of the steps, as `odeint` takes them, numbers.  They say how closely the way is followed
                    where it is long, not how well the steady state is met: no step's error may exceed a twentieth of
                    what the step moves in any case (`steady_pass`).
        first_step  size of the first attempt, positive.  1 is the time in which a constant f is approached by 1/e.
        compact     take samples out of the batch once they have arrived.  func must then accept any number of samples.
                    Without it they stay where they are, and are evaluated with the others.
        gradient    how (I - df/dz)^T w = dL/dz is solved in the backward pass.  "gmres": in a Krylov space of each
                    sample, for every regular I - df/dz.  "fixed_point": by w <- (df/dz)^T w + dL/dz, in less memory,
                    where f contracts.
        gradient_tol, gradient_max_iter
                    the residual at which a sample's linear solve ends, over ||dL/dz|| + ||w|| (`krylov`), at least an
                    ulp of z's dtype (under torch.autocast, of its half precision); and the most vector-Jacobian
                    products of a solve.
        on_failure  what happens where samples do not arrive.
                    "raise": a RuntimeError.
                    "warn": a warning; their `z` is NaN.
                    "mask": a warning; their `z` is their z0, a constant, so that a loss over all samples stays finite.
                    Under both their gradient is zero.  In the backward pass, of a linear solve that does not converge:
                    an error, a warning, and a warning with zero in the place of such a sample's gradient.
        resolve     turns a controller's name into an object; `stepsmith.neural.steady_state` fills it in.

    Returns a SteadySolution.  z has its gradient in x and in all that func uses (parameters, what it closes over), by
    the implicit function theorem (`steady_gradient`), first derivatives only; that in z0 is zero.  It takes one call of
    func more; under torch.no_grad() there is none of both.  The gradient is as exact as the steady state: tol bounds
    its error too.

    Raises ValueError for arguments that do not fit, for a func that does not return a tensor like z, that writes to
    its arguments or mixes samples; TypeError for a controller that is none; and RuntimeError as on_failure says.  Warns
    (UserWarning) where func draws random numbers in every call, which has no steady state.
    """
    given = {name: value for name, value in locals().items() if name not in ("func", "z0", "x", "tol")}
    asked = checked(tol, **given, public="steady_state")
    return find(func, z0, x, asked)


def find(func: Callable[..., Tensor], z0: Any, x: Any, asked: SteadyOptions) -> SteadySolution:
    """`steady_state` with options that are checked."""
    began = time.perf_counter()
    checks.state(z0, "z0")
    check_func(func, 1 if x is None else 2)
    check_input(x, z0)
    _refuse_transforms()
    lanes = 1 if z0.dim() == 1 else len(z0)
    shape = tuple(z0.shape) if z0.dim() == 1 else (-1, *z0.shape[1:])
    rows = z0.reshape(lanes, -1).detach().clone(memory_format=torch.contiguous_format)
    look = functools.partial(check_samples, func) if lanes > 1 else None
    works_in = autocast.half_of(z0.device) or z0.dtype
    two = func if x is not None else lambda z, _: func(z)
    with autocast.of_solve(two, z0.device, z0.dtype) as called:
        way = SteadyField(func, called, x, shape)
        arrival = approach(way, asked.settings(z0.dtype, look), rows, asked.rtol, asked.atol)
        _judge(arrival, asked, z0.dtype)
        ok = torch.from_numpy(arrival.done.status == SUCCESS).to(z0.device)
        last, record = arrival.done.y_last, LinearRecord()
        z, graph_calls = last, CallCount()
        if torch.is_grad_enabled() and bool(ok.any()):
            graph = SteadyField(func, called, x, shape)
            z = _with_gradient(graph, last, ok, z0.reshape(lanes, -1), asked, works_in, record)
            graph_calls = graph.count
    if not bool(ok.all()):
        rest = torch.full_like(last, torch.nan)
        z = torch.where(ok[:, None], z, filled(rest, rows, None) if asked.on_failure == "mask" else rest)
    stats = _stats(arrival, way.count, graph_calls, record, time.perf_counter() - began)
    return SteadySolution(
        z=z.reshape(z0.shape),
        z_last=last.reshape(z0.shape).clone(),
        residual=arrival.residual,
        success=bool(ok.all()),
        status=arrival.done.status,
        message=_message(arrival.done.status),
        mask=ok,
        stats=stats,
    )


def _with_gradient(
    graph: SteadyField,
    last: Tensor,
    ok: Tensor,
    z0: Tensor,
    asked: SteadyOptions,
    works_in: torch.dtype,
    record: LinearRecord,
) -> Tensor:
    """The states `last` (lanes, width) with the gradient of steady states where they are `ok`; func's sums are in the
    precision `works_in`."""
    at = last.detach()
    if not bool(ok.all()):
        index = lent_places(ok)
        at, graph.x = at[index], samples_of(graph.x, index)
    at = at.clone().requires_grad_()
    f = graph.value(at)
    if not wants_gradient(f, at):
        return last
    # a product is known to an ulp of the precision that func works in
    tol = max(asked.gradient_tol, torch.finfo(works_in).eps)
    how = LinearSolver(asked.gradient, tol, asked.gradient_max_iter, asked.on_failure)
    return Implicit.apply(last, f, z0, Equation(f, at, ok, how, record))


def _judge(arrival: Arrival, asked: SteadyOptions, dtype: torch.dtype) -> None:
    """Raise or warn where samples have not arrived, as on_failure says."""
    status = arrival.done.status
    failed = np.flatnonzero(status != SUCCESS)
    if not len(failed):
        return
    first = int(failed[0])
    counted = Counter(int(code) for code in status[failed])
    causes = "; ".join(f"{n}: {MESSAGES[code]}" for code, n in counted.items())
    text = (
        f"{len(failed)} of {len(status)} samples found no steady state, {numbers(failed)} ({causes}); the first of "
        f"them ended with a slope of {arrival.residual[first]:.3g}, where rtol = {asked.rtol:g} and "
        f"atol = {asked.atol:g} are asked for. What helps: an f that contracts in z (a map that oscillates or expands "
        "has no state to settle in), a larger max_steps, a looser tol"
    )
    if asked.rtol < 16 * torch.finfo(dtype).eps:
        text += f", float64 ({dtype} does not resolve this rtol)" if dtype != torch.float64 else ""
    if asked.on_failure == "raise":
        raise RuntimeError(f'{text}; on_failure="mask" goes on without what failed')
    left = "its z0" if asked.on_failure == "mask" else "NaN"
    warnings.warn(f"{text}; mask is False for what failed, and its z is {left}", stacklevel=outside())


def _message(status: np.ndarray) -> str:
    failed = status[status != SUCCESS]
    if not len(failed):
        return MESSAGES[SUCCESS]
    return f"{len(failed)} of {len(status)} samples failed; the first: {MESSAGES[int(failed[0])]}"


def _stats(arrival: Arrival, way: CallCount, graph: CallCount, record: LinearRecord, wall_s: float) -> SteadyStats:
    done = arrival.done
    return SteadyStats(
        nfev=way.calls,
        nfev_check=done.checks,
        nfev_graph=graph.calls,
        naccept=int(done.naccept.sum()),
        nreject=int(done.nreject.sum()),
        nfev_per_sample=done.nfev,
        naccept_per_sample=done.naccept,
        nreject_per_sample=done.nreject,
        t_last=done.t_last,
        wall_s=wall_s,
        _linear=record,
    )


def _refuse_transforms() -> None:
    """RuntimeError under vmap, grad and the other transforms of torch.func, which cannot see through numbers."""
    if getattr(torch._C._functorch, "peek_interpreter_stack", lambda: None)() is not None:
        raise RuntimeError(
            "torch.func cannot transform the search for a steady state, whose steps depend on numbers: use "
            "torch.autograd in the place of torch.func.grad, and a batch in the place of vmap"
        )
