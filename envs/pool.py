"""The instances an environment plays: initial values, references, and what the baseline law makes of each.

Everything that an episode's reward needs is computed once, compiled, when the environment is made: the reference states
at the family's output times, and the baseline's work as a function of the error it reaches (the matched-error return
needs the first, the constraint the second at the episode's tolerance).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..integrators import methods
from ..integrators.engine.costs import NONE, Costs
from ..integrators.engine.measure import sweep
from ..integrators.methods import tableaus
from ..integrators.problems.families import Family
from ..integrators.problems.problem import Batch
from ..integrators.reference.sensitivity import Arrivals, arrivals

ERROR_GRID = np.linspace(np.log(1e-13), np.log(1e1), 160)  # log error, uniform: what `table` is tabulated on
LARGEST = 10.0  # an error beyond this is as bad as this


@dataclass(frozen=True)
class Pool:
    """Instances with their references and baseline.

    batch     I instances of `family`.
    tgrid     (I, nt) output times; `ref` (I, nt, n), the reference states there.
    table     (I, G) log work of the baseline at the log errors of `ERROR_GRID`.
    log_rtol  (K,) uniform grid of log tolerances; `at_tol` (2, I, K), the baseline's log work and log error there.
    dropped   number of instances drawn that are left out, because their reference failed its self-check or the baseline
              failed at every tolerance.
    method    its name, or a tableau; `costs`, those of its linear algebra, which are part of the work.
    arrivals  what `followed` adds.
    """

    family: Family
    batch: Batch
    tgrid: np.ndarray
    ref: np.ndarray
    table: np.ndarray
    log_rtol: np.ndarray
    at_tol: np.ndarray
    dropped: int
    method: str | tableaus.ExplicitTableau
    costs: Costs = NONE
    arrivals: Arrivals | None = None

    @functools.cached_property
    def followed(self) -> Pool:
        """The instances whose final error can be predicted from local errors, with their `arrivals`; ValueError where
        there are none."""
        return self.followed_of[0]

    @functools.cached_property
    def followed_of(self) -> tuple[Pool, np.ndarray]:
        """`followed`, and the numbers of its instances in this pool."""
        if self.family.error != "final":
            kind, name = self.family.error, self.family.name
            raise ValueError(
                f"reward 'propagated' needs the error measure 'final'; that of family {name!r} is {kind!r}"
            )
        tab = methods.get(self.method).tableau
        if tab is None:
            known = ", ".join(tableaus.NAMES)
            raise ValueError(f"reward 'propagated' needs an explicit Runge-Kutta method ({known}), got {self.method!r}")
        found = arrivals(self.batch, self.ref[:, -1], tab, self.family.components)
        keep = np.flatnonzero(found.ok)
        if keep.size == 0:
            raise ValueError(
                f"reward 'propagated': no instance of family {self.family.name!r} lets its final error be predicted"
            )
        some = replace(
            self, batch=self.batch[keep], tgrid=self.tgrid[keep], ref=self.ref[keep], table=self.table[keep],
            at_tol=np.ascontiguousarray(self.at_tol[:, keep]), dropped=self.dropped + len(found.ok) - keep.size,
            arrivals=found.take(keep),
        )  # fmt: skip
        return some, keep

    @property
    def price(self) -> np.ndarray:
        """(I,): `price * w**p` is one over e of the reward "propagated" (see `integrators.kernels.environment.pay`) at
        the work w; p the order.

        Steps that follow the natural clock with work w commit errors whose sum is w**-p as large as the knots' own.
        """
        assert self.arrivals is not None  # of `followed`
        tab = methods.get(self.method).tableau
        assert tab is not None  # or there were no arrivals
        steps = (np.diff(self.arrivals.first) - 1) * float(tab.step_cost)
        return 4.0 / (self.arrivals.error * steps**tab.order)

    def span(self, rtol: tuple[float, float], band: bool = False, margin: float = 10.0**0.5) -> np.ndarray:
        """Log tolerances (I, 2) that episodes on each instance are drawn between: those of `rtol` = (loose, tight).

        band: only those at which the baseline's error lies in the family's band of error levels, `margin` wider at both
        ends, as far as `rtol` holds them: where the comparison looks.  Where the baseline reaches no error at all:
        those of `rtol`.
        """
        low, high = np.log(rtol[1]), np.log(rtol[0])
        out = np.tile([low, high], (len(self.batch), 1))
        if band:
            levels = np.log(self.family.error_levels)
            ends = np.array([levels.min() - np.log(margin), levels.max() + np.log(margin)])
            for i in range(len(out)):
                # a tight tolerance at which the baseline gave up says nothing of looser ones
                good = self.at_tol[1, i] < np.log(LARGEST)
                if good.any():
                    # errors made monotone; the loosest tolerance is the last one
                    reach = np.maximum.accumulate(self.at_tol[1, i, good])
                    out[i] = np.clip(np.interp(ends, reach, self.log_rtol[good]), low, high)
        return np.ascontiguousarray(out)


def envelope_table(log_err: np.ndarray, log_work: np.ndarray, slope: float) -> np.ndarray:
    """Log work at `ERROR_GRID` (I, G) from points (I, K): the lower-left monotone envelope, linear between points,
    continued with d log work / d log error = -slope beyond them (a return must have a value wherever an episode
    ends)."""
    out = np.empty((len(log_err), ERROR_GRID.size))
    for i, (e, w) in enumerate(zip(log_err, log_work, strict=True)):
        good = np.isfinite(e)
        e, w = e[good], w[good]
        if e.size == 0:
            out[i] = np.nan
            continue
        order = np.lexsort((w, e))
        e, w = e[order], np.minimum.accumulate(w[order])
        keep = np.concatenate([[True], w[1:] < w[:-1]])
        e, w = e[keep], w[keep]
        row = np.interp(ERROR_GRID, e, w)
        row = np.where(ERROR_GRID < e[0], w[0] + slope * (e[0] - ERROR_GRID), row)
        out[i] = np.where(ERROR_GRID > e[-1], w[-1] - slope * (ERROR_GRID - e[-1]), row)
    return out


def make_pool(
    family: Family,
    method: str | tableaus.ExplicitTableau,
    baseline: Any,
    size: int,
    split: str,
    seed: int,
    rtol: tuple[float, float],
    points: int = 24,
    max_steps: int = 50_000,
    costs: Costs = NONE,
) -> Pool:
    """Draw `size` instances of a split, solve their references and the baseline at `points` tolerances around `rtol`
    (loose, tight).

    The tolerances reach a factor 10 beyond the range at both ends, so that the errors a policy may reach are covered.
    Raises ValueError where the range is not ordered or the pool ends up empty.
    """
    loose, tight = rtol
    if not 0 < tight <= loose:
        raise ValueError(f"rtol must be (loose, tight) with 0 < tight <= loose, got {rtol}")
    if size < 1:
        raise ValueError(f"pool size must be at least 1, got {size}")
    batch = family.split(split, size, seed)
    return pool_of(batch, family, method, baseline, rtol, points, max_steps, costs)[0]


def pool_of(
    batch: Batch,
    family: Family,
    method: str | tableaus.ExplicitTableau,
    baseline: Any,
    rtol: tuple[float, float],
    points: int = 24,
    max_steps: int = 50_000,
    costs: Costs = NONE,
) -> tuple[Pool, np.ndarray]:
    """The pool of `make_pool` of given instances, and which of them it keeps, their numbers."""
    loose, tight = rtol
    size, kept = len(batch), np.arange(len(batch))
    if np.any(batch.t0 == batch.t1):
        raise ValueError(f"family {family.name!r} has instances of zero length: there is nothing to decide")
    # the comparison's own rule of which instances count
    found, tgrid = family.reference(batch), batch.times(family.fractions)
    ref, ok = (np.zeros((len(batch), 0, batch.n)), np.ones(len(batch), bool)) if found is None else (found.y, found.ok)
    keep = np.flatnonzero(ok)
    if keep.size == 0:
        raise ValueError(f"no instance of family {family.name!r} has a reference that passes its self-check")
    batch, ref, tgrid = batch[keep], np.ascontiguousarray(ref[keep]), np.ascontiguousarray(tgrid[keep])
    kept = kept[keep]
    log_rtol = np.linspace(np.log(tight) - np.log(10), np.log(loose) + np.log(10), points)
    err, work = sweep(family, batch, ref, method, baseline, np.exp(log_rtol), max_steps, costs)
    reached = np.isfinite(err).any(axis=1)
    if not reached.any():
        raise ValueError(f"the baseline reaches no error on any instance of family {family.name!r}")
    keep = np.flatnonzero(reached)
    batch, ref, tgrid, err, work = batch[keep], ref[keep], tgrid[keep], err[keep], work[keep]
    kept = kept[keep]
    with np.errstate(divide="ignore"):
        log_err = np.log(np.maximum(err, 1e-300))
    log_work = np.log(work)
    slope = 1.0 / (methods.get(method).embedded_order + 1) if methods.get(method).embedded_order else 0.25
    table = envelope_table(log_err, log_work, slope)
    at_tol = np.stack([log_work, np.minimum(log_err, np.log(LARGEST))])
    pool = Pool(
        family, batch, tgrid, ref, table, log_rtol, np.ascontiguousarray(at_tol), int(size - len(batch)), method, costs
    )
    return pool, kept
