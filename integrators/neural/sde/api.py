"""`sdeint`: batches of stochastic differential equations in torch, with any controller."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...core import options, tolerance_scale
from ...core import record as rec
from ...core.runner import check
from ...core.solver_options import checked_limit, checked_size, checked_step, one_tolerance_each, unmet
from ...engine import trained_method
from ...methods import sde
from .. import checks
from ..graphs import transforming
from .brownian import Foreign, Memory, Source, Tree
from .fields import Coefficient, look, mixes, warn_of_mixing
from .loop import Loop
from .plan import Plan, Taken
from .replay import replay
from .solution import SDESolution, solution_of
from .steps import fixed_pass

Tensor = torch.Tensor
ADJOINTS = ("discrete", "none")
BROWNIANS = ("memory", "tree")
#: where in the span the diffusion is looked at besides its start
LATER = 0.4375
#: record slots that every method fills; HS, sosri
FILLS = frozenset({
    rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.YNORM, rec.ENORM, rec.NF, rec.T_LEFT, rec.SPAN, rec.TRUNCATED,
    rec.FINITE, rec.RTOL,
})  # fmt: skip


@options.named
def sdeint(
    drift: Callable[[Tensor, Tensor], Tensor],
    diffusion: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    t: Any,
    method: str = "sosri",
    controller: object = "pi34",
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
    resolve: Callable[[str], object] | None = None,
) -> SDESolution:
    """Solve dY = drift(t, Y) dt + diffusion(t, Y) dW from y0 through the times t.

    Parameters
        drift, diffusion
                    functions (t, y) -> of y's shape, dtype and device, which leave t and y as they are.  t is 0-d with
                    one step size for all, else (B, 1, ..., 1) with as many axes as y; with steps per sample a row's
                    result must depend on that row alone.  t has y's dtype.
        y0          (B, *features), a batch; or (D,), one system.  float32 or float64.
        t           (T,), T >= 2, strictly increasing; t[0] belongs to y0.  Steps end at these times.  (To go backwards,
                    as the reverse equations of diffusion models do, solve in s = -t.)
        method      one of `methods.sde.NAMES`: "sosri", "sriw1", "milstein_ito", "euler_maruyama" of Ito equations,
                    "euler_heun", "milstein_stratonovich", "stochastic_heun" of Stratonovich equations, "sra1",
                    "gotta_go_fast" with additive noise.
        controller  an object of the controller contract, or a name if `resolve` is given.  Its exponents are divided by
                    the method's strong order plus 1/2.
        rtol, atol  error allowed a step and component, atol + rtol max(|y_n|, |y_{n+1}|), in the rms over a sample (or
                    over the batch); "gotta_go_fast" has a rule of its own.  rtol at most 1, not both zero.  Estimates
                    differ in kind (`docs/sde.md`): that of sosri, sriw1 and sra1 bounds the size of the drift's part.
        seed        a whole number from 0: same seed, same numbers.
        noise       "diagonal": component i has a Brownian motion of its own; "scalar": one for all components;
                    "additive": like diagonal, and the diffusion depends on t alone.
        interpretation
                    None, or "ito" or "stratonovich": refused where the method solves the other equation.
        adjoint     "discrete": gradients through the accepted steps, sizes and increments being constants.  "none": no
                    gradient.
        per_sample  True: every sample has its own steps and status.  False: one step size and one error norm for the
                    whole batch, whose gradient needs no replay.  None: True for a batch (B, *features) with adaptive
                    steps, else False.
        first_step  size of the first attempt; None: automatic, one evaluation more of the drift.
        min_step, max_step
                    least and largest size of an attempt; one of min_step is accepted whatever its error, if finite.
        step_size   None: the controller chooses the steps.  A positive number: equal steps of at most this size between
                    the times t, without error estimate; controller and tolerances then mean nothing.
        max_steps   attempts that a sample may make.
        brownian    "memory": rejected steps keep what they have drawn.  "tree": the path is a function of (seed,
                    sample, t) on the span, the same for every method, controller and tolerance.  Or a torchsde
                    BrownianInterval of y0's size (of (B, 1) with scalar noise) over the span, for one step size for
                    all; with methods that need it, levy_area_approximation="space-time".
        revisit     True: steps do not skip times that rejected attempts have looked at, which convergence asks for.
                    False: they may.
        sample_ids  (B,) whole numbers that name the samples' paths; None: 0, 1, ....  A sample's path depends on seed
                    and number alone, not on the other samples.
        heuristics  True: fill `.heuristics`, E and S (of sosri) with gradient where the solve has one.  "E", "S": that
                    one with gradient.  "values": numbers alone.  False: `.heuristics` is None, as with fixed steps.
        keep_states True: keep the states that adaptive steps began at, `.states` of the solution.
        estimate    "published", or "difference": the error estimate of sosri, sriw1 and sra1 is the difference to an
                    embedded solution of lower order (`methods.sde.method`).  Other methods have one for both words.
        resolve     turns a controller's name into an object; `stepsmith.neural.sdeint` fills it in.

    Returns an SDESolution: y of shape (T, *y0.shape), and what `odeint` returns besides; `W`, the Brownian motion at
    the output times; `stats.ngev`, calls of the diffusion.  A sample that turns NaN or infinite, whose step size
    underflows, or which runs out of max_steps, gets a negative status and NaN outputs from there on.

    Raises ValueError (an OptionError for types and ranges) for arguments that do not fit, adaptive steps by
    euler_maruyama with noise that is not additive, a diffusion that depends on the state where it must not, and rows
    that depend on each other with steps per sample; TypeError for a controller that is not one; RuntimeError under the
    transforms of torch.func.
    """
    began = time.perf_counter()
    if transforming():
        raise RuntimeError(
            "torch.func cannot transform an SDE's solve, whose steps depend on numbers: use torch.autograd for "
            "torch.func.grad, and a batch for vmap"
        )
    checks.state(y0)
    options.choice("adjoint", adjoint, ADJOINTS)
    chosen = sde.get(method, estimate)
    adaptive = step_size is None
    sde.check(chosen, noise, interpretation, adaptive)
    single = y0.dim() == 1
    coupled = not checks.per_sample(per_sample, y0) if adaptive or per_sample is not None else True
    times = _times(t)
    span = float(times[-1] - times[0])
    law, scale = _controller(controller, resolve, chosen, adaptive)
    rtol, atol = one_tolerance_each(rtol, atol)
    shape = tuple(y0.shape) if single else (-1, *y0.shape[1:])
    f, g = (Coefficient(*x, shape, coupled) for x in (("drift", drift), ("diffusion", diffusion)))
    rows = y0.reshape(1 if single else len(y0), -1).clone(memory_format=torch.contiguous_format)
    noises = 1 if noise == "scalar" else rows.shape[1]
    graph = _graph(heuristics, chosen)
    least, most = (options.positive(name, x, none=True) for name, x in (("min_step", min_step), ("max_step", max_step)))
    if least is not None and most is not None and least > most:
        raise ValueError(f"min_step must not exceed max_step, got {least:g} and {most:g}")
    plan = Plan(
        method=chosen,
        noise=noise,
        f=f,
        g=g,
        t=times,
        controller=law,
        rtol=min(rtol * scale, 1.0),
        atol=atol * scale,
        coupled=coupled,
        source=_source(brownian, seed, _ids(sample_ids, len(rows)), noises, chosen.levy, rows, times, coupled),
        first_step=checked_step(first_step, span, cut=True),
        min_step=least,
        max_step=most,
        step_size=None if adaptive else checked_size(step_size, float(times[0]), float(times[-1])),
        max_steps=checked_limit(max_steps),
        revisit=options.flag("revisit", revisit),
        heuristics=bool(heuristics) and adaptive,
        graph=graph if adaptive else "",
        differentiate=adjoint == "discrete" and torch.is_grad_enabled(),
        keep_states=options.flag("keep_states", keep_states) and adaptive,
    )
    taken, counts = _solved(plan, f, g, rows, noises)
    return solution_of(plan, taken, y0, torch.as_tensor(t), counts, time.perf_counter() - began, scale)


def _solved(plan: Plan, f: Coefficient, g: Coefficient, rows: Tensor, noises: int) -> tuple[Taken, Any]:
    """The plan's pass, with its gradient, and the counts that the answer takes."""
    looked = [0]

    def check_fields(y: Tensor, start: Any, ok: Tensor) -> None:
        before, one = f.calls, torch.ones(1 if plan.coupled else len(y)).to(y)
        at, later = one * float(plan.t[0]), one * float(plan.t[0] + LATER * plan.span)
        look(f, g, at, later, y, start, ok, plan.noise, plan.method.name)
        looked[0] += f.calls - before

    plan = replace(plan, check=check_fields)
    if plan.step_size is not None:
        with torch.no_grad():
            at = torch.full((len(rows),), float(plan.t[0])).to(rows)
            if plan.noise == "additive" or plan.method.name == "milstein_stratonovich":
                found = f(at, rows), g(at, rows)
                ok = torch.stack([torch.isfinite(x).all(1) for x in found]).all(0)
                check_fields(rows.detach(), found, ok)
        with torch.set_grad_enabled(plan.differentiate):
            f2, g2 = (Coefficient(x.name, x.func, x.shape, x.coupled) for x in (f, g))
            taken = fixed_pass(plan, replace(plan, f=f2, g=g2), rows, noises)
        return taken, (f.calls, g.calls, looked[0], f2.count)
    with torch.no_grad():
        loop = Loop(plan, rows, noises)
        while loop.step():
            pass
        taken = loop.result()
    _look_at_rejections(plan, g, rows, taken)
    again = Coefficient("drift", f.func, f.shape, f.coupled)
    counts = f.calls, g.calls, looked[0], again.count
    if plan.differentiate and not plan.coupled:
        taken = replay(replace(plan, f=again), rows, taken)
    return taken, counts


