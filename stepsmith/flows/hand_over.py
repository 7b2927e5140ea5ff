"""The times of a schedule in the conventions of diffusers' schedulers.

    set_timesteps(sigmas=schedule.sigmas(...))          or  set_timesteps(timesteps=schedule.timesteps(...))

What is handed over is where the model is evaluated.  How the velocities are put together is the scheduler's own rule,
so that a scheduler reproduces the schedule only where that rule is the same: "dp", "evolution" and "ays" with
solver="euler" on the Euler schedulers.

    scheduler   class                               sigmas
    "flow"      FlowMatchEulerDiscreteScheduler     s / (a + s), in [0, 1], N of them: it appends 0 itself, and it
                                                    applies its `shift`, which is undone here (of dynamic shifting with
                                                    a mu, shift=exp(mu))
    "euler"     EulerDiscreteScheduler              s / a, N + 1 of them, the last being that of the sample
    "edm"       EDMEulerScheduler                   N of them, as a share of its Karras range, rising: 0 is sigma_max, 1
                                                    is sigma_min; it appends 0 itself, and takes a torch tensor alone

Time steps are 1000 s / (a + s) for "flow"; a scheduler with a shift applies it to the sigmas that it makes of them, so
that it is to be given `sigmas` too, or alone.  For "ddpm", which stands for all schedulers of a network with discrete
steps, they are places in its `alphas_cumprod`, found by interpolating log(s / a).

Source: huggingface/diffusers at 58eb52c0, src/diffusers/schedulers/scheduling_{flow_match_euler_discrete,
euler_discrete,edm_euler,dpmsolver_multistep}.py, `set_timesteps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..integrators.core import options
from .processes import from_dict

if TYPE_CHECKING:
    from .schedule import Schedule

SCHEDULERS = ("flow", "euler", "edm")


def sigmas(
    schedule: Schedule,
    scheduler: str = "euler",
    *,
    shift: float = 1.0,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> np.ndarray:
    """Float64 noise levels, from noise to data, in the convention of `scheduler` (see the module's text).

    shift: of "flow".  sigma_min, sigma_max, rho: of "edm".  OptionError where the times do not fall in noise, where the
    schedule has no times of its own, and where a noise level is infinite (the begin of flow matching has no signal).
    """
    options.choice("scheduler", scheduler, SCHEDULERS)
    levels = _levels(schedule)
    if scheduler == "flow":
        shift = options.positive("shift", shift)
        flow = _flow(levels[:-1])
        return flow / (shift - (shift - 1.0) * flow)
    if not np.isfinite(levels).all():
        raise options.OptionError(
            f"the first sigma is infinite, which scheduler={scheduler!r} cannot begin at: use scheduler='flow'"
        )
    if scheduler == "euler":
        return levels
    low, high = options.positive("sigma_min", sigma_min), options.number("sigma_max", sigma_max, above=sigma_min)
    rho = options.positive("rho", rho)
    if not ((levels[:-1] >= low * (1 - 1e-9)) & (levels[:-1] <= high * (1 + 1e-9))).all():
        raise options.OptionError(f"sigmas must lie in [{low:g}, {high:g}] for scheduler='edm', got {levels[:-1]}")
    least, most = low ** (1 / rho), high ** (1 / rho)
    return (most - levels[:-1] ** (1 / rho)) / (most - least)


def timesteps(schedule: Schedule, scheduler: str = "flow", *, alphas_cumprod: Any = None, n: int = 1000) -> np.ndarray:
    """N float64 time steps, falling, in the convention of `scheduler` "flow" or "ddpm" (see the module's text).

    alphas_cumprod: of the scheduler, (n,), for "ddpm".  n: steps that the network was trained with, for "flow".
    OptionError as for `sigmas`, and where alphas_cumprod is missing or is not one; ValueError where a noise level lies
    outside those of alphas_cumprod.
    """
    options.choice("scheduler", scheduler, ("flow", "ddpm"))
    levels = _levels(schedule)[:-1]
    if scheduler == "flow":
        return options.count("n", n) * _flow(levels)
    alphas = np.asarray([] if alphas_cumprod is None else alphas_cumprod, np.float64)
    if alphas.ndim != 1 or len(alphas) < 2 or not ((alphas > 0) & (alphas < 1)).all() or (np.diff(alphas) >= 0).any():
        raise options.refuse("alphas_cumprod", "falling numbers between 0 and 1 for 'ddpm'", alphas_cumprod)
    known = 0.5 * np.log((1 - alphas) / alphas)
    logs = np.log(levels)
    if logs.max() > known[-1] + 1e-6 or logs.min() < known[0] - 1e-6:
        raise ValueError(
            f"sigmas from {levels.min():.4g} to {levels.max():.4g} are not all among those of alphas_cumprod, "
            f"{np.exp(known[0]):.4g} to {np.exp(known[-1]):.4g}"
        )
    return np.interp(logs, known, np.arange(len(alphas), dtype=np.float64))


def _levels(schedule: Schedule) -> np.ndarray:
    """s / a at all times, the begin of flow matching being infinite; OptionError where they do not fall."""
    if schedule.network is not None and schedule.network.role == "clock":
        raise options.OptionError("this schedule's clock sets the times of every sample: it has none to hand over")
    process = from_dict(dict(schedule.process))
    t = torch.tensor(schedule.times)
    a, s = process.a(t).numpy(), process.s(t).numpy()
    levels = np.where(a == 0.0, np.inf, s / np.where(a == 0.0, 1.0, a))
    if not (levels[1:] < levels[:-1]).all():
        raise options.OptionError(
            f"the noise of this schedule does not fall from time to time, which schedulers need: sigma is {levels}"
        )
    return levels


def _flow(levels: np.ndarray) -> np.ndarray:
    """s / (a + s) of s / a."""
    return 1.0 / (1.0 + 1.0 / levels)
