"""Grids: the times at which a sampler with a fixed number of steps evaluates its model.

    uniform   equal steps of the process's own time
    cosine    equal steps of the angle arctan(s/a); for Gaussian data of standard deviation c, equal steps of
              arctan(s/(a c)) are the best of all grids for Euler's method in s/a (A. Sabour et al., Align Your Steps,
              ICML 2024, where it is a theorem)
    edm       sigma^(1/rho) in equal steps, sigma = s/a (T. Karras et al., NeurIPS 2022, equation 5)
    log_snr   log sigma in equal steps (C. Lu et al., DPM-Solver, NeurIPS 2022, section 3.3)

sigma runs from the largest to the least value that both the process and the network know.  Where the process ends with
some noise left, the last of the `steps` is Tweedie's estimate, and the grid has one time less.  Flow matching has no
largest and no least sigma: there "edm" and "log_snr" place their inner times as if these were SIGMA_RANGE, and begin
and end at pure noise and clean data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from ..integrators.core import options
from .model import Model
from .processes import Process, as_time

Tensor = torch.Tensor
GRIDS = ("uniform", "cosine", "edm", "log_snr")
#: stands for (0, inf) in the grids that need finite values: EDM's
SIGMA_RANGE = (0.002, 80.0)


def edm_sigmas(n: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Tensor:
    """n >= 2 falling values of sigma, float64, sigma^(1/rho) in equal steps."""
    u = torch.linspace(0.0, 1.0, options.count("n", n, 2), dtype=torch.float64)
    most, least = sigma_max ** (1.0 / rho), sigma_min ** (1.0 / rho)
    return (most + u * (least - most)) ** rho


def times(
    grid: Any,
    steps: int,
    source: Model | Process,
    denoise: bool | None = None,
    rho: float = 7.0,
    scale: float = 1.0,
    finite: bool = False,
) -> Tensor:
    """The times of a grid, float64, from noise to data.

    grid: a name of GRIDS, or the times themselves.  steps: how many evaluations a method with one a step makes, the one
    of the final estimate included.  source: the model, or the process alone.  denoise: whether the last step is
    Tweedie's estimate; None: where noise is left at the end.  rho: of "edm".  scale: the data's standard deviation, of
    "cosine".  finite: whether flow matching too has its sigma in SIGMA_RANGE, and thus noise left at the end.

    Returns (steps + 1,) times, or (steps,) where the last step is Tweedie's estimate.  OptionError for an unknown grid,
    fewer than one step (two with an estimate), and for times that do not run from noise to data within the domain.
    """
    process = source.process if isinstance(source, Model) else source
    if not isinstance(grid, str):
        return given(grid, process)
    name = options.choice("grid", grid, GRIDS)
    least, most = source.sigmas
    if finite:
        least, most = least or SIGMA_RANGE[0], SIGMA_RANGE[1] if math.isinf(most) else most
    estimated = least > 0.0 if denoise is None else options.flag("denoise", denoise)
    n = options.count("steps", steps, 2 if estimated else 1) + (0 if estimated else 1)
    if name == "uniform":
        first, last = t_of(process, most, process.t_noise), t_of(process, least, process.t_data)
        found = torch.linspace(first, last, n, dtype=torch.float64)
    elif name == "cosine":
        options.positive("scale", scale)
        angles = torch.linspace(math.atan(most / scale), math.atan(least / scale), n, dtype=torch.float64)
        found = process.time_of_sigma(scale * torch.tan(angles))
    else:
        found = process.time_of_sigma(_sigmas(name, n, least, most, rho))
    found[0] = t_of(process, most, process.t_noise)
    if n > 1:
        found[-1] = t_of(process, least, process.t_data)
    return found


def t_of(process: Process, sigma: float, end: float) -> float:
    """The time of `sigma`: exactly `end` where it is the process's own end."""
    return end if sigma in process.sigmas else float(process.time_of_sigma(sigma))


def _sigmas(name: str, n: int, least: float, most: float, rho: float) -> Tensor:
    """n falling values; with an end at zero, n - 1 of them and the zero."""
    low, high = least or SIGMA_RANGE[0], SIGMA_RANGE[1] if math.isinf(most) else most
    inner = n if least > 0.0 else n - 1
    if inner < 2:
        values = torch.full((inner,), high, dtype=torch.float64)
    elif name == "edm":
        values = edm_sigmas(inner, low, high, options.positive("rho", rho))
    else:
        values = torch.exp(torch.linspace(math.log(high), math.log(low), inner, dtype=torch.float64))
    return values if least > 0.0 else torch.cat([values, torch.zeros(1, dtype=torch.float64)])


def given(grid: Any, process: Process) -> Tensor:
    """The times that a person gives, checked: at least two, finite, within the domain, from noise to data."""
    if not isinstance(grid, Tensor):
        if not isinstance(grid, Sequence) and not hasattr(grid, "__array__"):
            raise options.refuse("grid", f"one of {', '.join(GRIDS)} or a sequence of times", grid)
        grid = as_time(grid, "grid")
    found = grid.to(torch.float64)
    if found.ndim != 1 or len(found) < 2:
        raise options.refuse("grid", "at least two times (n,)", grid)
    found = process.inside(found, "grid")
    if not bool((torch.diff(found.detach()) * process.towards_data > 0).all()):
        word = "rise" if process.towards_data > 0 else "fall"
        raise options.OptionError(f"grid must {word} strictly, from noise to data in the time of {process}")
    return found
