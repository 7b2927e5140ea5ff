"""Samples of a model: `sample`, and `on_grid`, its loop over fixed steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..integrators.core import options
from . import fixed, grids
from .model import Model
from .samples import Counter, Samples

Tensor = torch.Tensor
METHODS = tuple(fixed.RULES)


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
) -> Samples:
    """Turn noise into samples of a model's data; no gradient is kept.

    model       a `Model`; steps are taken in the time and the state of its process (`Model.as_process`).
    x           standard normal noise (B, *features), float32 or float64: the solve begins at s(t) x.
    method      a rule on a grid: "euler", "ddim", "heun", "midpoint", "ab2", "ab3", "ab4", "dpmpp_2m" (`fixed`).
    steps       how many steps, the final estimate included; None: 8.  "heun" and "midpoint" evaluate twice a step.
    grid        "uniform", "cosine", "edm", "log_snr" (`grids`), or the times from noise to data; None: "uniform".
    schedule    a learned schedule, which brings its own method and grid.
    denoise     whether the last step is Tweedie's estimate of the data; None: where noise is left at the end.
    trajectory  whether the states at all times are kept.

    Samples that turn NaN or infinite are marked as failed, and the others are not touched.  OptionError for options
    that do not fit, ValueError for noise that does not.
    """
    noise = _noise(model, x)
    if schedule is not None:
        return _scheduled(schedule, model, noise, trajectory, method=method, steps=steps, grid=grid)
    options.choice("method", method, METHODS)
    for name, value in (("controller", controller), ("rtol", rtol), ("atol", atol)):
        if value is not None:
            raise options.OptionError(f"{name} means nothing to {method!r}, which has a grid and no error estimate")
    chosen = grids.times("uniform" if grid is None else grid, 8 if steps is None else steps, model, denoise)
    last = _estimated(model, chosen, denoise)
    if steps is not None and len(chosen) - 1 + last != steps:
        raise options.OptionError(f"steps must be left out, or {len(chosen) - 1 + last} as the grid has, got {steps}")
    keep = options.flag("trajectory", trajectory)
    with torch.no_grad():
        return on_grid(model, noise, chosen, method, last, keep)


def on_grid(
    model: Model, noise: Tensor, times: Tensor, method: str, denoise: bool = False, trajectory: bool = False
) -> Samples:
    """Samples by a rule of `fixed` on these times; where gradients are on, they pass through x, the network and the
    times."""
    counter = Counter(model.net)
    counted = model.with_net(counter)
    rule = fixed.RULES[method]
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
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x must be finite noise, got NaN or infinite numbers")
    return x


def _scheduled(schedule: Any, model: Model, noise: Tensor, trajectory: bool, **given: Any) -> Samples:
    """Samples by a learned schedule."""
    run = getattr(schedule, "sample", None)
    if not callable(run):
        raise options.refuse("schedule", "a flows.Schedule", schedule)
    for name in ("steps", "grid"):
        if given[name] is not None:
            raise options.OptionError(f"{name} comes with the schedule, got {options.shown(given[name])}")
    return run(model, noise, trajectory=trajectory)
