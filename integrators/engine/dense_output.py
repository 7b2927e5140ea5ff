"""Dense output: the solution as a function of time, polynomial by polynomial.

A step's interpolant is a polynomial of theta = (t - a)/(b - a), whatever the method.  It is kept by its values at
degree + 1 Chebyshev-Lobatto nodes and evaluated by the barycentric formula, exactly the accepted states at the ends of
a step.  At a time where two steps meet, it is the earlier one's value: before a reset changed the state there.

Source: J.-P. Berrut, L. N. Trefethen, Barycentric Lagrange interpolation, SIAM Rev. 46 (2004) 501.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..core.errors import OptionError
from ..core.solver_options import numbers
from ..problems.states import State, as_shaped

#: float64 numbers that an evaluation gathers at a time
GATHERED = 2**22


@functools.cache
def _formula(degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes x (d + 1,), barycentric weights (d + 1,) and the differentiation matrix (d + 1, d + 1)."""
    from ..kernels.followed import nodes

    x = nodes(degree)
    apart = x[:, None] - x[None, :]
    np.fill_diagonal(apart, 1.0)
    weights = 1.0 / np.prod(4.0 * apart, axis=1)
    matrix = weights[None, :] / (weights[:, None] * apart)
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return x, weights, matrix


class DenseOutput:
    """The solution between two times, called with a time or with times.

    `sol(t)`: t a number or (k,); the state (n,) or states (k, n), in the problem's own shape where that is another.
    `sol.derivative(t)`: its derivative by t, the same shapes.  t_min, t_max: the times between which it is known.
    OptionError, a ValueError, for times outside.

    Fields of its construction: start, end (s,): times of the steps, in the order of the solve; nodes (s, d + 1, n):
    states at the Chebyshev-Lobatto nodes of each; t0: where it began.
    """

    def __init__(
        self, start: np.ndarray, end: np.ndarray, nodes: np.ndarray, t0: float, y0: np.ndarray,
        state: State | None = None,
    ) -> None:  # fmt: skip
        self.start, self.end, self.nodes, self.t0, self.y0, self.state = start, end, nodes, float(t0), y0, state
        self.way = -1.0 if len(end) and end[-1] < t0 else 1.0

    @property
    def t_end(self) -> float:
        """The last time."""
        return float(self.end[-1]) if len(self.end) else self.t0

    @property
    def t_min(self) -> float:
        """The earliest time."""
        return min(self.t0, self.t_end)

    @property
    def t_max(self) -> float:
        """The latest time."""
        return max(self.t0, self.t_end)

    def __len__(self) -> int:
        return len(self.end)

    def __repr__(self) -> str:
        return f"<DenseOutput of {len(self)} steps from t = {self.t0:.6g} to {self.t_end:.6g}>"

    def __call__(self, t: Any) -> np.ndarray:
        return self._at(t, False)

    def derivative(self, t: Any) -> np.ndarray:
        """dy/dt at t: that of the interpolant, one order less accurate than its values."""
        return self._at(t, True)

    def _at(self, t: Any, slope: bool) -> np.ndarray:
        times = numbers("t", t)
        if times.ndim > 1:
            raise OptionError(f"t must be a number or have shape (k,), got shape {times.shape}")
        flat = np.atleast_1d(times)
        slack = 1e-14 * max(abs(self.t_min), abs(self.t_max))
        if not np.all((flat >= self.t_min - slack) & (flat <= self.t_max + slack)):
            raise OptionError(
                f"t must lie where the solution is known, from {self.t_min:.17g} to {self.t_max:.17g}; got "
                f"{flat[~((flat >= self.t_min - slack) & (flat <= self.t_max + slack))][0]:.17g}"
            )
        out = np.empty((flat.size, self.y0.size))
        if len(self) == 0:
            out[:] = 0.0 if slope else self.y0
        else:
            size = max(GATHERED // max(self.nodes[0].size, 1), 1)
            for lo in range(0, flat.size, size):
                out[lo : lo + size] = self._of(flat[lo : lo + size], slope)
        shaped = as_shaped(self.state, out)
        return shaped[0] if times.ndim == 0 else shaped

    def _of(self, t: np.ndarray, slope: bool) -> np.ndarray:
        k = np.minimum(np.searchsorted(self.way * self.end, self.way * t, side="left"), len(self) - 1)
        length = self.end[k] - self.start[k]
        theta = np.clip((t - self.start[k]) / length, 0.0, 1.0)
        theta = np.where(t == self.end[k], 1.0, theta)
        x, weights, matrix = _formula(self.nodes.shape[1] - 1)
        apart = theta[:, None] - x
        exact = apart == 0.0
        factors = weights / np.where(exact, 1.0, apart)
        factors = np.where(exact.any(axis=1)[:, None], exact, factors)
        factors /= factors.sum(axis=1)[:, None]
        if slope:
            factors = (factors @ matrix) / length[:, None]
        return np.einsum("tj,tjn->tn", factors, self.nodes[k])


class EnsembleDense:
    """Dense output of an ensemble: `dense[i]` is that of trajectory i, a `DenseOutput`; `dense(t)`, t (k,), the states
    of all at these times, (B, k, n) or in the problem's own shape.
    """

    def __init__(self, outputs: list[DenseOutput]) -> None:
        self.outputs = outputs

    def __len__(self) -> int:
        return len(self.outputs)

    def __getitem__(self, i: int) -> DenseOutput:
        return self.outputs[i]

    def __call__(self, t: Any) -> np.ndarray:
        return np.stack([output(t) for output in self.outputs])

    def derivative(self, t: Any) -> np.ndarray:
        """dy/dt of all trajectories at t."""
        return np.stack([output.derivative(t) for output in self.outputs])

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return sum(output.nodes.nbytes for output in self.outputs)
