"""Arms, problems, and costs by context for the tests of online tuning."""

from __future__ import annotations

import functools
import math

import numpy as np

import stepsmith as ss

LAWS = {"controller": ["i", "pi34"], "safety": [0.5, 0.9]}
#: options of a tuner whose arms are anything
OPEN = {"feedback": None}
T_END = 4.0


@functools.cache
def problems():
    """Forty van der Pol problems on a short span."""
    found = ss.problems.sample("vanderpol", n=40, seed=2)
    return [ss.Problem(one.rhs, one.y0, (0.0, T_END), one.p, name="vanderpol") for one in (found[i] for i in range(40))]


def error_at_the_end(sol, problem):
    exact = ss.solve(problem, method="dop853", rtol=1e-12, atol=1e-13, t_eval=[T_END]).y[-1]
    return float(np.abs(sol.y[-1] - exact).max())


def log_mu(problem):
    return math.log(problem.p[0])


def play(bandit, costs, contexts=None):
    """The arms that a bandit plays on a table of costs (T, arms)."""
    arms = np.empty(len(costs), int)
    for t, row in enumerate(costs):
        context = None if contexts is None else float(contexts[t])
        arms[t] = bandit.draw(context)
        bandit.update(arms[t], row[arms[t]], context)
    return arms


def contextual(rounds, seed):
    """Costs of 5 arms, least where the context is the arm's own place, with noise; and the contexts."""
    rng = np.random.default_rng(seed)
    contexts = rng.uniform(-1.0, 2.0, rounds)
    places = np.linspace(-1.0, 2.0, 5)
    return 10.0 + 5.0 * np.abs(contexts[:, None] - places) + rng.normal(0.0, 0.3, (rounds, 5)), contexts
