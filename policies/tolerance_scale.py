"""The tolerance scale at which a controller makes the error that a law makes at the same tolerance.

A person who puts a trained controller in the place of the law of their solver goes on asking for the tolerance that
they know.  The controller saves work at equal error, but at that tolerance its error is another one.  `matched_scale`
finds the factor s by which the controller is to multiply tolerances, on the validation split of a family,

    mean over k, mean over i of  log e_i(s r_k) - log l_i(r_k)  =  0,

r_k the tolerances, e_i and l_i the errors of controller and law on instance i, so that their geometric means agree (in
the mean over the tolerances, for there is one scale).  Absolute tolerances are scaled alike.

Failures.  At a tolerance those instances count that both solve; how many either has failed on is reported.  A scale at
which fewer than half of the instances count is not taken.  A tolerance at which the law's errors are not `CLEAR` times
what the references are known to, on nine of ten instances, is left out, and is said to be.

Tails.  The scale matches typical errors.  Where the 90th percentile of the controller's errors is then more than `TAIL`
times that of the law's, a warning says so: some instances would be solved far worse than before.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..controllers import resolve
from ..controllers.laws.law import Law
from ..controllers.learned.network import Learned
from ..integrators import methods, problems
from ..integrators.core import options
from ..integrators.core.errors import OptionError
from ..integrators.core.tolerance_scale import checked, unscaled
from ..integrators.engine.measure import sweep
from ..integrators.engine.solve import check_controller
from ..integrators.methods.method import UNIVERSAL
from ..integrators.methods.tableaus import ExplicitTableau
from ..integrators.problems.families import Family

Array = np.ndarray

TOLERANCES = (1e-4, 1e-6, 1e-8)
#: decades of the scale that are searched to both sides of 1: first the inner ones, then the outer
SEARCHED = (1.0, 2.0, 3.0)
#: points of the search a decade, and how close the mean log ratio of the errors has to come to 0
A_DECADE, CLOSE = 4, 2e-3
#: least ratio of a law's error to what the reference is known to, and the share of instances that must have it
CLEAR, SHARE = 10.0, 0.9
#: relative tolerances that a scale may lead to
TIGHTEST, LOOSEST = 1e-13, 1.0
MOST_STEPS = 50_000
#: ratio of the 90th percentiles of the errors above which a scale is warned of
TAIL = 10.0


@dataclass(frozen=True)
class Level:
    """What was measured at one tolerance.

    rtol         the tolerance that is asked for
    used         whether the scale was set by it
    law          geometric-mean error of the law
    before       of the controller at rtol itself
    after        of the controller at scale times rtol, on the instances that `law` is taken over
    tail         90th percentile of the controller's errors under the scale over that of the law's
    law_failed, failed    instances on which the law, and the controller at its scaled tolerance, failed
    """

    rtol: float
    used: bool
    law: float
    before: float
    after: float
    tail: float
    law_failed: int
    failed: int

    @property
    def mismatch(self) -> float:
        """The controller's error over the law's, which is left at this tolerance."""
        return self.after / self.law


@dataclass(frozen=True)
class Matched:
    """A scale, and what it was set by.

    against      the law's name
    instances    how many instances had a reference, of `asked` that were drawn with `seed`
    levels       one a tolerance
    """

    scale: float
    family: str
    method: str
    against: str
    seed: int
    asked: int
    instances: int
    levels: tuple[Level, ...]

    def facts(self) -> dict[str, Any]:
        """As JSON-like data; what is not finite is None."""
        rows = [(v, v.mismatch) for v in self.levels]
        return {
            "scale": self.scale, "against": self.against, "family": self.family, "method": self.method,
            "split": "validation", "seed": self.seed, "drawn": self.asked, "instances": self.instances,
            "tolerances": [v.rtol for v, _ in rows], "used": [v.used for v, _ in rows],
            "law_error": [_plain(v.law) for v, _ in rows], "error_before": [_plain(v.before) for v, _ in rows],
            "error": [_plain(v.after) for v, _ in rows], "mismatch": [_plain(m) for _, m in rows],
            "tail": [_plain(v.tail) for v, _ in rows],
            "law_failed": [v.law_failed for v, _ in rows], "failed": [v.failed for v, _ in rows],
        }  # fmt: skip

    def applied(self, controller: Learned, **more: Any) -> Learned:
        """The controller with this scale; its `measured` figures say how the scale was found.

        more: JSON-like data that goes beside it.
        """
        measured = {**controller.measured, "tolerance_scale": {**self.facts(), **more}}
        return controller.replace(tolerance_scale=self.scale, measured=measured)


@options.named
def matched_scale(
    controller: Any,
    family: str | Family,
    method: str | ExplicitTableau | None = None,
    against: Any = None,
    tolerances: Sequence[float] = TOLERANCES,
    n: int = 100,
    seed: int = 0,
) -> Matched:
    """The scale at which `controller` makes the error of a law at the same tolerances, on `n` validation instances.

    controller   an object, a name or a path; a scale that it has already is left out
    family       a `Family` or its name
    method       default the family's
    against      the law, an object or a name; None: pi34 of explicit methods, the method's own of others
    tolerances   relative ones, above 0 and at most 1; the absolute one is the family's factor times each
    seed         what draws the instances

    Raises ValueError for unknown names, for a controller that the method does not serve, where no reference passes its
    self-check or none is accurate enough, and where at no scale the errors agree: on that family the controller's error
    does not follow the tolerance, or it fails too often.  Warns where the tails of the errors differ.
    """
    fam = family if isinstance(family, Family) else problems.family(problems.named(family))
    meth = methods.get(fam.method if method is None else method)
    law = _resolved(reference_law(meth) if against is None else against, fam, meth)
    mine = _resolved(controller, fam, meth)
    rtols = np.array([options.number("tolerances", r, above=0.0, high=LOOSEST) for r in tolerances])
    if not rtols.size:
        raise OptionError("tolerances must hold at least one number")
    batch = fam.split("validation", options.count("n", n, 2), options.count("seed", seed, 0))
    for each in (law, mine):
        check_controller(each, meth, batch)
    measured = _Measured(fam, meth.name if method is None or isinstance(method, str) else method, batch, mine)
    errors = measured.errors(law, rtols)
    used = measured.clear(errors)
    if not used.any():
        raise ValueError(
            f"at no tolerance the errors of {law.name} on {fam.name} are {CLEAR:g} times what the references are known "
            "to: ask for looser tolerances"
        )
    scale = checked(float(f"{math.exp(_root(measured, rtols[used], errors[:, used])):.4g}"))
    levels = _levels(measured, scale, rtols, errors, used)
    worst = max((v for v in levels if v.used), key=lambda v: v.tail)
    if worst.tail > TAIL:
        warnings.warn(
            f"scale {scale:g} makes the typical error that of {law.name}, but at rtol {worst.rtol:g} the 90th "
            f"percentile of the errors is {worst.tail:.0f} times the law's: use the controller without a scale",
            stacklevel=3,
        )
    return Matched(
        scale, fam.name, meth.name, str(law.name), int(seed), int(n), len(measured.batch), tuple(levels)
    )


def reference_law(method: methods.Method) -> str:
    """Name of the law whose error a controller is to make where none is named: a published one, without a scale."""
    law = method.own_law()
    return "pi34" if law == UNIVERSAL else law


def _resolved(value: Any, family: Family, method: methods.Method) -> Any:
    """A controller without a scale, from an object, a name or a path; a law in the kernel that most laws share."""
    named = isinstance(value, (str, os.PathLike))
    found = resolve.controller(os.fspath(value), family.name, method.name) if named else value
    return found.general() if isinstance(found, Law) else unscaled(found)


class _Measured:
    """A family's instances whose references are good, and errors on them."""

    def __init__(self, family: Family, method: str | ExplicitTableau, batch: Any, controller: Any) -> None:
        found = family.reference(batch)
        keep = np.arange(len(batch)) if found is None else np.flatnonzero(found.ok)
        if not keep.size:
            raise ValueError(f"{family.name}: no reference of the validation split passed its self-check")
        self.family, self.method, self.controller, self.batch = family, method, controller, batch[keep]
        self.ref = np.zeros((len(keep), 0, batch.n)) if found is None else np.ascontiguousarray(found.y[keep])
        self.known = np.zeros(len(keep)) if found is None else np.asarray(found.self_error)[keep]

    def errors(self, controller: Any, rtols: Array) -> Array:
        """(B, K), inf where a run failed; an error of 0 counts as the least that float64 resolves."""
        found, _ = sweep(self.family, self.batch, self.ref, self.method, controller, rtols, MOST_STEPS)
        return np.maximum(found, np.finfo(float).tiny)

    def clear(self, errors: Array) -> Array:
        """(K,) at which tolerances an error says more of the law than of the references."""
        return np.asarray((errors >= CLEAR * self.known[:, None]).mean(axis=0) >= SHARE)

    def mismatch(self, scales: Array, rtols: Array, law: Array) -> Array:
        """(S,) mean over the tolerances of the log of the controller's error over the law's; NaN where too few count.

        scales (S,); rtols (K,) and the law's errors (B, K) there.
        """
        own = self.errors(self.controller, np.outer(scales, rtols).ravel()).reshape(len(law), len(scales), len(rtols))
        out = []
        for j in range(len(scales)):
            theirs, mine = _means(law, own[:, j])
            out.append(float(np.mean(np.log(mine / theirs))))
        return np.array(out)


