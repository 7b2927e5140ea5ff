"""When gradients will explode: how fast a solve stretches cotangents, and the spectrum of its Jacobian on the way.

Backwards through a solve a gradient is multiplied by Phi(T, 0)^T, Phi being the fundamental matrix of

    dPhi/dt = (df/dy) Phi,        Phi(0, 0) = I,

and its size by about exp(lambda T), lambda the largest finite-time Lyapunov exponent.  Where the solve is chaotic, or
strongly expanding, the variance of gradients grows as exp(2 lambda T): they cannot be used, however exact they are.

The exponent is that of a random unit vector w, log ||Phi^T w|| / T, by vector-Jacobian products: the span is cut into
intervals, a backward pass through the solve of each takes w from its end to its start, w is scaled back to one there,
and the logs of the scales are summed (Benettin et al.), so that nothing overflows.

The spectral radius of df/dy at one time is found by power iteration with vector-Jacobian products.  For one real
dominant eigenvalue the norm grows by |lambda| an iteration; for a complex pair the direction turns and the growth
swings about |lambda|, and its geometric mean tends to |lambda|.  What is given is that mean over the second half of the
iterations: its error falls geometrically in the first case, as 1 / iterations in the second, and a matrix that is far
from normal or has several eigenvalues of that size takes more of them.

G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, Lyapunov characteristic exponents for smooth dynamical systems
and for Hamiltonian systems; a method for computing all of them, Meccanica 15 (1980) 9-20.
L. Metz, C. D. Freeman, S. S. Schoenholz, T. Kachman, Gradients are not all you need, 2021 (arXiv:2111.05803).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..core import options
from ..core.errors import outside
from . import autocast, checks, fixed
from .field import check_callable
from .forms import Form, form_of
from .graphs import transforming
from .module import NeuralODE
from .rows import left_as_found
from .spectrum_report import Spectrum
from .spectrum_solver import Probed

Tensor = torch.Tensor
#: the solver's options and their defaults, which a NeuralODE brings itself
SOLVER: dict[str, Any] = {
    "method": "tsit5", "controller": "pi34", "rtol": 1e-6, "atol": 1e-9, "max_steps": 10_000, "step_size": None,
}  # fmt: skip
#: what is not taken over from a NeuralODE: how its gradients are made, and what is not the same in every interval
OWN = (
    "adjoint", "adjoint_params", "adjoint_rtol", "adjoint_atol", "checkpoint_every", "checkpoint", "checkpoint_mb",
    "first_step", "heuristics",
)  # fmt: skip


@options.named
def monitor(
    func: Callable[[Tensor, Any], Any] | NeuralODE,
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
    resolve: Callable[[str], object] | None = None,
) -> Spectrum:
    """Measure how much gradients grow in a solve of y' = func(t, y) from y0 over the times t, and say whether they can
    be used.

    Parameters
        func        func(t, y) as for `odeint`, or a NeuralODE, whose func, steps and solver options are then taken;
                    those here must be left alone.  It is called in the mode that it is in.
        y0          a state as for `odeint`: (B, *features), or (D,), a 0-d tensor; or a collection of tensors, with B
                    first in every part, and with per_sample=False one system.  Not differentiated in.
        t           (T,) times as for `odeint`, of which the first and the last matter; or (T, B), with steps per
                    sample.  Times that require a gradient get none.
        method, controller, rtol, atol, max_steps, step_size, resolve
                    as for `odeint`.  With steps per sample rtol and atol may be each sample's own.
        times       at how many evenly spaced times, both ends included, the radius is taken, at least 2; between them
                    lie the intervals of the exponent.
        iterations  of the power iteration, at each of these times.
        vectors     random probes: the growth is the root mean square over them, the radius the largest.
        per_sample  True: numbers for each sample, whose slope must depend on that sample alone.  A func has steps per
                    sample then, a NeuralODE its own.  False: the whole state is one system with one step size, B = 1;
                    rows may depend on each other.
        generator   what draws the probes.  None: one of the monitor's own, the same probes in every call.
        warn        True: a UserWarning with `.message` where gradients explode or vanish, or a solve failed.

    Returns a `Spectrum`.  No gradient and no graph are left anywhere, `.grad` included; random generators and func's
    buffers are as they were.  It works under torch.no_grad() and torch.inference_mode().  It costs two solves, backward
    passes through one of them for each of `vectors`, and times * iterations * vectors vector-Jacobian products, see
    `.cost`; it needs the memory of a backward pass through the longest interval.

    A sample whose solve fails, or whose gradient is not finite, has `ok` False, NaN numbers, and a reason.

    Raises ValueError as `odeint` does; for a func that depends on y and leaves no graph, which has no gradient; for
    rows that depend on each other under per_sample=True; for a NeuralODE with an event_fn; for solver options beside a
    NeuralODE; and for a method on a grid with times (T, B) and no step_size.  RuntimeError under torch.func.
    """
    given = {name: value for name, value in locals().items() if name in SOLVER}
    times, iterations = options.count("times", times, 2), options.count("iterations", iterations)
    found = _measured(func, y0, t, given, times, iterations, vectors, per_sample, generator, resolve)
    if options.flag("warn", warn) and (found.explodes | found.vanishes | ~found.ok).any():
        warnings.warn(found.message, stacklevel=outside())
    return found


@options.named
def log_growth(
    func: Callable[[Tensor, Any], Any] | NeuralODE,
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
    resolve: Callable[[str], object] | None = None,
) -> float:
    """The log of the factor by which gradients grow in a solve, exponent times span: the mean over the samples whose
    solve succeeds, NaN where none does.

    One number that an environment may observe, or a strength take as its `context`.  Arguments and errors are those of
    `monitor`, without its warning and its radius.
    """
    given = {name: value for name, value in locals().items() if name in SOLVER}
    times = options.count("times", times, 2)
    found = _measured(func, y0, t, given, times, 0, vectors, per_sample, generator, resolve)
    return found.numbers()["log_growth"]


def _measured(
    func: Any,
    y0: Any,
    t: Any,
    given: dict[str, Any],
    times: int,
    iterations: int,
    vectors: Any,
    per_sample: Any,
    generator: Any,
    resolve: Any,
) -> Spectrum:
    """What `monitor` returns; without a radius (no rows) where there are no iterations."""
    vectors = options.count("vectors", vectors)
    per_sample = options.flag("per_sample", per_sample)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise options.refuse("generator", "a torch.Generator or None", generator)
    if transforming():
        raise RuntimeError("monitor measures plain numbers, and torch.func cannot transform it: call it outside")
    field = func.func if isinstance(func, NeuralODE) else func
    check_callable(field)
    single = isinstance(y0, Tensor) and y0.dim() < 2
    form = form_of(y0, per_sample and not single)
    device = form.y0.device
    with torch.inference_mode(False), torch.no_grad():
        form = Form(form.y0.detach().clone(), form.per_sample, form.layout)
        steps = _steps(func, form)
        lanes = len(form.y0) if form.per_sample else 1
        t = checks.times(t, lanes if steps else None)
        solver, first = _solver(func, given, resolve)
        if not steps:
            solver.pop("compact", None)  # there is nothing to take out
        problem = Probed(
            field, autocast.as_called(field, device, form.y0.dtype), form, lanes, steps, solver, first,
            _grid(solver, t),
        )  # fmt: skip
        shape = (vectors, lanes, form.y0.numel() // lanes)
        with left_as_found(field, device):
            return _spectrum(problem, t, times, iterations, probes(generator, shape, form.y0))


def _steps(func: Any, form: Form) -> bool:
    """Whether steps are per sample: a NeuralODE's own where there are samples."""
    if not form.per_sample or not isinstance(func, NeuralODE):
        return form.per_sample
    own = func.per_sample
    # None is per sample where y0 is one tensor with a batch axis
    return form.layout is None if own is None else bool(own)