def _look_at_rejections(plan: Plan, g: Coefficient, rows: Tensor, taken: Taken) -> None:
    """UserWarning where attempts were rejected, more than a few, and the method's limit depends on there being none:
    that of Ito methods for diagonal noise where it does not commute (`docs/sde.md`)."""
    rejected, accepted = int(taken.done.nreject.sum()), int(taken.done.naccept.sum())
    if (
        plan.noise != "diagonal"
        or plan.method.interpretation != "ito"
        or rejected <= sde.SELDOM * (rejected + accepted)
    ):
        return
    one, y = torch.ones(1 if plan.coupled else len(rows)).to(rows), rows.detach()
    at = one * float(plan.t[0] + LATER * plan.span)
    with torch.no_grad():
        g0 = g(at, y)
    if mixes(g, at, y, g0, torch.isfinite(g0).all(1)):
        warn_of_mixing(plan.method.name)


def _times(t: Any) -> np.ndarray:
    """t as (T,) float64; ValueError where it does not increase, or requires a gradient."""
    if isinstance(t, Tensor) and t.requires_grad:
        raise ValueError("t must not require a gradient: the path is rough, and has no derivative in time")
    times = checks.times(t)
    if times[-1] < times[0]:
        raise ValueError(
            "t must be strictly increasing: to solve backwards, let s = -t with drift -f(-s, y) and diffusion g(-s, y)"
        )
    return times


