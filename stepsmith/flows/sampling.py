"""Samples of a model: `sample`, and `on_grid`, its loop over fixed steps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from ..integrators.core import options
from ..integrators.methods import sde, tableaus
from ..integrators.methods.places import ALIASES
from . import adaptive, fixed, grids, stochastic
from .model import Model, check_values
from .samples import Counter, Samples

Tensor = torch.Tensor
#: rules on a grid, which take `steps` and `grid`
ON_GRID = (*fixed.RULES, *stochastic.NAMES)
#: methods that solve the reverse SDE with steps that a controller chooses
REVERSE = tuple(name for name in sde.NAMES if name not in ON_GRID)
#: methods whose steps a controller chooses: these, and pairs, which solve the probability-flow ODE
ADAPTIVE = (*tableaus.NAMES, *ALIASES, *REVERSE)
METHODS = (*ON_GRID, *ADAPTIVE)


@options.named
def sample(
    model: Model,
    x: Tensor,
    method: str = "ab2",
    steps: int | None = None,
    grid: Any = None,
    schedule: Any = None,
    controller: Any = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    *,
    denoise: bool | None = None,
    trajectory: bool = False,
    per_sample: bool | None = None,
    first_step: Any = None,
    max_steps: int | None = None,
) -> Samples:
    """Turn noise into samples of a model's data; no gradient is kept.

    model       a `Model`; steps are taken in the time and the state of its process (`Model.as_process`).
    x           standard normal noise (B, *features), float32 or float64: the solve begins at s(t) x.
    method      a rule on a grid: "euler", "ddim", "heun", "midpoint", "ab2", "ab3", "ab4", "dpmpp_2m" (`fixed`), or
                with new noise in every step "ancestral", "euler_maruyama" (`stochastic`); or one that chooses its
                steps: an explicit Runge-Kutta pair ("heun_euler", "bs32", "dopri5", "tsit5", ...) on the
                probability-flow ODE, or a method for SDEs ("gotta_go_fast", "sra1", "sosri", ...) on the reverse SDE.
    steps       how many steps, the final estimate included; None: 8.  "heun" and "midpoint" evaluate twice a step.
    grid        "uniform", "cosine", "edm", "log_snr" (`grids`), or the times from noise to data; None: "uniform".
                With a method that chooses its steps the times of the trajectory, for which that must be True.
    schedule    a learned `Schedule`, or the path of its file, which brings its own method and grid.
    controller  of chosen steps: a law's name, the path of a controller file, or an object; None: "pi34".
    rtol, atol  of chosen steps: the error allowed a step, as for `neural.odeint`, `neural.sdeint`; None: 1e-2.
    seed        of the noise of a stochastic method: the same seed, the same samples.
    denoise     whether the last step is Tweedie's estimate of the data; None: where noise is left at the end.
    trajectory  whether the states at all times are kept.
    per_sample  of chosen steps: whether every sample has its own; None: True.
    first_step, max_steps
                of chosen steps: as for `neural.odeint`; max_steps None: 10000.

    Samples that turn NaN or infinite are marked as failed, and with steps of a rule or of each sample's own the others
    are not touched.  OptionError for options that do not fit, ValueError for noise that does not.
    """
    noise = _noise(model, x)
    if schedule is not None:
        given = {
            "method": None if method == "ab2" else method, "steps": steps, "grid": grid, "controller": controller,
            "rtol": rtol, "atol": atol, "denoise": denoise, "per_sample": per_sample, "first_step": first_step,
            "max_steps": max_steps,
        }  # fmt: skip
        return _scheduled(schedule, model, noise, options.flag("trajectory", trajectory), given)
    options.choice("method", method, METHODS)
    keep = options.flag("trajectory", trajectory)
    if method in ADAPTIVE:
        choice = adaptive.Choice(
            method, "pi34" if controller is None else controller, (1e-2 if rtol is None else rtol,
            1e-2 if atol is None else atol), True if per_sample is None else per_sample, first_step,
            10_000 if max_steps is None else max_steps, options.count("seed", seed, 0),
        )  # fmt: skip
        return _chosen_steps(model, noise, choice, steps, grid, denoise, keep)
    own = {"controller": controller, "rtol": rtol, "atol": atol, "per_sample": per_sample, "first_step": first_step,
           "max_steps": max_steps}  # fmt: skip
    for name, value in own.items():
        if value is not None:
            raise options.OptionError(f"{name} means nothing to {method!r}, which has a grid and no error estimate")
    random = method in stochastic.NAMES
    rule = stochastic.rule(method, options.count("seed", seed, 0)) if random else fixed.RULES[method]
    name = "uniform" if grid is None else grid
    chosen = grids.times(name, 8 if steps is None else steps, model, denoise, finite=method == "euler_maruyama")
    last = _estimated(model, chosen, denoise)
    _refuse_singular(model, chosen, False)
    if steps is not None and len(chosen) - 1 + last != steps:
        raise options.OptionError(f"steps must be left out, or {len(chosen) - 1 + last} as the grid has, got {steps}")
    with torch.no_grad():
        return on_grid(model, noise, chosen, rule, last, keep)


def _chosen_steps(
    model: Model, noise: Tensor, choice: adaptive.Choice, steps: Any, grid: Any, denoise: Any, keep: bool
) -> Samples:
    """Samples with steps that a controller chooses."""
    method = choice.method
    if not keep and (grid is not None or steps is not None):
        raise options.OptionError(
            f"{'steps' if grid is None else 'grid'} means nothing to {method!r}, which chooses its steps: give rtol "
            "and atol, or trajectory=True for the states at these times"
        )
    reverse = method in REVERSE
    given = grid is not None and not isinstance(grid, str)
    count = 1 if not keep else 8 if steps is None else steps
    noisy = reverse or model.sigmas[0] > 0.0  # at the end
    if not given and (noisy if denoise is None else options.flag("denoise", denoise)):
        count = options.count("steps", count) + 1  # the estimate is no time of the solve
    times = grids.times("uniform" if grid is None else grid, count, model, denoise, finite=reverse)
    if steps is not None and given and len(times) - 1 != steps:
        raise options.OptionError(f"steps must be left out, or {len(times) - 1} as the grid has, got {steps}")
    last = _estimated(model, times, denoise)
    if reverse and float(model.process.a(times[0])) == 0.0:
        raise options.OptionError(
            f"grid must begin where there is signal, for {method!r}: at pure noise the reverse SDE has no finite drift"
        )
    if not reverse:
        _refuse_singular(model, times)
    solve = adaptive.reverse_sde if reverse else adaptive.probability_flow
    with torch.no_grad():
        return solve(model, scaled(model, noise, times[0]), times, choice, last, keep)


def _refuse_singular(model: Model, times: Tensor, last: bool = True) -> None:
    """OptionError where the ODE's slope does not exist at the beginning or, with `last`, at the end."""
    for end in (float(times[0]), float(times[-1]))[: 1 + last]:
        if model.singular(end):
            where = "begin after" if end == float(times[0]) else "end before"
            raise options.OptionError(
                f"grid must {where} t = {end:g}, where a network that predicts {model.predicts} gives no velocity, "
                "for a method that evaluates there"
            )