def _means(a: Array, b: Array) -> tuple[Array, Array]:
    """Geometric means (K,) of errors (B, K) over the instances on which both are finite; NaN for fewer than half."""
    both = np.isfinite(a) & np.isfinite(b)
    count = both.sum(axis=0)
    enough = 2 * count >= len(a)
    means = (
        np.exp(np.log(np.where(both, e, 1.0)).sum(axis=0) / np.maximum(count, 1)) for e in (a, b)
    )
    first, second = (np.where(enough, m, np.nan) for m in means)
    return first, second


def _root(measured: _Measured, rtols: Array, law: Array) -> float:
    """The log of the scale at which the errors agree in the mean; ValueError where there is none."""
    low, high = math.log(TIGHTEST / rtols.min()), math.log(LOOSEST / rtols.max())
    for decades in SEARCHED:
        count = int(2 * decades * A_DECADE) + 1
        grid = np.linspace(-decades, decades, count) * math.log(10.0)
        grid = grid[(grid >= low) & (grid <= high)]
        values = measured.mismatch(np.exp(grid), rtols, law)
        crossed = np.flatnonzero((values[:-1] <= 0.0) & (values[1:] > 0.0))
        if crossed.size:
            # where noise makes several, the one nearest to no scale at all
            i = crossed[np.argmin(np.abs(grid[crossed] + grid[crossed + 1]))]
            ends = (grid[i], grid[i + 1]), (values[i], values[i + 1])
            return _between(ends, lambda x: float(measured.mismatch(np.exp([x]), rtols, law)[0]))
    raise ValueError(
        f"at no scale from {10 ** -SEARCHED[-1]:g} to {10 ** SEARCHED[-1]:g} the errors of controller and law agree on "
        f"{measured.family.name}: the controller's error does not follow the tolerance there, or it fails on more than "
        "half of the instances"
    )


