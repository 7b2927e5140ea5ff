"""A method for every step: unified sampling, by evolution with a learned predictor.

Each step is one of

    velocity 1 ... 4    Adams-Bashforth of this order
    denoised 1, 2       exact for constant denoised data D: x_+ = (s_+/s) x + (a_+ - s_+ a/s) D; of order 2 with D
                        extrapolated to the middle of the step, D + h/(2 h-) (D - D-)
    noise 1, 2          exact for a constant noise e: x_+ = (a_+/a) x + (s_+ - a_+ s/a) e, likewise

and beside it a candidate has a grid by name (`grids`) and a factor of every step of it.  D and e are sums of the state
and the velocity, so that every candidate is rows.  A small network that is trained on the candidates tried so far
predicts the logarithm of the error of others; of many offspring of the best ones those of the least prediction are
tried.

Source: E. Liu, X. Ning, H. Yang, Y. Wang, "A Unified Sampling Framework for Solver Searching of Diffusion Probabilistic
Models", ICLR 2024, arXiv:2312.07243: per step a time, a prediction type, an order and more, by S^3, a search with a
predictor.  Correctors and the choice of derivative estimates are left out here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ...integrators.core import options
from ..fixed import adams_bashforth
from ..grids import GRIDS
from ..grids import times as grid_times
from ..linear import Rows, run
from ..model import Model
from .task import Task, percent

Tensor = torch.Tensor

CHOICES = (
    ("velocity", 1), ("velocity", 2), ("velocity", 3), ("velocity", 4), ("denoised", 1), ("denoised", 2), ("noise", 1),
    ("noise", 2),
)  # fmt: skip
#: factors of a step
FACTORS = (0.6, 0.8, 1.0, 1.25, 1.6)
AB2 = CHOICES.index(("velocity", 2))
#: what stands for the error of samples that are not finite, in per cent
WORST = 1e6


def rows_of(model: Model, times: Tensor, choices: Any) -> Rows:
    """Rows of a choice (prediction, order) for every step; an order is cut to the velocities that there are.

    ValueError for noise where there is no signal, and denoised data where there is no noise.
    """
    p, n = model.process, len(times) - 1
    a, s, da, ds, w = (f(times) for f in (p.a, p.s, p.da, p.ds, p.wronskian))
    start, state, slopes = (torch.zeros(shape, dtype=torch.float64) for shape in ((n,), (n,), (n, n)))
    sums = [torch.zeros(n + 1, dtype=torch.float64)]  # x_i in x_0, u_0 ... u_{n-1}
    sums[0][0] = 1.0
    for i, (kind, order) in enumerate(choices):
        order = min(order, i + 1)
        own, older = torch.zeros((), dtype=torch.float64), torch.zeros(n + 1, dtype=torch.float64)
        if kind == "velocity":
            own = torch.ones((), dtype=torch.float64)
            nodes = times[i + 1 - order : i + 1].tolist()
            for j, weight in enumerate(adams_bashforth(nodes, float(times[i]), float(times[i + 1]))):
                older[i + 2 - order + j] += weight
        else:
            free, held = (s, a) if kind == "denoised" else (a, s)
            if float(free[i]) == 0.0:
                raise ValueError(f"{kind} predictions cannot be made at t = {float(times[i]):g}")
            own = free[i + 1] / free[i]
            whole = held[i + 1] - own * held[i]
            lean = 0.0 if order == 1 else (times[i + 1] - times[i]) / (times[i] - times[i - 1]) / 2
            for j, weight in ((i, whole * (1 + lean)), (i - 1, -whole * lean)):
                if j < 0 or float(weight) == 0.0:
                    continue
                x, u = (-ds[j] / w[j], s[j] / w[j]) if kind == "denoised" else (da[j] / w[j], -a[j] / w[j])
                older[j + 1] += weight * u
                if j == i:
                    own = own + weight * x
                else:
                    older += weight * x * sums[j]
        start[i], state[i], slopes[i] = older[0], own, older[1:]
        sums.append(own * sums[i] + older)
    return Rows(times, start, state, slopes)


def fit(
    task: Task, first: int = 48, rounds: int = 8, tried: int = 24, offspring: int = 400, samples: int = 128
) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance.

    first: candidates tried at the beginning; rounds of `tried` more, chosen from `offspring`; samples: of the training
    noise, that a candidate is judged by.  The best ten of the end are compared on the validation noise.
    """
    first, tried = options.count("first", first, 4), options.count("tried", tried)
    rounds, offspring = options.count("rounds", rounds), options.count("offspring", offspring, tried)
    rng, n = np.random.default_rng([task.seed, 0x555346]), task.steps
    kinds = [len(GRIDS), *[len(FACTORS)] * n, *[len(CHOICES)] * n]
    x, wanted = task.training[:samples], task.target[:samples]
    plain = (GRIDS.index("uniform"), *[FACTORS.index(1.0)] * n, *[AB2] * n)
    known: dict[tuple[int, ...], float] = {}

    def tries(one: tuple[int, ...]) -> None:
        if one not in known:
            try:
                with torch.no_grad():
                    found = percent(run(task.field, x, built(task, one))[0], wanted)
            except ValueError:
                found = WORST
            known[one] = math.log(min(max(found, 1e-9), WORST))

    people = [plain] + [genes_mutated(plain, kinds, 0.3, rng) for _ in range(first // 2)]
    people += [tuple(int(g) for g in rng.integers(kinds)) for _ in range(first - len(people))]
    for one in people:
        tries(one)
    done = 0
    for done in range(1, rounds + 1):
        best = sorted(known, key=known.__getitem__)[:10]
        new = {genes_mutated(best[rng.integers(len(best))], kinds, 0.15, rng) for _ in range(offspring // 2)}
        pairs = rng.integers(len(best), size=(offspring // 2, 2))
        new |= {genes_crossed(best[a], best[b], rng) for a, b in pairs}
        fresh = sorted(new - known.keys())
        predicted = predictor(list(known), list(known.values()), kinds, task.seed)(fresh)
        for k in np.argsort(predicted)[:tried]:
            tries(fresh[k])
        task.say(f"round {done}: {math.exp(min(known.values())):.3f} % in training, {len(known)} candidates tried")
        if task.over:
            break
    final = [built(task, one) for one in sorted(known, key=known.__getitem__)[:10]]
    rows = min(final, key=task.error_of)
    return rows, {"candidates": len(known), "rounds": done}


def built(task: Task, one: tuple[int, ...]) -> Rows:
    """The rows of a candidate: the place of its grid, of the factors of the steps, of their methods."""
    n = task.steps
    grid = grid_times(GRIDS[one[0]], n, task.model, denoise=False)
    steps = torch.diff(grid) * torch.tensor([FACTORS[g] for g in one[1 : n + 1]], dtype=torch.float64)
    shares = torch.cumsum(steps, 0) / steps.sum()
    times = torch.cat([grid[:1], grid[0] + (grid[-1] - grid[0]) * shares[:-1], grid[-1:]])
    return rows_of(task.model, times, [CHOICES[g] for g in one[n + 1 :]])


def genes_mutated(one: tuple[int, ...], kinds: list[int], change: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Each gene drawn anew with probability `change`."""
    new = np.where(rng.random(len(one)) < change, rng.integers(kinds), one)
    return tuple(int(g) for g in new)


def genes_crossed(a: tuple[int, ...], b: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """Each gene from one of the two."""
    return tuple(int(g) for g in np.where(rng.random(len(a)) < 0.5, a, b))


def predictor(candidates: list[tuple[int, ...]], values: list[float], kinds: list[int], seed: int) -> Any:
    """A function of a list of candidates: predicted logarithms of their errors (n,), by a network trained on these."""
    ends = np.cumsum(kinds)

    def seen(some: list[tuple[int, ...]]) -> Tensor:
        places = torch.tensor(np.array(some) + (ends - kinds))
        return torch.zeros(len(some), int(ends[-1])).scatter_(1, places, 1.0)

    given, wanted = seen(candidates), torch.tensor(values, dtype=torch.float32)
    wanted = wanted.clamp(max=float(wanted.median()) + 3.0)  # what is hopeless need not be told apart
    mean, spread = wanted.mean(), wanted.std() + 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(int(ends[-1]), 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    adam = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-3)
    for _ in range(150):
        loss = (net(given)[:, 0] - (wanted - mean) / spread).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()

    @torch.no_grad()
    def predict(some: list[tuple[int, ...]]) -> np.ndarray:
        return (net(seen(some))[:, 0] * spread + mean).numpy()

    return predict
