"""Align Your Steps: the grid with the least upper bound on the KL divergence of a stochastic sampler's path.

In the noise sigma = s/a of states divided by a, a sampler that keeps the denoised data D from time to time has

    KLUB = sum_i integral over sigma from sigma_{i+1} to sigma_i of E|D(x_sigma) - D(x_sigma_i)|^2 / sigma^3

by Girsanov's theorem, x being noised along one Brownian path.  The expectation is a mean over the fine solver's samples
in the place of data, each with one such path over `nodes` times, evenly in log sigma; it takes one evaluation a node.
Between nodes the integral is the trapezoidal rule in log sigma.  The paper searches the sum time by time, from few to
many; over nodes it is the length of a path, whose least is found exactly (`dp.shortest_path`).

The bound is of a stochastic sampler, while what is trained here is a deterministic one, and of distributions instead of
samples.  At sigma = 0 it is infinite: `sigma_min` is where it stops, and the last step goes on to the end.

Source: A. Sabour, S. Fidler, K. Kreis, "Align Your Steps: Optimizing Sampling Schedules in Diffusion Models", ICML
2024, arXiv:2404.14507, section 3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ...integrators.core import options
from ..linear import Rows, sampler
from .dp import shortest_path
from .task import Task

Tensor = torch.Tensor


def fit(
    task: Task, solver: str = "ab2", nodes: int = 128, sigma_min: float = 0.02, sigma_max: float = 80.0
) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance.  sigma_min, sigma_max: cut to what the model reaches."""
    make = sampler(solver)
    nodes = options.count("nodes", nodes, task.steps + 1, 4096)
    low, high = task.model.sigmas
    low, high = max(low, options.positive("sigma_min", sigma_min)), min(high, options.positive("sigma_max", sigma_max))
    if low >= high:
        raise options.OptionError(f"sigma_min must be below sigma_max, got {low:g} and {high:g} in the model's range")
    levels = np.geomspace(high, low, nodes)
    gaps = differences(task, levels)
    costs = klub(levels, gaps)
    places = shortest_path(costs, task.steps)
    times = task.process.time_of_sigma(torch.tensor(levels[places]))
    times[0], times[-1] = task.span  # beyond the nodes to both ends
    total = float(sum(costs[i, j] for i, j in zip(places[:-1], places[1:], strict=True)))
    task.say(f"bound {total:.4g}, sigma {' '.join(f'{x:.4g}' for x in levels[places])}")
    facts = {"nodes": nodes, "sigma_min": float(low), "sigma_max": float(high), "bound": total}
    return make(times), {"solver": solver, **facts}


@torch.no_grad()
def differences(task: Task, levels: np.ndarray) -> np.ndarray:
    """(K, K) means of |D_k - D_l|^2 at noise levels (K,), which fall, along one Brownian path a sample."""
    process, data = task.process, task.target
    rises = np.sqrt(np.maximum(np.diff(levels[::-1] ** 2, prepend=0.0), 0.0))
    walk, found = torch.zeros_like(data, dtype=torch.float64), list[Tensor]()
    for level, rise in zip(levels[::-1], rises, strict=True):  # from the data on
        z = torch.randn(data.shape, generator=task.generator, dtype=torch.float64).to(data.device)
        walk = walk + float(rise) * z
        t = process.time_of_sigma(float(level))
        x = (float(process.a(t)) * (data.double() + walk)).to(data.dtype)
        task.evaluations += len(x)
        found.append(task.model.denoised(x, t).double().flatten())
    stacked = torch.stack(found[::-1])
    gram = (stacked @ stacked.T / len(data)).cpu().numpy()
    own = np.diag(gram)
    return np.maximum(own[:, None] + own[None, :] - 2 * gram, 0.0)


def klub(levels: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """(K, K) the bound of one step from node i to node j, infinite where j is not after i.

    levels (K,), falling geometrically; gaps (K, K) of `differences`.
    """
    spacing = math.log(levels[0] / levels[1])
    integrand = gaps / levels[None, :] ** 2
    pieces = 0.5 * spacing * (integrand[:, 1:] + integrand[:, :-1])
    k = len(levels)
    ahead = np.arange(1, k)[None, :] > np.arange(k)[:, None]
    found = np.full((k, k), np.inf)
    found[:, 1:] = np.where(ahead, np.cumsum(np.where(ahead, pieces, 0.0), 1), np.inf)
    return found
