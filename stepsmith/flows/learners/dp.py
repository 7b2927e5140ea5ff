"""A grid by dynamic programming over the times of a fine solver.

A fine solver's way x*_0 ... x*_M of the training noise, with its velocities, says what one long step from time i to
time j would miss:

    c_ij = |x*_i + (t_j - t_i) u*_i - x*_j|                                        Euler
    c_pij = |x*_i + h ((1 + r/2) u*_i - r/2 u*_p) - x*_j|, r = h / (t_i - t_p)     AB2 after a step from p

as root mean squares over samples and numbers, no evaluation being needed beyond those of the fine solver.  The grid of
N steps with the least of

    V_1(j) = c_0j,    V_k(j) = min_i [c_ij + growth V_{k-1}(i)]

is found exactly, for AB2 with pairs of times in the place of times, with c squared where squares=True: errors of
different steps then add up like independent ones.  `growth` is how much they are taken to grow in the steps after.
With relative=True c is divided by the RMS of x*_j: for data N(0, c^2), where an error of Euler's grows as the state
does, a growth of 1 then finds the best grid there is (equal angles arctan(sigma/c)).

Source: D. Chen et al., "On the Trajectory Regularity of ODE-based Diffusion Sampling", ICML 2024, arXiv:2405.11326
(GITS): Euler's cost, not squared, not relative, growth 1.15, on 61 times.  The rest is added here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...integrators.core import options
from ..linear import Rows, sampler
from .task import Task

Tensor = torch.Tensor
COSTS = ("own", "euler")


#: tried where no growth is given
GROWTHS = (0.85, 1.0, 1.15, 1.4)


def fit(
    task: Task,
    solver: str = "ab2",
    cost: str | None = None,
    growth: float | None = None,
    relative: bool = True,
    squares: bool = True,
) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance.

    cost: "own", the solver's (of "euler" and "ab2"), or "euler", GITS's.  growth: as above.  None, of either: the one
    that errs least on the validation noise.
    """
    make = sampler(solver)
    known = {"ab2": COSTS, "euler": ("euler",)}.get(solver, ("euler",))
    costs = known if cost is None else (options.choice("cost", cost, COSTS),)
    if solver == "euler":
        costs = ("euler",)
    elif not set(costs) <= set(known):
        raise options.OptionError(f"cost='own' is known for solvers 'euler' and 'ab2', not for {solver!r}")
    growths = GROWTHS if growth is None else (options.positive("growth", growth),)
    relative, squares = options.flag("relative", relative), options.flag("squares", squares)
    times, states, slopes = task.path
    m = len(times) - 1
    if task.steps > m:
        raise options.OptionError(f"steps must be at most {m}, the steps of the fine solver, got {task.steps}")
    gram, power = products(states, slopes), 2 if squares else 1
    first = euler_costs(times.numpy(), gram, relative) ** power
    pairs = ab2_costs(times.numpy(), gram, relative) ** power if "own" in costs else None
    found, errors = dict[tuple[str, float], Rows](), dict[tuple[str, float], float]()
    for name in costs:
        for factor in growths:
            if name == "own" and pairs is not None:
                places = pair_path(first[0], pairs, task.steps, factor)
            else:
                places = shortest_path(first, task.steps, factor)
            found[name, factor] = make(times[places])
            errors[name, factor] = task.error_of(found[name, factor])
            task.say(f"cost {name!r}, growth {factor:g}: {errors[name, factor]:.3f} % on the validation noise")
    best = min(errors, key=errors.__getitem__)
    facts = {"cost": best[0], "growth": best[1], "relative": relative, "squares": squares, "times": m + 1}
    return found[best], {"solver": solver, **facts}


def products(states: Tensor, slopes: Tensor) -> np.ndarray:
    """(2M+1, 2M+1) mean products of the numbers of x*_0 ... x*_M, u*_0 ... u*_{M-1}."""
    everything = torch.cat([states, slopes]).double().flatten(1)
    return (everything @ everything.T / everything.shape[1]).cpu().numpy()


def euler_costs(times: np.ndarray, gram: np.ndarray, relative: bool) -> np.ndarray:
    """(M+1, M+1) c_ij, infinite where j is not after i."""
    m = len(times) - 1
    x, u = gram[: m + 1, : m + 1], gram[m + 1 :, m + 1 :]
    cross = gram[: m + 1, m + 1 :]  # of x_i and u_j
    h = times[None, :] - times[:-1, None]
    own = np.arange(m)
    square = (
        np.diag(x)[:m, None] + np.diag(x)[None, :] - 2 * x[:m] + h**2 * np.diag(u)[:, None]
        + 2 * h * (cross[own, own][:, None] - cross[:, own].T)
    )  # fmt: skip
    size = np.sqrt(np.diag(x)) if relative else np.ones(m + 1)
    found = np.full((m + 1, m + 1), np.inf)
    found[:m] = np.where(np.arange(m + 1) > own[:, None], np.sqrt(np.maximum(square, 0.0)) / size, np.inf)
    return found


def ab2_costs(times: np.ndarray, gram: np.ndarray, relative: bool) -> np.ndarray:
    """(M, M, M+1) c_pij, infinite where p, i, j do not rise."""
    m = len(times) - 1
    size = np.sqrt(np.diag(gram)[: m + 1]) if relative else np.ones(m + 1)
    found = np.full((m, m, m + 1), np.inf)
    for i in range(1, m):
        p, j = np.arange(i), np.arange(i + 1, m + 1)
        h = (times[j] - times[i])[None, :] + 0 * p[:, None]
        lean = h / (times[i] - times[p])[:, None] / 2
        # numbers of (x_i, x_j, u_i, u_p) in the error, and their mean products
        parts = [np.ones_like(h), -np.ones_like(h), h * (1 + lean), -h * lean]
        places = [np.full_like(h, i, int), np.broadcast_to(j, h.shape), np.full_like(h, m + 1 + i, int),
                  np.broadcast_to((m + 1 + p)[:, None], h.shape)]  # fmt: skip
        both = list(zip(parts, places, strict=True))
        square = sum(a * b * gram[at, to] for a, at in both for b, to in both)
        found[:i, i, i + 1 :] = np.sqrt(np.maximum(square, 0.0)) / size[j]
    return found


def shortest_path(costs: np.ndarray, steps: int, growth: float = 1.0) -> list[int]:
    """The places 0 = i_0 < ... < i_steps = M with the least V: costs (M+1, M+1) c_ij."""
    value, came = costs[0], list[np.ndarray]()
    for _ in range(steps - 1):
        through = growth * value[:, None] + costs
        came.append(through.argmin(0))
        value = through.min(0)
    places = [len(costs) - 1]
    for before in reversed(came):
        places.append(int(before[places[-1]]))
    return [0, *reversed(places)]


def pair_path(first: np.ndarray, costs: np.ndarray, steps: int, growth: float = 1.0) -> list[int]:
    """The same with c_pij of the last two places: first (M+1,) c_0j, costs (M, M, M+1)."""
    m = len(first) - 1
    if steps == 1:
        return [0, m]
    value = np.full((m, m + 1), np.inf)  # of the last two places
    value[0] = first
    came = list[np.ndarray]()
    for _ in range(steps - 1):
        through = growth * value[:, :m, None] + costs
        came.append(through.argmin(0))
        value = through.min(0)
    i = int(value[:, m].argmin())
    places = [m, i]
    for before in reversed(came):
        places.append(int(before[places[-1], places[-2]]))
    return list(reversed(places))
