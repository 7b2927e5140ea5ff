"""The clock of a fit: single solves of every instance, the sides taking turns, and SciPy on the same instances."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...integrators.compile.cache import load_module
from ...integrators.compile.unrolled import unrolled
from ...integrators.core.errors import OptionError
from ...integrators.engine.measure import errors
from ...integrators.kernels.calls import array_guards
from ...integrators.problems.problem import Problem
from ..evaluate import curves
from ..evaluate.curves import Array
from ..evaluate.splits import Split

ROUNDS = 5
MAX_STEPS = 100_000
SHORT = 1e-3  # seconds; shorter solves are timed at their second run
SCIPY = ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA")

_FUNCTIONS = """
import numpy as np
from numba import njit

@njit(error_model="numpy", cache=True)
def slope(t, y, p):
    dy = np.empty(y.size)
    rhs(t, y, p, dy)
    return dy
"""
_JACOBIAN = """
@njit(error_model="numpy", cache=True)
def jacobian(t, y, p):
    J = np.zeros((y.size, y.size))
    jac(t, y, p, J)
    return J
"""


@dataclass
class TimeLeft:
    """What is left of the time that a fit may take, in seconds; end: by the monotonic clock."""

    end: float

    @property
    def left(self) -> float:
        return self.end - time.monotonic()


@dataclass(frozen=True)
class Ratio:
    """Time of one side over that of another: geometric mean over instances and its 95 % interval."""

    ratio: float
    low: float
    high: float

    def inverse(self) -> Ratio:
        """The other side's over this one's."""
        return Ratio(1.0 / self.ratio, 1.0 / self.high, 1.0 / self.low)

    def to_json(self) -> dict[str, float | None]:
        """As JSON; what is not finite becomes null."""
        return {k: v if np.isfinite(v) else None for k, v in vars(self).items()}


def ratio(a: Array, b: Array, seed: int = 0) -> Ratio:
    """Of two times (B,) of the same instances, by a bootstrap over instances (BCa)."""
    logs = np.log(np.asarray(a) / np.asarray(b))
    low, high = curves.bca_interval(lambda index: logs[index].mean(axis=-1), logs.size, seed=seed, resamples=2000)
    return Ratio(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high)))


def ours(split: Split, controller: Any, rtol: float) -> list[Callable[[], Any]]:
    """A call a instance that solves it, outputs at the family's times included."""
    return [split.call(i, controller, rtol, MAX_STEPS) for i in range(len(split.batch))]


def seconds(
    sides: Mapping[str, Sequence[Callable[[], Any]]], rounds: int = ROUNDS, limit: float = 20.0
) -> dict[str, Array]:
    """Least time (B,) of every call over `rounds`, the sides taking turns instance by instance; fewer rounds, at least
    one, after `limit` seconds.

    A solve that fails is charged `curves.LOST_RATIO` times the dearest side's time on its instance: giving up early
    must not pay.
    """
    count = len(next(iter(sides.values())))
    found = {name: np.full(count, np.inf) for name in sides}
    lost = {name: np.zeros(count, dtype=bool) for name in sides}
    for calls in sides.values():
        calls[0]()  # compiles
    start = time.perf_counter()
    for _ in range(rounds):
        for i in range(count):
            for name, calls in sides.items():
                spent, sol = _timed(calls[i])
                if spent < SHORT:  # it may have paid for what the side before it left in the caches
                    spent, sol = _timed(calls[i])
                found[name][i] = min(found[name][i], spent)
                lost[name][i] = not sol.success
        if time.perf_counter() - start > limit:
            break
    dearest = np.max(list(found.values()), axis=0)
    return {name: np.where(lost[name], curves.LOST_RATIO * dearest, times) for name, times in found.items()}


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    before = time.perf_counter()
    sol = call()
    return time.perf_counter() - before, sol


def counts(err: Array, nfev: Array) -> Array:
    """f-evaluations (B,); a failed solve (infinite error) is charged `curves.LOST_RATIO` times the dearest one."""
    return np.where(np.isfinite(err), nfev, curves.LOST_RATIO * nfev.max())


class SciPy:
    """`scipy.integrate.solve_ivp` with the compiled right-hand side (and Jacobian, where there is one) of a split's
    problem.
    """

    def __init__(self, split: Split, method: str) -> None:
        self.split, self.method = split, method
        batch = unrolled(split.batch)
        objects = {"rhs": batch.rhs} | ({} if batch.jac is None else {"jac": batch.jac})
        source = (
            array_guards(objects, split.batch.n, split.batch.m) + _FUNCTIONS + (_JACOBIAN if "jac" in objects else "")
        )
        self.module = load_module(source, objects)

    def call(self, i: int, rtol: float, atol: float) -> Callable[[], Any]:
        """A call that solves instance i."""
        from scipy.integrate import solve_ivp

        problem: Problem = self.split.batch[i]
        times = self.split.batch.times(self.split.family.fractions)[i]
        slope, p = self.module.slope, problem.p
        more: dict[str, Any] = {}
        if problem.jac is not None and self.method in ("Radau", "BDF", "LSODA"):
            jacobian = self.module.jacobian
            more["jac"] = lambda t, y: jacobian(t, y, p)
        return lambda: solve_ivp(
            lambda t, y: slope(t, y, p), problem.t_span, problem.y0, self.method, times, rtol=rtol, atol=atol, **more
        )

    def error(self, rtol: float, atol: float, rows: Sequence[int]) -> float:
        """The error that nine of ten of the instances `rows` have at most."""
        found = []
        for i in rows:
            sol = self.call(i, rtol, atol)()
            good = np.array([sol.success and sol.y.shape[1] == len(sol.t)])
            want = (1, len(self.split.family.fractions), self.split.batch.n)
            y = sol.y.T[None] if sol.y.T[None].shape == want else np.full(want, np.nan)
            one = slice(i, i + 1)
            ref = self.split.ref[one] if self.split.ref.shape[1] else self.split.ref
            found.append(errors(self.split.family, self.split.batch[one], y, ref, good)[0])
        return float(np.quantile(found, 0.9, method="higher"))


def parse_baseline(text: str) -> tuple[str, float | None, float | None]:
    """(method, rtol, atol over rtol) of "scipy:METHOD", "scipy:METHOD,RTOL" or "scipy:METHOD,RTOL,ATOL"; rtol None:
    where it has the wanted error; atol None: as the family says.  OptionError for anything else.
    """
    host, _, rest = text.partition(":")
    parts = rest.split(",")
    try:
        if host != "scipy" or parts[0] not in SCIPY or len(parts) > 3:
            raise ValueError
        numbers = [float(v) for v in parts[1:]]
        if not all(np.isfinite(v) and v > 0 for v in numbers):
            raise ValueError
    except ValueError:
        raise OptionError(
            f"baseline must be scipy:METHOD[,RTOL[,ATOL]] with METHOD one of {', '.join(SCIPY)}, for instance "
            f"scipy:LSODA,1e-6, or scipy:LSODA for the tolerance at which it has the wanted error, got {text!r}"
        ) from None
    return parts[0], numbers[0] if numbers else None, numbers[1] / numbers[0] if len(numbers) == 2 else None
