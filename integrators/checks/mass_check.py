"""Mass matrices (`problems.mass`): which methods take one, and whether the algebraic equations determine the algebraic
variables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import OptionError, shown
from ..problems import mass as masses
from ..problems.problem import Batch, Problem
from .interpreted import interpreted
from .plain import Slopes

SQRT_EPS = 1.4901161193847656e-08
#: unknowns up to which the automatic check looks
MOST = 500

HIGH_INDEX = (
    "its algebraic equations, those without a derivative, do not determine the algebraic variables at t = {t}, "
    "y = {y}: it is of index 2 or higher; bring it to index 1 by differentiating constraints"
)


def check_method(source: Any, method: Any = None) -> None:
    """OptionError where the Problem or Batch has a mass matrix and `method` takes none; None: whatever solves families
    and references.
    """
    if source.mass is None or (method is not None and method.mass):
        return
    from .. import methods

    takes = ", ".join(name for name in methods.names() if methods.get(name).mass)
    who = "families, references and environments take" if method is None else f"method {shown(method.name)} takes"
    raise OptionError(
        f"problem {shown(source.name)} has a mass matrix, and {who} none: use solve or solve_ensemble with one of "
        f"{takes}, or write y' = f with the matrix solved for"
    )


def sizes(y: np.ndarray, rtol: Any, atol: Any) -> np.ndarray:
    """What components count as beside each other, (n,): |y| + atol/rtol."""
    return np.abs(y) + np.asarray(atol) / np.asarray(rtol)


def jacobian(problem: Problem, slopes: Slopes, t: float, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    """df/dy (n, n) in plain Python: the problem's own, or differences with the increments of `kernels.implicit.mass`.

    size: (n,), `sizes`.
    """
    n = problem.n
    if problem.jac is not None:
        J = np.zeros((n, n))
        with np.errstate(all="ignore"):
            interpreted(problem.jac)(np.float64(t), y.copy(), problem.p.copy(), J)
        return J
    d = np.minimum(SQRT_EPS * np.sqrt(size * size.max()), 1e-3 * size)
    moved = y[:, None] + np.diag(np.where(d > 1e-300, d, SQRT_EPS))
    f = slopes.one(t, y)
    return (slopes.many(t, moved) - f[:, None]) / (np.diagonal(moved) - y)


def slope_matrix(problem: Problem, J: np.ndarray) -> tuple[np.ndarray, float] | None:
    """S (n, n) and c of `problems.mass` for df/dy = J; None where S is singular, its rows and columns scaled to 1."""
    S, c = masses.analysed(problem.mass).slope_matrix(J)
    rows = np.abs(S).max(axis=1, keepdims=True)
    if not np.isfinite(S).all() or not rows.all():
        return None
    scaled = S / rows
    columns = np.abs(scaled).max(axis=0)
    return (S, c) if columns.all() and masses.regular(scaled / columns) else None


def check_index(source: Problem | Batch) -> None:
    """OptionError where the problem, of a batch the first instance with a finite state, is of index 2 or higher at its
    start; not looked at beyond `MOST` unknowns, where kernels see a matrix that is singular to the last bit alone.
    """
    if source.mass is None or source.n > MOST or not masses.analysed(source.mass).singular:
        return
    problem: Any = source
    if isinstance(source, Batch):
        good = np.flatnonzero(np.isfinite(source.y0).all(axis=1))
        problem = source[int(good[0])] if good.size else None
    if problem is None or not np.isfinite(problem.y0).all():
        return
    t, y, slopes = problem.t_span[0], problem.y0, Slopes(problem)
    try:
        J = jacobian(problem, slopes, t, y, sizes(y, 1e-6, 1e-9))
    except Exception:  # the compiled solve answers it
        return
    if np.isfinite(J).all() and slope_matrix(problem, J) is None:
        raise high_index(problem, t, y)


def high_index(problem: Problem, t: float, y: np.ndarray) -> OptionError:
    """The error of a problem of index 2 or higher."""
    from .plain import short

    return OptionError(f"problem {shown(problem.name)}: " + HIGH_INDEX.format(t=t, y=short(y)))