def _between(ends: tuple[tuple[float, float], tuple[float, float]], value: Any, most: int = 12) -> float:
    """Where `value` is 0 between two ends of opposite sign, by the Illinois method (false position that cannot stick).

    ends: the two places and the two values.
    """
    (a, b), (fa, fb) = ends
    kept, x = 0, a
    for _ in range(most):
        x = b - fb * (b - a) / (fb - fa)
        f = value(x)
        if not abs(f) > CLOSE:  # NaN too: no more is to be had here
            break
        if f < 0.0:
            a, fa = x, f
            fb = 0.5 * fb if kept == -1 else fb
            kept = -1
        else:
            b, fb = x, f
            fa = 0.5 * fa if kept == 1 else fa
            kept = 1
    return float(x)


def _levels(measured: _Measured, scale: float, rtols: Array, law: Array, used: Array) -> list[Level]:
    """What is left at every tolerance under the scale, those that did not set it included."""
    before, after = (
        measured.errors(measured.controller, np.clip(s * rtols, TIGHTEST, LOOSEST)) for s in (1.0, scale)
    )
    wanted, reached = _means(law, after)
    _, plain = _means(law, before)
    return [
        Level(
            float(rtols[k]), bool(used[k]), float(wanted[k]), float(plain[k]), float(reached[k]),
            _tail(law[:, k], after[:, k]), int(np.isinf(law[:, k]).sum()), int(np.isinf(after[:, k]).sum()),
        )
        for k in range(len(rtols))
    ]  # fmt: skip


def _tail(law: Array, own: Array) -> float:
    """The 90th percentile of a controller's errors (B,) over that of the law's, where both are finite; NaN for none."""
    both = np.isfinite(law) & np.isfinite(own)
    return float(np.quantile(own[both], 0.9) / np.quantile(law[both], 0.9)) if both.any() else math.nan


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
