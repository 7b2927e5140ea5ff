"""SciPy's Radau and BDF under a controller; `hosts.scipy.method` makes the classes.

The controller sees the error, the sizes, norms, the iterations of Newton's method and its convergence rate.  Where
Newton's method does not converge, even with a new Jacobian, the attempt has no error and counts as not finite: the
law's rule for that sets the factor, in the place of SciPy's one half.  When the Jacobian is renewed is SciPy's rule.

Radau keeps its LU factors where the size stays exactly as it is and the Jacobian too, as a law with a dead band asks
for ("scipy_radau", which is SciPy's own rule, does); else they are dropped.

BDF interpolates on equal steps: for every other size its table of differences is made anew (`change_D`), and it changes
order and size only after order + 1 equal steps, since there would be nothing to choose an order from otherwise.  So the
controller is asked at every attempt, but its factor for an accepted step holds only there: it is multiplied by what
the change of order gains (SciPy's own factors), and is at most 10 (so that a constant step is constant only while the
order is).  Sizes of rejected attempts are the controller's.
Read against SciPy 1.17.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...integrators.core import record as rec
from .scipy import NOT_FINITE, Steered

#: what both show beyond the error, sizes, norms and ends
SLOTS = frozenset({rec.NEWTON_ITERS, rec.NEWTON_RATE})


class SteeredImplicit(Steered):
    """What Radau and BDF share."""

    def attempted(self) -> tuple[bool, str | None]:
        """Attempts until one is accepted, as SciPy's `_step_impl`: success, and a message where there is none."""
        raise NotImplementedError

    def _step_impl(self) -> tuple[bool, str | None]:
        try:
            return self.attempted()
        except ValueError as problem:  # SciPy's linear algebra refuses NaN
            if "infs or NaNs" not in str(problem):
                raise
            return False, f"The Jacobian, or a step of Newton's method, is not finite at t = {self.t:g}."

    def measured(
        self, t: Any, y: Any, h_abs: Any, want: Any, truncated: bool, order: int, newton: tuple[int, float],
        ratio: Any, scale: Any,
    ) -> tuple[dict[int, float], bool]:  # fmt: skip
        """The record of an attempt, and whether it is finite.

        newton: iterations and rate.  ratio: the scaled error, component by component, or None where Newton's method did
        not converge.
        """
        error = np.nan if ratio is None else np.linalg.norm(ratio) / ratio.size**0.5
        finite = bool(np.isfinite(error))
        seen = self.seen(t, h_abs, want, truncated, order, error, finite)
        seen[rec.NEWTON_ITERS], seen[rec.NEWTON_RATE] = float(newton[0]), newton[1]
        if rec.YNORM in self.sight.slots:
            seen[rec.YNORM] = float(np.linalg.norm(y / scale) / y.size**0.5)
        if rec.ENORM in self.sight.slots:
            largest = np.nan if ratio is None else float(np.max(np.abs(ratio), initial=0.0))
            seen[rec.ENORM] = largest / error if error > 0.0 else 1.0
        return seen, finite


