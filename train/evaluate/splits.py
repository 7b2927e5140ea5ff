"""One split of a family, with references that passed their self-check, and what controllers do on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...integrators import methods, problems
from ...integrators.engine.costs import NONE, Costs, of_family
from ...integrators.engine.either import ensemble_either, solve_either
from ...integrators.engine.measure import errors
from ...integrators.engine.solve import Solution
from ...integrators.problems.families import Family
from ...integrators.problems.problem import Batch
from ..config import settings
from .curves import Array

MAX_STEPS = 50_000


@dataclass(frozen=True)
class Sweep:
    """What a controller did on every instance at every value of a number that trades work for accuracy.

    That number is the tolerance, the step size or an accuracy parameter; all arrays are (B, K), instance by value.

    err         errors, inf where a run failed
    nfev        right-hand sides
    work        right-hand sides and linear algebra, weighted by the split's costs; nfev itself for explicit methods
    attempts    attempts, and `rejected` how many of them were rejected
    """

    err: Array
    nfev: Array
    work: Array
    attempts: Array
    rejected: Array


class Band(Protocol):
    """What a sweep is read by: a family's name, `levels` (smallest and largest error of its band) and all error levels
    in the band.
    """

    @property
    def name(self) -> str: ...

    @property
    def levels(self) -> tuple[float, float]: ...

    @property
    def error_levels(self) -> Array: ...


class Sweepable(Protocol):
    """What a tuner needs of a split: instances `ids` on which it can run a controller at every tolerance.

    failed: numbers of the instances that were drawn and have no trustworthy reference.
    """

    @property
    def family(self) -> Band: ...

    @property
    def method(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def ids(self) -> np.ndarray: ...

    @property
    def failed(self) -> tuple[int, ...]: ...

    @property
    def costs(self) -> Costs: ...

    @property
    def tolerances(self) -> Array: ...

    def sweep(
        self, controller: Any, rtols: Array | None = None, max_steps: int = ..., threads: int | None = None
    ) -> Sweep: ...


@dataclass(frozen=True)
class Split:
    """Instances of a family's split whose reference passed its self-check.

    name      "train", "validation" or "test"
    seed      what drew the instances
    asked     how many were drawn
    batch     the B instances whose reference passed
    ref       (B, nt, n) their references; nt = 0 where the error needs none
    ids       (B,) their numbers among those that were drawn
    failed    numbers of the others, which are counted and never redrawn
    costs     of the method's linear algebra, as measured on the family
    """

    family: Family
    method: str
    name: str
    seed: int
    asked: int
    batch: Batch
    ref: Array
    ids: np.ndarray
    failed: tuple[int, ...]
    costs: Costs = NONE

    @property
    def tolerances(self) -> Array:
        """The family's relative tolerances, decreasing."""
        return np.array(self.family.tolerances)

    def sweep(
        self, controller: Any, rtols: Array | None = None, max_steps: int = MAX_STEPS, threads: int | None = None
    ) -> Sweep:
        """A controller on every instance at every tolerance (default: the family's), in one ensemble."""
        r = self.tolerances if rtols is None else np.asarray(rtols, dtype=float)
        count = len(self.batch)
        # the tightest first: long runs that start last would leave the other lanes idle
        order = np.argsort(r, kind="stable")
        index, rt = np.tile(np.arange(count), r.size), np.repeat(r[order], count)
        big = self.batch[index]
        sol = self._solve(big, controller, rt, max_steps, threads=threads)
        err = errors(self.family, big, sol.y_eval, self.ref[index] if self.ref.shape[1] else self.ref, sol.success)
        rejected, attempts = sol.stats.nreject, sol.stats.naccept + sol.stats.nreject
        back = np.argsort(order, kind="stable")
        parts = (err, np.maximum(sol.stats.nfev, 1), self.costs.work(sol.stats), attempts, rejected)
        return Sweep(*(np.asarray(v, dtype=float).reshape(r.size, count)[back].T.copy() for v in parts))

    def sweep_knob(self, make: Callable[[float], Any], values: Array, max_steps: int = MAX_STEPS) -> Sweep:
        """The same for controllers `make(value)`, which hold the number themselves; the tolerance is the tightest."""
        runs = [self.sweep(make(float(v)), self.tolerances[-1:], max_steps) for v in values]
        return Sweep(
            *(
                np.concatenate([getattr(s, k) for s in runs], axis=1)
                for k in ("err", "nfev", "work", "attempts", "rejected")
            )
        )

    def seconds(self, controller: Any, rtol: float, rows: Any = None, max_steps: int = MAX_STEPS) -> float:
        """Wall clock of one compiled ensemble on one thread, decisions included.

        rtol: its tolerance.  rows: its instances; None: all.
        """
        batch = self.batch if rows is None else self.batch[rows]
        return float(self._solve(batch, controller, np.full(len(batch), rtol), max_steps, threads=1).stats.wall_s)

    def call(self, i: int, controller: Any, rtol: float, max_steps: int = MAX_STEPS) -> Callable[[], Solution]:
        """A call that solves instance i alone, as `ss.solve` does, outputs at the family's times included."""
        times, atol = self.batch.times(self.family.fractions)[i], rtol * self.family.atol_factor
        problem = self.batch[i]
        return lambda: solve_either(problem, self.method, controller, rtol, atol, times, None, max_steps)

    def _solve(self, batch: Batch, controller: Any, rtol: Array, max_steps: int, **options: Any) -> Any:
        times, atol = batch.times(self.family.fractions), (rtol * self.family.atol_factor)[:, None]
        return ensemble_either(batch, self.method, controller, rtol, atol, t_eval=times, max_steps=max_steps, **options)


def bytes_each(family: Family) -> int:
    """About how many bytes an instance takes while a controller runs on it: states at the output times, references and
    errors at every tolerance.
    """
    return 3 * 8 * family.n * len(family.fractions) * max(24, len(family.tolerances))


def check_size(name: str, n: Any, family: Family) -> int:
    """`n` as a number of instances.

    OptionError, which names the option `name`, where it is none, and where so many would not fit into
    `settings.MEMORY`.
    """
    found = settings.instances(name, n)
    settings.fits(name, found, bytes_each(family), f"references and runs of {family.name}")
    return found


def draw(family: str | Family, method: str | None, name: str, n: int, seed: int, costs: Costs | None = None) -> Split:
    """`n` instances of the split `name` ("train", "validation", "test") with their references.

    costs: of the method's linear algebra; None measures them where there is any.

    Raises ValueError for unknown names, n < 1, and where no reference passes its self-check.
    """
    fam = family if isinstance(family, Family) else problems.family(problems.named(family))
    chosen = methods.registered(fam.method if method is None else method)
    n = check_size("n", n, fam)
    seed = settings.seed("seed", seed)
    batch = fam.split(name, int(n), seed)
    found = fam.reference(batch)
    ref, ok = (np.zeros((n, 0, batch.n)), np.ones(n, dtype=bool)) if found is None else (found.y, found.ok)
    keep = np.flatnonzero(ok)
    if keep.size == 0:
        raise ValueError(f"{family}: no reference of the {name} split passed its self-check")
    failed = tuple(int(i) for i in np.flatnonzero(~ok))
    costs = of_family(fam.name, chosen) if costs is None else costs
    return Split(
        fam,
        chosen,
        name,
        int(seed),
        int(n),
        batch[keep],
        np.ascontiguousarray(ref[keep]),
        keep.astype(np.int64),
        failed,
        costs,
    )
