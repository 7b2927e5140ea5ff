"""Consistent starts of problems with a singular mass matrix: `consistent_start(problem, rtol, atol)`.

A state fits M y' = f(t, y; p) where it satisfies the algebraic equations P f(t, y) = 0 (`problems.mass`).  Newton's
iteration

    S d = -c P f(t, y),    S = M + c P df/dy,    y <- y + lambda d,

leaves M y as it is: where M is diagonal, the components with a derivative keep their values, and the algebraic ones
are found from them, as with "IDA_YA_YDP_INIT" of SUNDIALS and "BrownFullBasicInit" of OrdinaryDiffEq (P. N. Brown,
A. C. Hindmarsh, L. R. Petzold, SIAM J. Sci. Comput. 19 (1998) 1495).  The factor lambda halves until the next
correction with the same S is smaller (the natural monotonicity test; P. Deuflhard, Newton Methods for Nonlinear
Problems, Springer 2004, section 3.3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from ..checks import mass_check
from ..checks.plain import Slopes, short
from ..core.errors import OptionError, refuse, shown
from ..core.solver_options import tolerances
from ..problems import mass as masses
from ..problems.problem import Batch, Problem

ITERATIONS = 100
#: of the tolerance: a correction that is smaller is the last
CLOSE = 1e-6
SMALLEST = 2.0**-20

Source = TypeVar("Source", Problem, Batch)


def consistent_start(problem: Source, rtol: Any = 1e-6, atol: Any = 1e-9) -> Source:
    """The Problem, or each instance of the Batch, with an initial state that satisfies the algebraic equations.

    rtol, atol: the tolerances it will be solved with; the state is found to a millionth of them, or to rounding.  The
    components that have a derivative keep their values (of a matrix M that is not diagonal: M y does).  A problem
    without a mass matrix, or with a regular one, is given back as it is.

    Raises OptionError where the algebraic equations do not determine the algebraic variables (index 2 or higher), and
    where no solution is found: another guess of the algebraic variables in y0 may help.
    """
    if not isinstance(problem, (Problem, Batch)):
        raise refuse("problem", "a stepsmith.Problem or a Batch", problem)
    if problem.mass is None or not masses.analysed(problem.mass).singular:
        return problem
    if problem.state is not None:
        atol = problem.state.scales(atol)
    if isinstance(problem, Problem):
        (r,), (a,) = tolerances(rtol, atol, (1, problem.n), problem.y0, 1.0)
        return _with_start(problem, _found(problem, r, a))
    r, a = tolerances(rtol, atol, problem.y0.shape, problem.y0, 1.0)
    found = [_found(problem[i], r[i], a[i], f"instance {i} of ") for i in range(len(problem))]
    return _with_start(problem, np.stack(found)) if found else problem


def _with_start(source: Source, y0: np.ndarray) -> Source:
    return replace(source, y0=y0 if source.state is None else source.state.shaped(y0))


def _found(problem: Problem, rtol: float, atol: np.ndarray, which: str = "") -> np.ndarray:
    t, slopes, mass = problem.t_span[0], Slopes(problem), masses.analysed(problem.mass)
    fixed = np.asarray(problem.mass) != 0.0 if np.ndim(problem.mass) == 1 else np.zeros(problem.n, dtype=bool)
    y = problem.y0.copy()
    f = slopes.one(t, y)
    if not (np.isfinite(y).all() and np.isfinite(f).all()):
        raise OptionError(f"{which}problem {shown(problem.name)}: the right-hand side is not finite at the start")
    last = np.inf
    for _ in range(ITERATIONS):
        scale = atol + rtol * np.abs(y)
        scale = np.where(scale > 1e-300, scale, 1e-300)
        J = mass_check.jacobian(problem, slopes, t, y, mass_check.sizes(y, rtol, atol))
        if not np.isfinite(J).all():
            break
        made = mass_check.slope_matrix(problem, J)
        if made is None:
            raise mass_check.high_index(problem, t, y)
        S, c = made

        def correction(f: np.ndarray, S: np.ndarray = S, c: float = c) -> np.ndarray:
            return np.where(fixed, 0.0, np.linalg.solve(S, -c * mass.null.times(f)))

        step = correction(f)
        size = _norm(step, scale)
        if size <= CLOSE or (size < 0.1 and size >= 0.5 * last):  # the second: rounding
            return y + step if size <= CLOSE else y
        last, part = size, 1.0
        while part >= SMALLEST:
            f = slopes.one(t, y + part * step)
            if np.isfinite(f).all() and _norm(correction(f), scale) <= (1.0 - 0.5 * part) * size:
                break
            part *= 0.5
        else:
            if size < 0.1:
                return y
            break
        y = y + part * step
    raise OptionError(
        f"{which}problem {shown(problem.name)}: no state that satisfies the algebraic equations was found near "
        f"y0 = {short(problem.y0)}; the last one looked at is {short(y)}: give a better guess of the algebraic "
        "variables"
    )


def _norm(step: np.ndarray, scale: np.ndarray) -> float:
    return float(np.sqrt(np.mean((step / scale) ** 2)))
