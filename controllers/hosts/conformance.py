"""Whether an adapter decides as the engine does, on records that were written down.

`recorded` solves a problem with the engine and keeps every attempt's record and answer.  `reference` answers such
records in NumPy, from the slots that a host fills alone.  `check` plays them to an adapter and compares attempt by
attempt.

>>> import stepsmith as ss
>>> log = recorded(ss.problems.make("arenstorf"), "dopri5", ss.controller("pi34"))
>>> check(my_adapter, ss.controller("pi34"), log.records)  # my_adapter(controller, lanes)  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...integrators.core.contract import ACCEPT, LOG_FACTOR
from ...integrators.core.record import N_RECORD
from ...integrators.core.runner import Runner
from ...integrators.engine.solve import solve
from ...integrators.methods.tableaus import ExplicitTableau
from ...integrators.problems.problem import Problem
from .contract import Make


class Difference(AssertionError):
    """An adapter has decided otherwise than the engine's own controller; the message says where."""


@dataclass(frozen=True)
class Log:
    """Attempts of one solve by the engine.

    records: float64 (attempts, N_RECORD).  accept: float64 (attempts,), 0 or 1.  log_factor: float64 (attempts,).
    """

    records: np.ndarray
    accept: np.ndarray
    log_factor: np.ndarray


def recorded(
    problem: Problem, method: str | ExplicitTableau, controller: Any, rtol: float = 1e-6, atol: float = 1e-9
) -> Log:
    """Attempts of a solve by the engine under `controller`, an object of the controller contract.

    rtol, atol: as a person asks for them; the records are those of the tolerances that the controller works at.  It
    raises what `solve` raises.
    """
    rows = solve(problem, method, controller, rtol=rtol, atol=atol, log=True).record
    assert rows is not None  # asked for
    return Log(rows[:, :N_RECORD], rows[:, N_RECORD + ACCEPT], rows[:, N_RECORD + LOG_FACTOR])


def reference(controller: Any, records: np.ndarray, slots: frozenset[int]) -> tuple[np.ndarray, np.ndarray]:
    """Accept and log-factor that `controller` answers to `records` in NumPy, when only `slots` are filled.

    records: float64 (attempts, lanes, N_RECORD), or (attempts, N_RECORD) for one lane.  Returns two float64 arrays
    (attempts, lanes).
    """
    records = _masked(records, slots)
    runner = Runner(controller, records.shape[1])
    answers = [[a.copy() for a in runner.decide(list(row.T.copy()))] for row in records]
    return (
        np.array([out[ACCEPT] for out in answers]).reshape(records.shape[:2]),
        np.array([out[LOG_FACTOR] for out in answers]).reshape(records.shape[:2]),
    )


def check(
    make: Make, controller: Any, records: np.ndarray, tolerance: float = 1e-12, ulps: float | None = None
) -> float:
    """Play `records` to an adapter and compare its answers with `reference`.

    make         `make(controller, lanes)` gives the adapter
    controller   what decides
    records      float64 (attempts, lanes, N_RECORD), or (attempts, N_RECORD) for one lane
    tolerance    on the log-factor, absolute; accept must be equal
    ulps         in the place of `tolerance`, in units in the last place of max(1, |log-factor|)

    Returns the largest difference of the log-factors, in those units.  Raises `Difference` at the first attempt that
    differs, TypeError for what is no adapter, and ValueError for records of another shape.
    """
    records = _lanes(records)
    adapter = make(controller, records.shape[1])
    if not hasattr(adapter, "decide") or not hasattr(adapter, "slots"):
        raise TypeError(f"an adapter has slots and decide, {type(adapter).__name__!r} has not")
    slots = frozenset(adapter.slots)
    accept, log_factor = reference(controller, records, slots)
    unit, largest = np.spacing(np.maximum(1.0, np.abs(log_factor))), 0.0
    most_off = np.full_like(unit, tolerance) if ulps is None else ulps * unit
    for k, row in enumerate(_masked(records, slots)):
        got = adapter.decide(list(row.T.copy()))
        for what, found, wanted, most in (
            ("accept", got[0], accept[k], 0.0),
            ("log_factor", got[1], log_factor[k], most_off[k]),
        ):
            found = np.asarray(found, dtype=np.float64)
            if found.shape != wanted.shape:
                raise Difference(f"attempt {k}: {what} has shape {found.shape}, not {wanted.shape}")
            wrong = ~(np.abs(found - wanted) <= most)
            if wrong.any():
                lane = int(np.argmax(wrong))
                raise Difference(
                    f"attempt {k}, lane {lane}: {what} is {found[lane]:.17g}, the engine's is {wanted[lane]:.17g}"
                )
        largest = max(largest, float(np.max(np.abs(np.asarray(got[1], dtype=np.float64) - log_factor[k]) / unit[k])))
    return largest


def _lanes(records: np.ndarray) -> np.ndarray:
    records = np.asarray(records, dtype=np.float64)
    if records.ndim == 2:
        records = records[:, None, :]
    if records.ndim != 3 or records.shape[2] != N_RECORD or not records.size:
        raise ValueError(f"records must have shape (attempts, lanes, {N_RECORD}), got {records.shape}")
    return records


def _masked(records: np.ndarray, slots: frozenset[int]) -> np.ndarray:
    """The records with every slot that a host does not fill NaN."""
    records = _lanes(records)
    return np.where(np.isin(np.arange(N_RECORD), sorted(slots)), records, np.nan)