def _solver(func: Any, given: dict[str, Any], resolve: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of `odeint` for every solve, and for the plain solve alone; ValueError where they do not fit func."""
    first = {"heuristics": "values"}
    if not isinstance(func, NeuralODE):
        on_grid = isinstance(given["method"], str) and given["method"] in fixed.RULES
        return {**given, "resolve": resolve, "heuristics": False}, {} if on_grid else first
    other = [name for name, value in given.items() if type(value) is not type(SOLVER[name]) or value != SOLVER[name]]
    if other:
        raise ValueError(
            f"a NeuralODE brings its own solver, and {', '.join(other)} was given too: leave that out, or pass ode.func"
        )
    if func.event_fn is not None:
        raise ValueError("monitor measures a whole span, and this NeuralODE ends at events: pass ode.func")
    own = {name: value for name, value in func.options.items() if name not in OWN}
    if func.options.get("first_step") is not None:
        first["first_step"] = func.options["first_step"]
    on_grid = "controller" not in own
    return {**own, "norm": func.norm, "heuristics": False}, {} if on_grid else first


def _grid(solver: Mapping[str, Any], t: np.ndarray) -> np.ndarray | None:
    """The times t, where they are the grid of the method."""
    method = solver["method"]
    if not (isinstance(method, str) and method in fixed.RULES) or solver.get("step_size") is not None:
        return None
    if t.ndim > 1:
        raise ValueError(f"monitor needs a step_size for {method!r} with times (T, B): pass one, or times (T,)")
    return t


def probes(generator: torch.Generator | None, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Random unit rows of the shape (vectors, lanes, width), of the dtype and on the device of `like`."""
    own = torch.Generator().manual_seed(0) if generator is None else generator
    w = torch.randn(shape, dtype=torch.float64, device=own.device, generator=own)
    return (w / torch.linalg.vector_norm(w, dim=2, keepdim=True)).to(like)


def _spectrum(problem: Probed, t: np.ndarray, times: int, iterations: int, w: Tensor) -> Spectrum:
    """The numbers; t (T,) or (T, lanes) float64, w the probes."""
    nodes = np.linspace(t[0], t[-1], times, axis=0)
    problem.check(nodes[0])
    lanes, before = problem.lanes, problem.nfev
    states, plain = problem.plain(nodes)
    nfev_plain = problem.nfev - before
    radius = np.full((times if iterations else 0, lanes), np.nan)
    for k in range(len(radius)):
        if bool(states[k].isfinite().all(1).any()):
            radius[k] = problem.radius(nodes[k], states[k], w, iterations)
    logs = np.zeros(w.shape[:2])
    for k in reversed(range(times - 1)):
        if problem.open.any():
            w, more = problem.pull(states[k], nodes[k], nodes[k + 1], w)
            logs += more
    ok = np.array([lane not in problem.reasons for lane in range(lanes)])
    span = np.broadcast_to(abs(t[-1] - t[0]), (lanes,)).copy()
    grown = np.where(ok, _root_mean_square(logs), np.nan)
    return Spectrum(
        times=nodes,
        radius=radius,
        exponent=grown / span,
        log_growth=grown,
        span=span,
        stiffness=_stiffness(plain.heuristics, lanes),
        ok=ok,
        reasons=problem.reasons,
        nfev=problem.nfev,
        nfev_plain=nfev_plain,
        vjps=problem.vjps,
        dtype=problem.form.y0.dtype,
    )


def _root_mean_square(logs: np.ndarray) -> np.ndarray:
    """The log of the root mean square over the first axis of numbers whose logs are given."""
    top = logs.max(0)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return shift + 0.5 * np.log(np.exp(2.0 * (logs - shift)).mean(0))


def _stiffness(heuristics: Any, lanes: int) -> np.ndarray | None:
    """The largest h S of each lane's accepted steps, zero where there is none; None where the method has no S."""
    if heuristics is None or heuristics.S is None:
        return None
    hs = (heuristics.S * heuristics.h).double().cpu().numpy()
    top = hs.max(0) if len(hs) else np.zeros(hs.shape[1:])
    return np.broadcast_to(top, (lanes,)).copy()
