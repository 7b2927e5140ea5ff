"""What `solve` returns: times, states, how it went, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core import record
from ..core.errors import OptionError
from . import printed
from .dense_output import DenseOutput

RECORD_NAMES = (*record.NAMES, "accept", "log_factor", "flags", "fallback")


@dataclass(slots=True)
class Stats:
    """Counts of one solve: right-hand sides (all of them, those of Jacobians by differences too), accepted and rejected
    attempts, Jacobians, LU factorisations, back-substitutions, answers of the controller that were replaced by its base
    law, and seconds inside the compiled solve, the controller's own evaluation included and compilation not.
    naccept_over: accepted attempts whose scaled error estimate exceeded 1, the tolerance: the controller let them pass.
    nswitch: changes of the method, in a portfolio.
    """

    nfev: int
    naccept: int
    nreject: int
    njev: int
    nlu: int
    nsolve: int
    nfallback: int
    naccept_over: int
    wall_s: float
    nswitch: int = 0


#: the fields that kernels count, in their order; each is a column of `layout.STATS`
COUNTS = tuple(name for name in Stats.__dataclass_fields__ if name not in ("wall_s", "nswitch"))


@dataclass(slots=True, eq=False, repr=False)
class Solution:
    """t (k,), y (k, n): accepted steps, or the outputs at `t_eval` that were reached.  `success`, `status` (see
    `kernels.layout.MESSAGES`), `message`, `stats`.  `record`: (attempts, slots) log of attempt records, columns
    `record_names`, or None.  `method`, `controller`: the names of what solved it, or "".  `tolerance_scale`: what the
    controller multiplied the tolerances asked for by.  `t_events`, `y_events`: times (k,) and states (k, n) of the
    events of every function in `events`, or None without.  `sol`: with dense=True the solution as a function of time,
    else None; `sol(t)` calls it.  `switches`: of a portfolio, the times from which on each method was at work, with its
    name; else None.  Printed, it is five lines.
    """

    t: np.ndarray
    y: np.ndarray
    success: bool
    status: int
    message: str
    stats: Stats
    record: np.ndarray | None = None
    method: str = ""
    controller: str = ""
    tolerance_scale: float = 1.0
    t_events: list[np.ndarray] | None = None
    y_events: list[np.ndarray] | None = None
    sol: DenseOutput | None = None
    switches: list[tuple[float, str]] | None = None

    record_names = RECORD_NAMES  # a plain class attribute, not a field

    def __call__(self, t: Any) -> np.ndarray:
        """The state at t, a number or (k,), by dense output; OptionError where that was not kept."""
        if self.sol is None:
            raise OptionError("this solution has no dense output: solve with dense=True")
        return self.sol(t)

    def __str__(self) -> str:
        return "\n".join(printed.lines(self))

    def __repr__(self) -> str:
        return printed.short(self)

    def __setstate__(self, state: Any) -> None:
        """Fields of a pickle; one of an earlier version has fewer."""
        since = {"record": None, "method": "", "controller": "", "tolerance_scale": 1.0}
        since |= {"t_events": None, "y_events": None, "sol": None, "switches": None}
        for name, value in {**since, **state[1]}.items():
            setattr(self, name, value)