def _controller(value: Any, resolve: Any, method: sde.SDEMethod, adaptive: bool) -> tuple[Any, float]:
    """The controller object, and its tolerance scale; None and 1 for steps of given size."""
    if not adaptive:
        return None, 1.0
    if isinstance(value, str):
        if resolve is None:
            raise ValueError(f"controller {value!r} is a name: use stepsmith.neural.sdeint, or pass resolve=")
        value = resolve(value)
    check(value)
    fills = FILLS | {rec.HS} if method.stiffness is not None else FILLS
    if missing := unmet(value, fills):
        raise ValueError(f"controller needs {missing}, which method {method.name!r} does not report")
    trained_method.warn_once(value, method.name)
    return value, tolerance_scale.of(value)


def _graph(wanted: Any, method: sde.SDEMethod) -> str:
    """Which of E and S carry gradient."""
    checks.heuristics(wanted)
    if wanted == "S" and method.stiffness is None:
        raise ValueError(f"method {method.name!r} has no stiffness estimate: use sosri")
    if wanted is True:
        return "E" if method.stiffness is None else "ES"
    return wanted if wanted in ("E", "S") else ""


def _ids(sample_ids: Any, rows: int) -> np.ndarray:
    """Numbers (rows,) of the samples."""
    if sample_ids is None:
        return np.arange(rows)
    try:
        raw = np.asarray(sample_ids.detach().cpu() if isinstance(sample_ids, Tensor) else sample_ids)
    except (TypeError, ValueError, RuntimeError):  # what is no array, or a tensor that holds no values
        raw = np.zeros(0)
    if raw.dtype.kind not in "iu" or raw.shape != (rows,):
        raise options.refuse("sample_ids", f"{rows} whole numbers, one a sample", sample_ids)
    return raw.astype(np.int64)


def _source(
    given: Any, seed: Any, ids: np.ndarray, width: int, levy: bool, y: Tensor, t: np.ndarray, coupled: bool
) -> Source:
    """Where increments come from, as `brownian` says; ValueError for what it cannot be."""
    seed = options.count("seed", seed, low=0)
    if isinstance(given, str):
        if options.choice("brownian", given, BROWNIANS) == "memory":
            return Memory(seed, ids, width, levy, y.device)
        tree = Tree(seed, ids, width, y.device, float(t[0]), float(t[-1] - t[0]))
        if (np.diff(tree.units(t)) < 1.0).any():
            raise ValueError("t holds times that are closer than brownian='tree' resolves, 2^-48 of the span")
        return tree
    if not callable(given):
        raise options.refuse("brownian", '"memory", "tree" or a torchsde BrownianInterval', given)
    if not coupled:
        raise ValueError("a BrownianInterval has one clock for all samples: use per_sample=False, or brownian='tree'")
    size = getattr(given, "shape", None)
    if size is not None and (int(np.prod(tuple(size))) != len(y) * width or len(y) not in (1, size[0])):
        raise ValueError(f"brownian has shape {tuple(size)}, and the noise here {(len(y), width)}")
    ends = float(getattr(given, "_start", t[0])), float(getattr(given, "_end", t[-1]))
    slack = 1e-6 * (t[-1] - t[0])  # ends in float32
    if ends[0] > t[0] + slack or t[-1] - slack > ends[1]:
        # torchsde would go on with the ends, and so with too little noise
        raise ValueError(f"brownian spans {ends[0]:g} to {ends[1]:g}, and t {t[0]:g} to {t[-1]:g}")
    kind = getattr(given, "levy_area_approximation", None)
    if levy and kind == "none":
        raise ValueError('the method needs the Levy area: BrownianInterval(..., levy_area_approximation="space-time")')
    return Foreign(given, (len(y), width), levy, y.device)