class SteeredRadau(SteeredImplicit):
    """The step of SciPy's Radau, with the controller's decision."""

    def start_fails(self) -> bool:
        return super().start_fails() or not np.all(np.isfinite(self.f))

    def attempted(self) -> tuple[bool, str | None]:
        self_: Any = self  # attributes are SciPy's
        if self.sight.attempts == 0 and self.start_fails():
            return False, NOT_FINITE
        t, y, finite, rejected = self_.t, self_.y, True, False
        want = self.allowed()
        if want != self_.h_abs:
            self_.LU_real = self_.LU_complex = None
        while True:
            if (why := self.stuck(want, finite)) is not None:
                return False, why
            t_new, truncated = self.target(want)
            h = t_new - t
            if truncated:
                self_.LU_real = self_.LU_complex = None
            with np.errstate(all="ignore"):
                Z, newton, ratio, scale = collocated(self_, t, y, h, rejected)
                seen, finite = self.measured(t, y, abs(h), want, truncated, 4, newton, ratio, scale)
            accept, factor = self.sight.decide(seen)
            base = want if accept and truncated else abs(h)
            if accept:
                break
            want, rejected = base * factor, rejected or ratio is not None
            self_.LU_real = self_.LU_complex = None
        self._keep(t, t_new, y, Z, newton)
        self_.h_abs = base * factor
        if factor != 1.0:
            self_.LU_real = self_.LU_complex = None
        return True, None

    def _keep(self, t: Any, t_new: Any, y: Any, Z: Any, newton: tuple[int, float]) -> None:
        """Move to the end of an accepted step; the Jacobian is renewed by SciPy's rule."""
        self_: Any = self
        f_new = self_.fun(t_new, y + Z[-1])
        if self_.jac is not None and newton[0] > 2 and newton[1] > 1e-3:
            self_.J = self_.jac(t_new, y + Z[-1], f_new)
            self_.current_jac, self_.LU_real, self_.LU_complex = True, None, None
        elif self_.jac is not None:
            self_.current_jac = False
        self_.y_old, self_.t, self_.y, self_.f, self_.Z, self_.t_old = y, t_new, y + Z[-1], f_new, Z, t
        self_.sol = self_._compute_dense_output()


def collocated(solver: Any, t: Any, y: Any, h: Any, rejected: bool) -> tuple[Any, tuple[int, float], Any, Any]:
    """One trial step of Radau, as SciPy takes it: Z, (iterations, rate) of Newton's method, the error over its scale or
    None where that did not converge, and the scale.
    """
    from scipy.integrate._ivp import radau as host

    Z0 = np.zeros((3, len(y))) if solver.sol is None else solver.sol(t + h * host.C).T - y
    scale = solver.atol + np.abs(y) * solver.rtol
    while True:
        if solver.LU_real is None or solver.LU_complex is None:
            solver.LU_real = solver.lu(host.MU_REAL / h * solver.I - solver.J)
            solver.LU_complex = solver.lu(host.MU_COMPLEX / h * solver.I - solver.J)
        converged, iterations, Z, rate = host.solve_collocation_system(
            solver.fun, t, y, h, Z0, scale, solver.newton_tol, solver.LU_real, solver.LU_complex, solver.solve_lu
        )
        if converged or solver.current_jac:
            break
        solver.J, solver.current_jac = solver.jac(t, y, solver.f), True
        solver.LU_real = solver.LU_complex = None
    newton = (iterations, np.nan if rate is None else float(rate))
    if not converged:
        return Z, newton, None, scale
    y_new = y + Z[-1]
    ZE = Z.T.dot(host.E) / h
    error = solver.solve_lu(solver.LU_real, solver.f + ZE)
    scale = solver.atol + np.maximum(np.abs(y), np.abs(y_new)) * solver.rtol
    if rejected and host.norm(error / scale) > 1.0:
        error = solver.solve_lu(solver.LU_real, solver.fun(t, y + error) + ZE)
    return Z, newton, error / scale, scale


