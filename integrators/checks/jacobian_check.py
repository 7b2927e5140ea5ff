"""Is a problem's `jac` the derivative of its `rhs`?  Entry by entry, against differences that know how far they can be
trusted.

Column j is differenced at increments d = s_j 10^-2 ... s_j 10^-8, s_j being |y_j| or, where that is 0, a thousandth of
the largest |y|. With the forward, backward and central quotients F, B, D of a level and the round-off e_i of f_i,

    u = max(|F - B|/2, |D - D at the next smaller d|) + 2 e_i / d

bounds the error of D: the first term sees corners, the second truncation, the third noise.  u is raised to whatever any
level below disagrees by, beyond noise, and the level with the least u counts; where even there D changes from level to
level, f varies on a scale finer than the increments and the entry is not judged (stick-slip friction, diodes).  e_i
comes from perturbing the state by a few units in the last place, so cancellation inside f is in it.  An entry is wrong
if it is off by more than rtol max(|J|, |D|) + 4 u.

The state given hides terms where it has zeros, so that a second state is looked at, a hundredth away, its zeros made
small and positive. Functions run in plain Python, right-hand sides over whole arrays of states where they allow that.
Sources: J. J. More and S. M. Wild, "Estimating derivatives of noisy simulations", ACM TOMS 38 (2012) 19; C. J. F.
Ridders, Adv. Eng. Software 4 (1982) 75 (the level with the least estimated error).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..compile.digest import identity
from ..core import record
from ..core.errors import JacobianWarning, outside
from ..methods import Method
from ..problems import sparsity
from ..problems.problem import Batch, Problem
from . import sparsity_check
from .interpreted import interpreted
from .plain import EPS, Fault, Slopes, entries, nearby, noise, short, sizes

LEVELS = 10.0 ** -np.arange(2.0, 8.1)
# for right-hand sides that take one state at a time, in high dimensions
FEW_LEVELS = 10.0 ** -np.array(
    [4.0, 6.0, 7.0, 8.0]
)
FILL = -7.3465102e13  # what an unwritten entry keeps
CHUNK = 4_000_000  # values in one array of states
MOST_COLUMNS = 400  # differenced by the automatic check
MOST_ENTRIES = 25_000_000  # of a matrix that the automatic check looks at


def check_jacobian(problem: Problem, t: float | None = None, y: Any = None, rtol: float = 1e-4) -> None:
    """Compare `problem.jac` with differences of `problem.rhs` at (t, y) and at a state near it; without `jac`, its
    `sparsity`.

    t: default the start of the span.  y: (n,), default the initial state.  rtol: relative difference that passes, on
    top of the differences' own uncertainty.  Raises ValueError naming the problem and the worst entry (i, j), its value
    and that of the differences, where an entry is wrong; naming entries that are not written, are added to before they
    are written, or are not finite; where `jac` raises; where there is no `jac` and `sparsity` leaves out an entry that
    is not zero; where there is neither; and where the right-hand side is not finite at (t, y).
    """
    if not isinstance(problem, Problem):
        raise ValueError(f"problem must be a Problem, got {type(problem).__name__}")
    if problem.jac is None and problem.sparsity is None:
        raise ValueError(f"problem {problem.name!r} has no jac and no sparsity to check")
    if not 0 < rtol < np.inf:
        raise ValueError(f"rtol must be a positive number, got {rtol!r}")
    time = problem.t_span[0] if t is None else float(t)
    state = np.array(problem.y0 if y is None else y, dtype=np.float64)
    if state.shape != (problem.n,):
        raise ValueError(f"y must have shape ({problem.n},), got {state.shape}")
    if not np.isfinite(time) or not np.isfinite(Slopes(problem).one(time, state)).all():
        raise ValueError(
            f"the right-hand side of problem {problem.name!r} is not finite at t = {time}, y = {short(state)}"
        )
    fault = find_fault(problem, time, state, rtol)
    if fault is not None:
        raise ValueError(fault.message)


def find_fault(problem: Problem, t: float, y: np.ndarray, rtol: float = 1e-4, most: int | None = None) -> Fault | None:
    """What is wrong with the Jacobian at (t, y) or near it, or None; None, too, where the right-hand side is not finite
    at (t, y).

    most: difference at most so many columns, evenly spread.
    """
    slopes = Slopes(problem)
    outside = _outside(problem) if problem.jac is None else None
    for k, z in enumerate((y, nearby(y))):
        if not (np.isfinite(z).all() and np.isfinite(slopes.one(t, z)).all()):
            return None
        if outside is not None:
            fault = sparsity_check.find_fault(problem, slopes, t, z, outside, most, k)
            if fault is not None:
                return fault
            continue
        J, fault = _evaluate(problem, t, z)
        if fault is None:
            fault = _compare(problem, slopes, t, z, J, rtol, most)
        if fault is not None:
            return fault
    return None


def concerns(source: Problem | Batch, method: Method) -> bool:
    """Whether `method` uses a Jacobian, or a pattern of one, that `source` gives."""
    return (source.jac is not None or source.sparsity is not None) and record.NLU in method.fills


_SEEN: dict[tuple, bool] = {}


def warn_once(source: Problem | Batch) -> None:
    """The check of an implicit solve: once for rhs, jac and pattern, at the first instance with a finite state, in
    dimensions up to 5000.

    Warns with `JacobianWarning` of a wrong Jacobian or too narrow a `sparsity`; raises ValueError where `jac` raises or
    leaves entries unwritten.
    """
    key = (identity(source.rhs), identity(source.jac), source.n, sparsity.key(source.sparsity))
    if (source.jac is None and source.sparsity is None) or key in _SEEN or source.n**2 > MOST_ENTRIES:
        return
    problem: Problem | None = source if isinstance(source, Problem) else None
    if isinstance(source, Batch):
        good = np.flatnonzero(np.isfinite(source.y0).all(axis=1))
        problem = source[int(good[0])] if good.size else None
    if problem is None or not np.isfinite(problem.y0).all():
        return
    fault = find_fault(problem, problem.t_span[0], problem.y0, most=MOST_COLUMNS)
    if fault is not None and fault.fatal:
        raise ValueError(fault.message)
    if len(_SEEN) > 256:
        _SEEN.clear()
    _SEEN[key] = True
    if fault is not None:
        warnings.warn(fault.message, JacobianWarning, stacklevel=outside())


def suspicion(problem: Problem, t: float, y: np.ndarray) -> str:
    """For the message of an implicit solve that failed at (t, y): what is wrong with the Jacobian there, or ""."""
    if (problem.jac is None and problem.sparsity is None) or problem.n**2 > MOST_ENTRIES:
        return ""
    fault = find_fault(problem, t, y, most=MOST_COLUMNS)
    return "" if fault is None else f"; {fault.message}"


def _evaluate(problem: Problem, t: float, y: np.ndarray) -> tuple[np.ndarray, Fault | None]:
    """J (n, n) at (t, y); or why there is none."""
    assert problem.jac is not None
    jac, name, n = interpreted(problem.jac), f"jac of problem {problem.name!r}", problem.n
    J, other = np.full((n, n), np.nan), np.full((n, n), FILL)
    try:
        with np.errstate(all="ignore"):
            jac(np.float64(t), y.copy(), problem.p.copy(), J)
            jac(np.float64(t), y.copy(), problem.p.copy(), other)
    except Exception as error:
        # a division by zero or a logarithm of it is an infinity or a NaN in compiled code
        fatal = not (isinstance(error, ArithmeticError) or (isinstance(error, ValueError) and "math" in str(error)))
        return J, Fault(f"{name} raises {type(error).__name__} at t = {t:.6g}, y = {short(y)}: {error}", fatal)
    outside = _outside(problem)
    stray = outside & (J == other) & (J != 0.0)
    if stray.any():
        return J, Fault(f"{name} writes {entries(stray)}, which the problem's sparsity says is zero", False)
    J[outside] = other[outside] = 0.0
    lost = np.isnan(J) & np.isfinite(other)
    if lost.any():
        words = "it must write every entry, zeros too, and add to none before"
        return J, Fault(f"{name} does not write {entries(lost)}: {words}", True)
    if (bad := ~np.isfinite(J)).any():
        i, j = (int(k) for k in np.argwhere(bad)[0])
        where = f"t = {t:.6g}, y = {short(y)}"
        return J, Fault(f"{name} is not finite in {entries(bad)}: entry ({i}, {j}) is {J[i, j]} at {where}")
    return J, None


def _outside(problem: Problem) -> np.ndarray:
    """(n, n) bool: the entries that `sparsity` leaves out."""
    pattern = problem.sparsity
    if isinstance(pattern, tuple):
        rows = np.arange(problem.n, dtype=np.int32)
        below = np.subtract.outer(rows, rows)
        return (below > pattern[0]) | (-below > pattern[1])
    return np.zeros((problem.n, problem.n), dtype=bool) if pattern is None else ~pattern


def _compare(
    problem: Problem, slopes: Slopes, t: float, y: np.ndarray, J: np.ndarray, rtol: float, most: int | None
) -> Fault | None:
    n = problem.n
    columns = np.arange(n) if most is None or n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))
    D, u = _differences(slopes, t, y, columns)

    def excess(given: np.ndarray) -> np.ndarray:
        """Of every entry: its distance over what is allowed."""
        off = np.abs(given - D)
        allowed = rtol * np.maximum(np.abs(given), np.abs(D)) + 4.0 * u
        return np.where(np.isfinite(u) & (off > 0), off / np.maximum(allowed, 1e-300), 0.0)

    ratio = excess(J[:, columns])
    wrong = int((ratio > 1.0).sum())
    if wrong == 0:
        return None
    i, c = (int(k) for k in np.unravel_index(np.argmax(ratio), ratio.shape))
    j = int(columns[c])
    text = f"jac of problem {problem.name!r}: entry ({i}, {j}) is {J[i, j]:.6g}, "
    text += f"differences of the right-hand side give {D[i, c]:.6g} (+- {u[i, c]:.1g}) at t = {t:.6g}, y = {short(y)}"
    if _outside(problem)[i, j]:
        text += "; it lies outside the problem's sparsity"
    if wrong > 1:
        text += f"; {wrong} entries are wrong"
    for label, other in (("its transpose", J.T), ("its negative", -J)):
        if excess(other[:, columns]).max() <= 1.0:
            text += f"; {label} fits"
    return Fault(text)


def _differences(slopes: Slopes, t: float, y: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the Jacobian by differences (n, k), and their uncertainty (n, k), inf where there is no telling."""
    n, k = y.size, columns.size
    D, u = np.empty((n, k)), np.empty((n, k))
    f = slopes.one(t, y)
    rounding = noise(slopes, t, y, f)
    size = max(1, CHUNK // (n * LEVELS.size))
    for at in range(0, k, size):
        D[:, at : at + size], u[:, at : at + size] = _some(slopes, t, y, f, rounding, columns[at : at + size])
    return D, u


def _some(
    slopes: Slopes, t: float, y: np.ndarray, f: np.ndarray, rounding: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    n, k = y.size, columns.size
    size = sizes(y)[columns]
    levels = LEVELS if slopes.arrays or n * LEVELS.size < 1000 else FEW_LEVELS
    central, spread, rough = (np.empty((levels.size, n, k)) for _ in range(3))
    for q, level in enumerate(levels):
        above, below = (np.repeat(y[:, None], k, axis=1) for _ in range(2))
        above[columns, np.arange(k)] += level * size
        below[columns, np.arange(k)] -= level * size
        up, down = above[columns, np.arange(k)] - y[columns], y[columns] - below[columns, np.arange(k)]
        high, low = slopes.many(t, above), slopes.many(t, below)
        with np.errstate(all="ignore"):
            F, B = (high - f[:, None]) / up, (f[:, None] - low) / down
            middle = (high - low) / (up + down)
            one_sided = np.isfinite(F) != np.isfinite(B)  # at the edge of the domain
            central[q] = np.where(one_sided, np.where(np.isfinite(F), F, B), middle)
            spread[q] = np.where(one_sided, 0.0, 0.5 * np.abs(F - B))
            largest = np.fmax(np.abs(high), np.abs(low))
            rough[q] = 2.0 * (rounding[:, None] + EPS * np.where(np.isfinite(largest), largest, 0.0)) / level / size
    with np.errstate(all="ignore"):
        gap = np.abs(np.diff(central, axis=0))
        u = np.maximum(spread[:-1], gap) + rough[:-1]
        for q in range(levels.size - 1):
            dissent = np.abs(central[q + 1 :] - central[q]) - 4.0 * rough[q + 1 :]
            u[q] = np.fmax(u[q], np.where(np.isfinite(dissent), dissent, 0.0).max(axis=0))
        # still changing by more than noise from level to level: f varies on a scale finer than they are
        largest = np.maximum(np.abs(central[:-1]), np.abs(central[1:]))
        moving = (gap > 0.25 * largest) & (gap > 4.0 * (rough[:-1] + rough[1:]))
        u = np.where(np.isfinite(u), u, np.inf)
        best = np.argmin(u, axis=0)[None]
        u = np.where(moving, np.inf, u)
    return np.take_along_axis(central, best, axis=0)[0], np.take_along_axis(u, best, axis=0)[0]
