"""Was it stability that held the steps of an explicit method, and not the error?  Then the problem is stiff, and an
implicit method takes far fewer steps.

It is asked after a run of `LEAST` attempts or more, at some of its accepted steps: let lambda be the eigenvalue of
largest modulus of the Jacobian df/dy there, and R the method's stability polynomial.  A step h is *held* where lambda
is damped rather than oscillating (Re lambda <= -|Im lambda|) and a step a third larger would be unstable,
|R(4/3 h lambda)| > 1.  If the error were what held the step, h lambda would be well inside the region of stability: a
mode with h |lambda| of 2 or 3 that is there at all has an error that no tolerance passes.  A run is stiff where more
than half of the steps looked at are held.

This is the test of dopri5.f and dop853.f, which call a problem stiff where h |lambda| is beyond 3.25 and 6.1 (their
limits of stability) in step after step; lambda is found from differences of the right-hand side after the run instead
of from the stages in it, so that the compiled loop pays nothing.

Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 2nd ed., Springer 1996, IV.2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import methods
from ..compile.digest import UndigestibleError, identity
from ..core.errors import StiffnessWarning, outside, shown
from ..methods import Method
from ..methods.explicit.tableau import ExplicitTableau
from ..problems.problem import Batch, Problem
from .spectrum import Field

LEAST = 500  # attempts: a shorter run is cheap, whatever held its steps
PLACES = 3  # steps of a run, or instances of an ensemble, that are looked at
MOST = 32  # places that are noted of a run that does not keep its steps
CALM = 16  # instances of a right-hand side without a held one, after which further ones like them are not looked at
BEYOND = 4.0 / 3.0  # of a held step: unstable
REMEDY = "rodas5p"

#: a time, the state there, and the step from it, negative where the integration goes backwards
Step = tuple[float, np.ndarray, float]


def spread(t: np.ndarray, y: np.ndarray) -> list[Step]:
    """Steps of a run that kept them, at times t (k,) and states y (k, n): `PLACES` of them, evenly spread."""
    return [(float(t[i]), y[i], float(t[i + 1] - t[i])) for i in _evenly(len(t) - 1)]


def note(places: list[Step], place: Step) -> None:
    """Add a place to those at which a run has been seen; the list stays short however long the run is."""
    places.append(place)
    if len(places) > MOST:
        del places[::2]


def some(places: list[Step]) -> list[Step]:
    """`PLACES` of the places that were noted, evenly spread."""
    return [places[i] for i in _evenly(len(places))]


def _evenly(count: int) -> Sequence[int]:
    """`PLACES` of the numbers 0..count-1, neither end among them where there are enough."""
    return [(2 * k + 1) * count // (2 * PLACES) for k in range(PLACES)] if count >= PLACES else range(count)


class Seen:
    """What was found of a right-hand side under a method: whether steps were held, by instance and number of attempts;
    and the most attempts of a run that was looked at.
    """

    def __init__(self) -> None:
        self.found: dict[bytes, bool] = {}
        self.most = 0

    def settled(self, attempts: int) -> bool:
        """Whether `CALM` instances have been looked at without a stiff one among them, and this run is like theirs."""
        return len(self.found) >= CALM and not any(self.found.values()) and attempts <= 4 * self.most


_SEEN: dict[Any, Seen] = {}


def _is_held(problem: Problem, method: Method, steps: Sequence[Step], attempts: int) -> bool:
    """`held`, remembered by instance and attempts: a solve that is repeated does not pay again."""
    key = (*_key(problem), method.name)
    if len(_SEEN) > 256:
        _SEEN.clear()
    seen = _SEEN.setdefault(key, Seen())
    instance = problem.p.tobytes() + problem.y0.tobytes() + attempts.to_bytes(8, "little")
    if instance not in seen.found:
        if seen.settled(attempts):
            return False
        if len(seen.found) > 4096:
            seen.found.clear()
        assert method.tableau is not None  # the caller's check
        seen.found[instance] = held(problem.rhs, problem.p, method.tableau, steps)
        seen.most = max(seen.most, attempts)
    return seen.found[instance]


def message(problem: Problem, method: Method, steps: Sequence[Step], attempts: int) -> str:
    """What the message of a run of so many attempts says of stiffness, "" where there is nothing to say; a warning the
    first time.
    """
    if method.tableau is None or not _is_held(problem, method, steps, attempts):
        return ""
    _warn_once(problem, method)
    return (
        f"; the problem is stiff: it was stability that held the steps of {method.name}, not the error "
        f"(method={REMEDY!r} takes far fewer)"
    )


def warn_of_ensemble(batch: Batch, method: Any, solution: Any) -> None:
    """The warning for an ensemble: where the instances that took most steps ended, the sizes that would come next are
    looked at.
    """
    method = methods.get(method)
    count, sizes = solution.stats.naccept + solution.stats.nreject, solution.h_next
    if method.tableau is None or sizes is None or count.max(initial=0) < LEAST or _key(batch) in _TOLD:
        return
    slowest = [int(i) for i in np.argsort(-count, kind="stable")[:PLACES] if count[i] >= LEAST]
    last = [[(float(solution.t[i]), solution.y[i], float(np.copysign(sizes[i], batch.t1[i] - batch.t0[i])))]
            for i in slowest]
    found = [held(batch.rhs, batch.p[i], method.tableau, step) for i, step in zip(slowest, last, strict=True)]
    if 2 * sum(found) > len(found):
        _warn_once(batch, method)


_TOLD: set[Any] = set()


def _key(source: Problem | Batch) -> Any:
    try:
        return identity(source.rhs), source.n
    except UndigestibleError:  # it runs as plain Python
        return id(source.rhs), source.n


def _warn_once(source: Problem | Batch, method: Method) -> None:
    key = _key(source)
    if key in _TOLD:
        return
    if len(_TOLD) > 256:
        _TOLD.clear()
    _TOLD.add(key)
    warnings.warn(
        f"problem {shown(source.name)} is stiff: stability holds the steps of {method.name}, not the error, and an "
        f"implicit method takes far fewer. Use method={REMEDY!r}: ss.solve(problem, method={REMEDY!r})",
        StiffnessWarning,
        stacklevel=outside(),
    )


def held(rhs: Callable, p: np.ndarray, tableau: ExplicitTableau, steps: Sequence[Step]) -> bool:
    """Whether more than half of the steps are held by stability; False, too, where the right-hand side raises."""
    missing = len(steps) // 2 + 1
    try:
        field = Field(rhs, p)
        with np.errstate(all="ignore"):
            for left, step in zip(range(len(steps), 0, -1), steps, strict=True):
                if missing > left:
                    return False
                missing -= limited(field, tableau, *step)
    except Exception:  # the user's function in plain Python, at states that may be outside its domain
        return False
    return missing <= 0


def limited(field: Field, tableau: ExplicitTableau, t: float, y: np.ndarray, h: float) -> bool:
    """Whether the step h at (t, y) is held by stability."""
    z = BEYOND * h * field.dominant(t, y.tolist(), 0.5 * tableau.stability_radius / abs(h))
    if not math.isfinite(abs(z)) or not z.real < 0.0 or z.real > -abs(z.imag):
        return False
    value = 0.0 + 0.0j
    for r in reversed(tableau.stability_polynomial):
        value = value * z + float(r)
    return abs(value) > 1.0
