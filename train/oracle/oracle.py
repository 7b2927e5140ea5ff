"""The oracle: step sequences chosen for one instance with the reference in hand: what control could save.

No controller can know what this one knows; the distance to it says how much is left.  Two stages find it.

`plan`: dynamic programming.  With the exact solution at the nodes t_0 < ... < t_K, a step from t_j to t_k
commits the local error l_jk, which arrives at the end as P_k l_jk, with P_k the derivative of the final state
by the state at t_k.  Over all paths through the nodes it minimises

    sum over steps of ||P_k l_jk|| / ||y(T)||  +  price * (number of steps):

for every price, the best sequence of its length if errors may not cancel.  (For small steps its mesh density
is ||P psi||^(1/(p+1)), psi the principal error function: Hairer, Norsett, Wanner, Solving ODEs I, II.4.)

`descend`: Levenberg-Marquardt on the logarithms of the step sizes, their number and sum kept.  It lowers the
final error itself, and so lets errors cancel, which no controller could aim at.

`curve` joins them: plans and the sequences of an elementary controller as starts, the best of each length,
descent from there.  Errors are always measured, by running the method on the sequence from y0; the error is
the final state's.  After encounters so close that P exceeds about 1e8, plans lose their meaning to rounding,
and the curve rests on its other starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...integrators.checks import rhs_check
from ...integrators.compile.cache import load_module
from ...integrators.kernels.calls import array_guards
from ...integrators.methods.tableaus import ExplicitTableau
from .kernel import SOURCE

Array = NDArray[np.float64]

PRICES = 10.0 ** np.arange(-1.0, -13.01, -0.25)
RTOLS = 10.0 ** np.arange(-1.0, -9.01, -0.5)
NODES = ((1e-4, 16), (1e-8, 8))
"""(rtol, subdivide) of a curve's plans: the first has room for long steps, the second resolves short ones."""


@dataclass(frozen=True)
class OracleCurve:
    """Step sequences of one instance, by increasing length.

    `err`: (K,) measured relative final-state error; `nfev`: (K,) right-hand-side evaluations, FSAL counted;
    `steps`: K arrays of signed step sizes.
    """

    err: Array
    nfev: Array
    steps: tuple[Array, ...]


