"""The conformance kit: an adapter against the engine, on attempts of ten problems and on faults.

`conformance` plays the attempts of solves under each controller to the adapter, and compares every answer with the
controller's own in NumPy (`conformance.reference`), from the slots that the adapter says it fills.  The attempts are
those of SciPy's RK45 (no kernel has to be compiled for them), with rejections; to them come attempts without a usable
error, and every problem once more in lanes side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...integrators import problems
from ...integrators.core import options
from ...integrators.core import record as rec
from ..resolve import controller as named
from . import scipy
from .conformance import check, reference
from .contract import Make
from .fitting import fit

#: families whose attempts are played, one instance each; arenstorf, vanderpol and fitzhugh_nagumo reject often
FAMILIES = (
    "arenstorf", "brusselator", "double_pendulum", "fitzhugh_nagumo", "henon_heiles", "kepler", "lorenz",
    "lotka_volterra", "three_body", "vanderpol",
)  # fmt: skip
#: a law of two lags, one with step ratios, one with the limiters of a stiff code, and a learned one that reads
#: the time left
CONTROLLERS = ("pi34", "h211b", "predictive", "lorenz96")
#: attempts of one problem that are played
MOST = 300


@dataclass(frozen=True)
class Row:
    """What was compared of one controller on one problem: attempts, those among them that are rejected, and the largest
    difference of the log-factors, in units in the last place of max(1, |log-factor|).
    """

    controller: str
    problem: str
    attempts: int
    rejected: int
    ulps: float


def attempts(family: str, controller: Any, rtol: float = 1e-5) -> np.ndarray:
    """The records of one solve by SciPy's RK45 under `controller`: float64 (attempts, `N_RECORD`), `MOST` at most.

    family: a name of a problem's family; its first instance of seed 1 is solved, with atol = rtol / 1000.
    """
    problem = problems.make(family, seed=1)
    log: list[np.ndarray] = []

    def rhs(t: float, y: np.ndarray) -> np.ndarray:
        dy = np.empty_like(y)
        problem.rhs(t, y, problem.p, dy)
        return dy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it was trained on another pair: any attempts will do
        steered = scipy.method(controller, "RK45")

    class Logged(steered):  # type: ignore[misc, valid-type]
        def _measured(self, *args: Any) -> Any:
            seen, finite = super()._measured(*args)
            log.append(np.array([seen.get(slot, np.nan) for slot in range(rec.N_RECORD)]))
            return seen, finite

    solver = Logged(rhs, problem.t_span[0], problem.y0, problem.t_span[1], rtol=rtol, atol=1e-3 * rtol)
    solver.sight.slots = frozenset(range(rec.N_RECORD))
    while solver.status == "running" and len(log) < MOST:
        solver.step()
    return np.array(log[:MOST])


def faults(records: np.ndarray) -> np.ndarray:
    """`records` with every seventh attempt spoiled: no error, an infinite one, none at all, a state that is not finite,
    an enormous error and two rejections in a row.
    """
    spoiled = records.copy()
    changes: list[dict[int, float]] = [
        {rec.ERR: np.nan, rec.FINITE: 0.0}, {rec.ERR: np.inf, rec.FINITE: 0.0}, {rec.ERR: 0.0}, {rec.FINITE: 0.0},
        {rec.ERR: 1e30}, {rec.ERR: 3.0}, {rec.ERR: 2.0}, {rec.TRUNCATED: 1.0},
    ]  # fmt: skip
    for k, row in enumerate(spoiled[3::7]):
        for slot, value in changes[k % len(changes)].items():
            row[slot] = value
    return spoiled


def conformance(
    make: Make, controllers: Iterable[Any] = CONTROLLERS, families: Iterable[str] = FAMILIES, ulps: float = 4.0
) -> list[Row]:
    """Compare an adapter with the engine's own decisions.

    make         `make(controller, lanes)` gives the adapter (`contract.Adapter`)
    controllers  names or controllers
    families     families of problems, by name
    ulps         how far a log-factor may be off, in units in the last place of max(1, |log-factor|)

    Returns a row for each controller and problem.  Raises `Difference` at the first answer that differs, and ValueError
    by the name of the feature where the adapter does not fill what a controller reads.
    """
    ulps = options.positive("ulps", ulps)
    controllers = (controllers,) if isinstance(controllers, str) else controllers
    families = (families,) if isinstance(families, str) else families
    rows = []
    for given in controllers:
        controller = named(given) if isinstance(given, str) else given
        slots = frozenset(make(controller, 1).slots)
        fit(controller, "the adapter", slots)
        for family in families:
            plain = attempts(family, controller)
            worst = 0.0
            for records in (plain, faults(plain), np.stack([plain, plain[::-1], faults(plain)], axis=1)):
                worst = max(worst, check(make, controller, records, ulps=ulps))
            accept, _ = reference(controller, plain, slots)
            rows.append(Row(controller.name, family, len(plain), int(np.sum(accept < 0.5)), worst))
    return rows
