"""Does the diffusion of a problem keep to the kind of noise that it says it has, and to what methods take for granted?

A diffusion that depends on the state but is called additive, or one whose components depend on each other where a
method takes it that they do not, would lead to a wrong limit, and nothing would say so.  It is evaluated in plain
Python at some states near the first one; what differs there is refused, what happens to be equal there is not found.
"""

from __future__ import annotations

import warnings
import weakref

import numpy as np

from ..checks.interpreted import interpreted
from ..core.errors import OptionError, outside
from ..methods.sde import SELDOM, SDEMethod
from ..problems.sde.problem import SDEProblem

#: methods whose limit is another one where g_i depends on other components than y_i
OWN_COMPONENT = ("milstein_stratonovich",)
PROBES = 4

_FOUND: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def check_noise(problem: SDEProblem, method: SDEMethod) -> None:
    """OptionError where the diffusion is not of the kind `problem.noise`, or not of one that the method takes."""
    if problem.noise == "scalar" or (problem.noise == "diagonal" and method.name not in OWN_COMPONENT):
        return
    found = _found(problem)
    if problem.noise == "additive":
        if found.any():
            i, j = np.argwhere(found)[0]
            raise OptionError(
                f"noise='additive' says that the diffusion does not depend on the state, but g[{i}] changes with "
                f"y[{j}]: use noise='diagonal'"
            )
    elif (others := found & ~np.eye(problem.n, dtype=bool)).any():
        i, j = np.argwhere(others)[0]
        raise OptionError(
            f"method {method.name!r} needs g[i] to depend on t and y[i] alone, but g[{i}] changes with y[{j}]: use "
            "euler_heun or stochastic_heun"
        )


def warn_of_rejections(problem: SDEProblem, method: SDEMethod, rejected: int, attempts: int) -> None:
    """UserWarning where more than a few attempts were rejected, and the method's limit depends on there being none:
    that of methods for Ito equations with diagonal noise that does not commute.

    These leave out the products W_i W_j, whose mean is zero, and is not where attempts are chosen by what the noise
    does in them (docs/sde.md).
    """
    if problem.noise != "diagonal" or method.interpretation != "ito" or rejected <= SELDOM * attempts:
        return
    others = _found(problem) & ~np.eye(problem.n, dtype=bool)
    if others.any():
        i, j = np.argwhere(others)[0]
        warnings.warn(
            f"{rejected} of {attempts} attempts were rejected, and the noise does not commute (g[{i}] changes with "
            f"y[{j}]): {method.name} may then have a wrong limit, however small the tolerance. Use stochastic_heun or "
            "euler_heun with the drift of the Stratonovich equation, or steps of given size (step_size=)",
            stacklevel=outside(),
        )


def _found(problem: SDEProblem) -> np.ndarray:
    """`dependence`, remembered."""
    found = _FOUND.get(problem)
    if found is None:
        found = _FOUND[problem] = dependence(problem)
    return found


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
