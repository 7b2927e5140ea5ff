"""A problem's functions in plain Python, at one state or many, for checks of what a user gave; and how such a check
speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..problems.problem import Problem
from .interpreted import interpreted

EPS = 2.220446049250313e-16


@dataclass(frozen=True)
class Fault:
    """What is wrong with a Jacobian.  fatal: it raises, or does not write some entry."""

    message: str
    fatal: bool = False


class _Rows:
    """States (n, k) as a right-hand side reads them: entry i is a copy of row i, for `s = y[0]; s += ...` must not
    change y.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[i].copy()


class Slopes:
    """The right-hand side in plain Python, at one state or many."""

    def __init__(self, problem: Problem) -> None:
        self.rhs, self.p, self.n = interpreted(problem.rhs), problem.p, problem.n
        self.arrays = True

    def one(self, t: float, y: np.ndarray) -> np.ndarray:
        """f(t, y), NaN where it raises."""
        out = np.full(self.n, np.nan)
        try:
            with np.errstate(all="ignore"):
                self.rhs(np.float64(t), y.copy(), self.p.copy(), out)
        except Exception:  # the user's function, at a state that may be outside its domain
            out[:] = np.nan
        return out

    def many(self, t: float, Y: np.ndarray) -> np.ndarray:
        """f at every column of Y (n, k): (n, k).  By arrays, if the first and last columns then come out as they do
        alone.
        """
        if self.arrays:
            out = np.full(Y.shape, np.nan)
            ends = np.stack([self.one(t, Y[:, 0]), self.one(t, Y[:, -1])], axis=1)
            try:
                with np.errstate(all="ignore"):
                    self.rhs(np.float64(t), _Rows(Y), self.p.copy(), out)
                scale = 1e-9 * np.abs(ends) + 1e-13 * np.nanmax(np.abs(ends), initial=0.0)
                self.arrays = bool(np.all((np.abs(out[:, [0, -1]] - ends) <= scale) | ~np.isfinite(ends)))
            except Exception:  # it branches on a value, calls math's functions, ...
                self.arrays = False
            if self.arrays:
                return out
        return np.stack([self.one(t, y) for y in Y.T], axis=1)


def nearby(y: np.ndarray) -> np.ndarray:
    """A state a hundredth away; zeros and values beside which they are next to zero become small and positive, no two
    of them alike.
    """
    wave = np.modf(0.5 + 0.6180339887498949 * np.arange(1, y.size + 1))[0]
    tiny = np.abs(y) <= 1e-9 * np.abs(y).max()
    return np.where(tiny, (0.5 + wave) * sizes(np.where(tiny, 0.0, y)), y * (1.0 + 0.02 * (wave - 0.5)))


def sizes(y: np.ndarray) -> np.ndarray:
    top = np.abs(y).max()
    return np.where(y == 0.0, 1e-3 * (top if top > 0 else 1.0), np.abs(y))


def entries(mask: np.ndarray) -> str:
    """ "entry (0, 1)" or "entries (0, 1), (2, 0) and 3 more"."""
    at = [f"({i}, {j})" for i, j in np.argwhere(mask).tolist()]
    more = f" and {len(at) - 6} more" if len(at) > 6 else ""
    return ("entry " if len(at) == 1 else "entries ") + ", ".join(at[:6]) + more


def short(y: np.ndarray) -> str:
    """A state in a message: its first values."""
    return "(" + ", ".join(f"{v:.6g}" for v in y[:5]) + (", ...)" if y.size > 5 else ")")


def noise(slopes: Slopes, t: float, y: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Round-off of f (n,): how it scatters when every component moves by up to four units in the last place (a zero's:
    of its s_j).
    """
    ulps = np.random.default_rng(0).integers(-4, 5, (y.size, 8))
    moved = slopes.many(t, y[:, None] + EPS * ulps * sizes(y)[:, None])
    scatter = np.abs(moved - f[:, None])
    return np.where(np.isfinite(scatter), scatter, 0.0).max(axis=1) + EPS * np.abs(f)