def on_grid(
    model: Model,
    noise: Tensor,
    times: Tensor,
    method: str | fixed.Rule,
    denoise: bool = False,
    trajectory: bool = False,
) -> Samples:
    """Samples by a rule, or the name of one of `fixed`, on these times; where gradients are on, they pass through x,
    the network and the times.  OptionError for times that do not fit, as of `times`, and for an unknown rule."""
    times = grids.given(times, model.process)
    counter = Counter(model.net)
    counted = model.with_net(counter)
    rule = fixed.RULES[options.choice("method", method, fixed.RULES)] if isinstance(method, str) else method
    moments: Sequence[Any] = list(times.unbind()) if times.requires_grad else times.tolist()
    x = scaled(model, noise, moments[0])
    good = torch.ones(len(x), dtype=torch.bool, device=x.device)
    states, past = [x], []  # type: ignore[var-annotated]
    lasted = torch.zeros(len(x), dtype=torch.int64, device=x.device)  # steps after which a sample was finite
    for i in range(len(moments) - 1):
        x = rule(counted, x, moments, i, past)
        good = good & torch.isfinite(x.detach()).flatten(1).all(1)
        lasted += good
        if trajectory:
            states.append(x)
    if denoise:
        x = counted.denoised(x, moments[-1])
        good = good & torch.isfinite(x.detach()).flatten(1).all(1)
    message = "done"
    if not bool(good.all()):
        first = int(lasted[~good].min())
        when = f"from t = {float(moments[min(first, len(moments) - 1)]):.6g}"
        message = f"{int((~good).sum())} of {len(x)} samples are not finite, the first of them in the step {when}"
        x = torch.where(good.reshape(-1, *[1] * (x.ndim - 1)), x, torch.full_like(x, torch.nan))
    n = torch.full((len(x),), counter.calls, dtype=torch.int64)
    return Samples(
        y=x, nfe=counter.calls, t=times.detach(), trajectory=torch.stack(states) if trajectory else None,
        success=message == "done", message=message, denoised=denoise, failed=~good, nfe_per_sample=n,
        naccept=len(x) * (len(moments) - 1), nreject=0,
    )  # fmt: skip


def scaled(model: Model, noise: Tensor, t: Any) -> Tensor:
    """The state at a solve's beginning: s(t) times the noise."""
    return model.process.s(t).to(noise.device).to(noise.dtype) * noise


def _estimated(model: Model, times: Tensor, denoise: bool | None) -> bool:
    """Whether the last step is Tweedie's estimate."""
    if denoise is None:
        return float(model.process.s(times.detach()[-1])) > 0.0
    return options.flag("denoise", denoise)


def _noise(model: Any, x: Any) -> Tensor:
    """x, checked."""
    if not isinstance(model, Model):
        raise options.refuse("model", "a flows.Model", model)
    if not isinstance(x, Tensor) or x.ndim < 2 or x.dtype not in (torch.float32, torch.float64) or 0 in x.shape:
        got = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise options.OptionError(f"x must be noise (B, *features) of float32 or float64, got {got}")
    check_values(x)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite noise, got NaN or infinite numbers")
    return x


def _scheduled(schedule: Any, model: Model, noise: Tensor, trajectory: bool, given: dict[str, Any]) -> Samples:
    """Samples by a learned schedule, beside which no other option of the steps may be `given`."""
    from .schedule import Schedule  # which makes `Samples` itself

    schedule = Schedule.load(schedule) if isinstance(schedule, (str, os.PathLike)) else schedule
    if not isinstance(schedule, Schedule):
        raise options.refuse("schedule", "a flows.Schedule or the path of its file", schedule)
    for name, value in given.items():
        if value is not None:
            raise options.OptionError(f"{name} means nothing beside a schedule, which has its own steps")
    return schedule.sample(model, noise, trajectory)