class SteeredBDF(SteeredImplicit):
    """The step of SciPy's BDF, with the controller's decision."""

    D: Any  # SciPy's

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.D[1] *= self.h_abs / self.guess if self.guess > 0.0 else 1.0  # it was filled for SciPy's first size

    def start_fails(self) -> bool:
        return super().start_fails() or not np.all(np.isfinite(self.D[1]))

    def _resize(self, factor: float) -> None:
        """Make the table of differences anew for sizes of `factor` times those it holds."""
        from scipy.integrate._ivp.bdf import change_D

        self_: Any = self
        change_D(self_.D, self_.order, factor)
        self_.n_equal_steps = 0

    def attempted(self) -> tuple[bool, str | None]:
        self_: Any = self  # attributes are SciPy's
        if self.sight.attempts == 0 and self.start_fails():
            return False, NOT_FINITE
        t, finite = self_.t, True
        want = self.allowed()
        if want != self_.h_abs:
            self._resize(want / self_.h_abs)
        current = self_.jac is None
        while True:
            if (why := self.stuck(want, finite)) is not None:
                return False, why
            t_new, truncated = self.target(want)
            if truncated:
                self._resize(np.abs(t_new - t) / want)
                self_.LU = None
            h = t_new - t
            with np.errstate(all="ignore"):
                current, newton, y_new, d, ratio, scale = differenced(self_, t_new, h, current)
                seen, finite = self.measured(
                    t, self_.y, abs(h), want, truncated, self_.order + 1, newton, ratio, scale
                )
            accept, factor = self.sight.decide(seen)
            if accept:
                break
            want = abs(h) * factor
            self._resize(factor)
            if ratio is None:
                self_.LU = None
        self_.n_equal_steps += 1
        self_.t, self_.y, self_.h_abs = t_new, y_new, abs(h)
        self._move_on(d, scale, seen[rec.ERR], factor)
        return True, None

    def _move_on(self, d: Any, scale: Any, error: float, factor: float) -> None:
        """Update the differences by those of the new state, and after order + 1 equal steps change order and size."""
        from scipy.integrate._ivp.bdf import MAX_FACTOR, MAX_ORDER

        self_: Any = self
        D, order = self_.D, self_.order
        D[order + 2], D[order + 1] = d - D[order + 1], d
        for i in reversed(range(order + 1)):
            D[i] += D[i + 1]
        if self_.n_equal_steps < order + 1:
            return
        norms = np.array([np.inf, error, np.inf])
        for place, other in ((0, order - 1), (2, order + 1)):
            if 1 <= other <= MAX_ORDER:
                ratio = self_.error_const[other] * D[other + 1] / scale
                norms[place] = np.linalg.norm(ratio) / ratio.size**0.5
        with np.errstate(all="ignore"):
            factors = norms ** (-1.0 / np.arange(order, order + 3))
            best = int(np.argmax(factors))
            gain = factors[best] / factors[1] if factors[1] < np.inf else 1.0
        factor = min(MAX_FACTOR, factor * gain)
        self_.order = order + best - 1
        self_.h_abs *= factor
        self._resize(factor)
        self_.LU = None


def differenced(
    solver: Any, t_new: Any, h: Any, current: bool
) -> tuple[bool, tuple[int, float], Any, Any, Any, Any]:
    """One trial step of BDF, as SciPy takes it.

    current: whether the Jacobian is of this step.  Returns that, (iterations, rate) of Newton's method, the state, its
    difference from the prediction, the error over its scale or None where Newton did not converge, and the scale.
    """
    from scipy.integrate._ivp import bdf as host

    order, D = solver.order, solver.D
    predicted = np.sum(D[: order + 1], axis=0)
    scale = solver.atol + solver.rtol * np.abs(predicted)
    psi = np.dot(D[1 : order + 1].T, solver.gamma[1 : order + 1]) / solver.alpha[order]
    c = h / solver.alpha[order]
    while True:
        if solver.LU is None:
            solver.LU = solver.lu(solver.I - c * solver.J)
        converged, iterations, y_new, d = host.solve_bdf_system(
            solver.fun, t_new, predicted, c, psi, solver.LU, solver.solve_lu, scale, solver.newton_tol
        )
        if converged or current:
            break
        solver.J, solver.LU, current = solver.jac(t_new, predicted), None, True
    newton = (iterations, np.nan)  # SciPy keeps the rate to itself
    if not converged:
        return current, newton, y_new, d, None, scale
    scale = solver.atol + solver.rtol * np.abs(y_new)
    return current, newton, y_new, d, solver.error_const[order] * d / scale, scale


#: the steps by SciPy's name of the method
STEPS = {"Radau": SteeredRadau, "BDF": SteeredBDF}