class Oracle:
    """The oracle of one right-hand side and method; compiled once, then used for any number of instances.

    `rhs`: `rhs(t, y, p, dy)`, plain Python that Numba can compile.  `tableau`: an `ExplicitTableau`.
    """

    def __init__(self, rhs: Callable[..., None], tableau: ExplicitTableau) -> None:
        self.rhs = rhs
        self._modules: dict[tuple[int, int], Any] = {}
        self.tableau = tableau
        self._method = (tableau.A, tableau.B, tableau.C, tableau.fsal)

    def _kernel(self, t0: float, y0: Array, p: Array) -> Any:
        """The compiled module for states and parameters of these lengths."""
        sizes = (y0.size, p.size)
        if sizes not in self._modules:
            rhs_check.check_function(self.rhs, "rhs", t0, y0, p)
            objects = {"rhs": self.rhs}
            self._modules[sizes] = load_module(array_guards(objects, *sizes) + SOURCE, objects)
        return self._modules[sizes]

    def nfev(self, steps: int) -> int:
        """Evaluations of so many steps, none rejected: with FSAL one less a step, and one to start."""
        s = self.tableau.stages
        return 1 + (s - 1) * steps if self.tableau.fsal else s * steps

    def run(self, y0: ArrayLike, p: ArrayLike, t_span: Sequence[float], steps: ArrayLike) -> Array:
        """The final state (n,) after the given signed step sizes (N,)."""
        y0, p, t0, _ = _instance(y0, p, t_span)
        return self._kernel(t0, y0, p).run(t0, y0, p, np.ascontiguousarray(steps, dtype=float), *self._method)

    def curve(
        self,
        y0: ArrayLike,
        p: ArrayLike,
        t_span: Sequence[float],
        y_ref: ArrayLike,
        *,
        starts: Sequence[ArrayLike] = (),
        rtols: ArrayLike = RTOLS,
        max_steps: int = 200,
        iterations: int = 30,
        components: Sequence[int] | None = None,
    ) -> OracleCurve:
        """Work against error of the best sequences found, each better than all shorter ones.

        `y0` (n,), `p` (m,), `t_span` (t0, t1); `y_ref` (n,) the reference at t1.  `starts`: step sequences
        of real controllers to begin from, beside plans and the elementary controller's at `rtols`.
        `max_steps` bounds the length (a descent costs its square); `iterations` = 0: no descent.
        `components`: indices of the state that the error is taken over (default all). Raises ValueError for
        a span of length zero, a reference that is not finite or zero, or an instance that cannot be solved.
        """
        y0, p, t0, t1 = _instance(y0, p, t_span)
        span = (t0, t1)
        pool = [np.asarray(h, dtype=float) for h in starts]
        pool += [h for r in np.asarray(rtols, dtype=float) if (h := self.adaptive(y0, p, span, r)).size]
        for rtol, subdivide in NODES:
            plan = self.plan(y0, p, span, y_ref, rtol=rtol, subdivide=subdivide, components=components)
            pool += plan.steps
        pool = [h for h in pool if h.size <= max_steps]
        if not pool:
            raise ValueError(f"no sequence of at most {max_steps} steps to begin from")
        kept = self._best(pool, y0, p, span, y_ref, components)
        if iterations:
            args = (y0, p, span, y_ref)
            better = [
                self.descend(*args, h, iterations=iterations, components=components)[1] for h in kept.steps
            ]
            kept = self._best(better, y0, p, span, y_ref, components)
        return kept

    def adaptive(self, y0: ArrayLike, p: ArrayLike, t_span: Sequence[float], rtol: float) -> Array:
        """Accepted steps of the elementary controller (error over the norm of the state); empty if it fails."""
        y0, p, t0, t1 = _instance(y0, p, t_span)
        a, b, c, fsal = self._method
        exponent = 1.0 / (self.tableau.embedded_order + 1)
        return self._kernel(t0, y0, p).adaptive(
            t0, t1, y0, p, a, b, c, self.tableau.E, fsal, exponent, float(rtol), 20_000
        )

    def plan(
        self,
        y0: ArrayLike,
        p: ArrayLike,
        t_span: Sequence[float],
        y_ref: ArrayLike,
        *,
        rtol: float = 1e-8,
        subdivide: int = 8,
        window: int = 400,
        prices: ArrayLike = PRICES,
        components: Sequence[int] | None = None,
    ) -> OracleCurve:
        """The best sequences of this instance without cancellation, one for every length that a price asks for.

        The nodes are the accepted steps of the elementary controller at `rtol`, each cut in `subdivide`; no
        step spans more than `window` of them, and a plan with a step that long is left out.  `prices`: of one
        step, in units of the relative final error.  The other arguments and errors are those of `curve`.
        """
        y0, p, t0, t1 = _instance(y0, p, t_span)
        pick, ref, size = _reference(y_ref, y0, components)
        k, method = self._kernel(t0, y0, p), self._method
        base = self.adaptive(y0, p, (t0, t1), rtol)
        if base.size == 0:
            raise ValueError(f"the instance cannot be solved at rtol {rtol:g}")
        t = np.concatenate([[t0], t0 + np.cumsum(np.repeat(base / subdivide, subdivide))])
        t[-1] = t1
        states, arrive = np.empty((t.size, y0.size)), np.empty((t.size, len(pick), y0.size))
        arrive[-1] = np.eye(y0.size)[pick] / size
        k.nodes(t, y0, p, 4, *method, states, arrive)
        cost = k.costs(t, states, arrive, p, min(window, t.size - 1), *method)
        found: dict[int, Array] = {}
        for price in np.asarray(prices, dtype=float):
            path, total = k.shortest(cost, price)
            cramped = window < t.size - 1 and np.diff(path).max() >= window  # it wants longer steps
            if np.isfinite(total) and not cramped:
                found[len(path) - 1] = np.diff(t[path])
        steps = tuple(found[m] for m in sorted(found))
        return OracleCurve(
            err=np.array([self._error(y0, p, t0, h, pick, ref, size) for h in steps]),
            nfev=np.array([self.nfev(h.size) for h in steps], dtype=float),
            steps=steps,
        )

    def descend(
        self,
        y0: ArrayLike,
        p: ArrayLike,
        t_span: Sequence[float],
        y_ref: ArrayLike,
        steps: ArrayLike,
        *,
        iterations: int = 50,
        components: Sequence[int] | None = None,
    ) -> tuple[float, Array]:
        """The final error lowered by descent on the logs of the step sizes, their number and sum kept.

        `steps`: (N,) the start.  Levenberg-Marquardt, at most a factor 1.65 a step size and iteration;
        never worse than the start.  Returns (relative final-state error, steps (N,)).  The other arguments
        are those of `curve`.
        """
        y0, p, t0, t1 = _instance(y0, p, t_span)
        pick, ref, size = _reference(y_ref, y0, components)
        h = np.ascontiguousarray(steps, dtype=float)
        if h.ndim != 1 or h.size == 0 or not (np.isfinite(h) & (h / (t1 - t0) > 0)).all():
            raise ValueError("steps must be (N,) finite sizes in the direction of the span, N > 0")
        u = np.log(np.abs(h))
        best = self._error(y0, p, t0, h, pick, ref, size)
        slope = np.empty((y0.size, h.size))
        damping = 1e-6
        for _ in range(iterations):
            end = self._kernel(t0, y0, p).sensitivity(u, t0, t1, y0, p, *self._method, slope)
            r, jac = (end[pick] - ref) / size, slope[pick] / size
            gram = jac @ jac.T
            if not (np.isfinite(gram).all() and np.isfinite(r).all()):
                break
            for _ in range(12):
                du = (
                    -jac.T
                    @ np.linalg.lstsq(gram + damping * np.trace(gram) * np.eye(len(pick)), r, rcond=None)[0]
                )
                trial = u + du * min(1.0, 0.5 / max(float(np.abs(du).max()), 1e-300))
                e = np.exp(trial - trial.max())
                sizes = (t1 - t0) * e / e.sum()
                err = self._error(y0, p, t0, sizes, pick, ref, size)
                if err < best:
                    break
                damping = min(damping * 10, 1e3)
            else:
                break
            gain, best, u, h = err / best, err, trial, sizes
            damping = max(damping / 10, 1e-13)
            if gain > 1 - 1e-4:
                break
        return best, h

    def _best(
        self,
        pool: Sequence[Array],
        y0: Array,
        p: Array,
        t_span: tuple[float, float],
        y_ref: ArrayLike,
        components: Sequence[int] | None,
    ) -> OracleCurve:
        """The sequences of `pool` that no shorter or equally long one beats."""
        pick, ref, size = _reference(y_ref, y0, components)
        err = [self._error(y0, p, t_span[0], h, pick, ref, size) for h in pool]
        kept: list[int] = []
        for i in sorted(range(len(pool)), key=lambda i: (pool[i].size, err[i])):
            if np.isfinite(err[i]) and (not kept or err[i] < err[kept[-1]]):
                kept.append(i)
        return OracleCurve(
            err=np.array([err[i] for i in kept]),
            nfev=np.array([self.nfev(pool[i].size) for i in kept], dtype=float),
            steps=tuple(pool[i] for i in kept),
        )

    def _error(
        self, y0: Array, p: Array, t0: float, h: Array, pick: NDArray[np.intp], ref: Array, size: float
    ) -> float:
        y = self._kernel(t0, y0, p).run(t0, y0, p, h, *self._method)
        err = float(np.linalg.norm(y[pick] - ref)) / size
        return err if np.isfinite(err) else np.inf


def _instance(y0: ArrayLike, p: ArrayLike, t_span: Sequence[float]) -> tuple[Array, Array, float, float]:
    t0, t1 = (float(v) for v in t_span)
    if not (np.isfinite(t0) and np.isfinite(t1) and t0 != t1):
        raise ValueError(f"t_span must be two different finite times, got {tuple(t_span)}")
    state = np.ascontiguousarray(y0, dtype=float)
    if state.ndim != 1 or state.size == 0 or not np.isfinite(state).all():
        raise ValueError("y0 must be a finite vector (n,), n > 0")
    return state, np.ascontiguousarray(p, dtype=float), t0, t1


def _reference(
    y_ref: ArrayLike, y0: Array, components: Sequence[int] | None
) -> tuple[NDArray[np.intp], Array, float]:
    ref = np.asarray(y_ref, dtype=float)
    if ref.shape != y0.shape or not np.isfinite(ref).all():
        raise ValueError(f"y_ref must be a finite state of shape {y0.shape}")
    pick = np.arange(y0.size) if components is None else np.asarray(components, dtype=np.intp)
    size = float(np.linalg.norm(ref[pick]))
    if size == 0.0:
        raise ValueError("the reference is zero: there is no relative error")
    return pick, ref[pick], size
