"""Does the diffusion of a problem keep to the kind of noise that it says it has?

A diffusion that depends on the state but is called additive, or one whose components depend on each other where a
method takes it that they do not, would lead to a wrong limit, and nothing would say so.  It is evaluated in plain
Python at some states near the first one; what differs there is refused, what happens to be equal there is not found.
"""

from __future__ import annotations

import weakref

import numpy as np

from ..checks.interpreted import interpreted
from ..core.errors import OptionError
from ..methods.sde import SDEMethod
from ..problems.sde.problem import SDEProblem

#: methods whose limit is another one where g_i depends on other components than y_i
OWN_COMPONENT = ("milstein_stratonovich",)
PROBES = 4

_FOUND: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def check_noise(problem: SDEProblem, method: SDEMethod) -> None:
    """OptionError where the diffusion is not of the kind `problem.noise`, or not of one that the method takes."""
    if problem.noise == "scalar" or (problem.noise == "diagonal" and method.name not in OWN_COMPONENT):
        return
    found = _FOUND.get(problem)
    if found is None:
        found = _FOUND[problem] = dependence(problem)
    if problem.noise == "additive":
        if found.any():
            i, j = np.argwhere(found)[0]
            raise OptionError(
                f"noise='additive' says that the diffusion does not depend on the state, but g[{i}] changes with "
                f"y[{j}]: use noise='diagonal'"
            )
    elif (found & ~np.eye(problem.n, dtype=bool)).any():
        i, j = np.argwhere(found & ~np.eye(problem.n, dtype=bool))[0]
        raise OptionError(
            f"method {method.name!r} needs g[i] to depend on t and y[i] alone, but g[{i}] changes with y[{j}]: use "
            "euler_heun or stochastic_heun"
        )


def dependence(problem: SDEProblem) -> np.ndarray:
    """(n, n) bool: whether component i of the diffusion was seen to change with component j of the state."""
    part = problem.part("diffusion")
    fn, n = interpreted(part.rhs), problem.n
    found = np.zeros((n, n), dtype=bool)
    draws = np.random.default_rng(0)
    t0, t1 = problem.t_span

    def at(t: float, y: np.ndarray) -> np.ndarray:
        out = np.full(n, np.nan)
        with np.errstate(all="ignore"):
            fn(t, y, part.p, out)
        return out

    try:
        for _ in range(PROBES):
            t = t0 + (t1 - t0) * draws.random()
            y = problem.y0 + (0.1 + 0.1 * np.abs(problem.y0)) * draws.standard_normal(n)
            before = at(t, y)
            for j in range(n):
                moved = y.copy()
                moved[j] += 0.1 + 0.1 * abs(y[j])
                after = at(t, moved)
                both = np.isfinite(before) & np.isfinite(after)
                found[:, j] |= both & (after != before)
    except Exception:  # the person's own, at a state that may be outside its domain: what was seen until then counts
        pass
    return found
