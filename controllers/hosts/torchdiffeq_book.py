"""What torchdiffeq solves under a controller note: counts, steps, failures, and sizes to begin the next one with."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from ...integrators.core import tolerance_scale
from ...integrators.core.runner import slots_read
from ...integrators.engine.decisions import Decisions

#: solves that a history keeps, and kinds of solve whose first size a warm start remembers
KEPT, WARM = 16, 64


class SolveFailed(AssertionError):
    """A solve cannot reach its end.  `solve`: what was done until then (`Solve`)."""

    solve: Solve


@dataclass
class Solve:
    """What one solve did.

    adjoint     whether it belongs to a backward pass of `odeint_adjoint`, which makes one solve for each output time
    nfev        calls of func by the solver, those before the first step included
    naccept, nreject, nfallback
                accepted and rejected attempts; decisions in which a learned controller left the answer to its base law
    nforced     attempts of min_step that were accepted against the controller
    times       naccept + 1 floats: where the steps begin and end, in the order they were taken
    steps       naccept positive floats: sizes of the accepted steps
    errors      naccept floats: their scaled errors; at most 1 is within tolerance
    failure     why the solve ended early, or None
    """

    adjoint: bool
    nfev: int = 0
    naccept: int = 0
    nreject: int = 0
    nfallback: int = 0
    nforced: int = 0
    times: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    failure: str | None = None


class Book:
    """What a `Method` and its solvers share: the controller, the options, first sizes to begin with, and what was done.

    Everything is guarded by a lock, so that threads may solve with one method.
    """

    def __init__(self, controller: Any, base: str, warm_start: bool, even_steps: bool) -> None:
        self.controller, self.base, self.warm_start, self.even_steps = controller, base, warm_start, even_steps
        self.slots, self.scale = slots_read(controller), tolerance_scale.of(controller)
        #: the controller's decisions at the start of a solve
        self.asked = Decisions(controller)
        self.history: deque[Solve] = deque(maxlen=KEPT)
        self.counts = {"nfev": 0, "nfev_adjoint": 0, "solves": 0, "solves_adjoint": 0}
        self._warm: OrderedDict[Any, float] = OrderedDict()
        self._lock = threading.Lock()

    def begun(self, key: Any) -> float | None:
        """The first size for a solve of this kind, None where there was none yet."""
        with self._lock:
            if key in self._warm:
                self._warm.move_to_end(key)
            return self._warm.get(key)

    def ended(self, solve: Solve, key: Any, size: float) -> None:
        """Note a solve.  size: what the controller proposed after the first accepted step; NaN: it is no example."""
        with self._lock:
            self.history.append(solve)
            kind = "_adjoint" if solve.adjoint else ""
            self.counts["nfev" + kind] += solve.nfev
            self.counts["solves" + kind] += 1
            if not self.warm_start or key is None:
                return
            self._warm.pop(key, None)
            if size > 0.0:
                self._warm[key] = size
                if len(self._warm) > WARM:
                    self._warm.popitem(last=False)

    def totals(self, restart: bool) -> dict[str, int]:
        with self._lock:
            found = dict(self.counts)
            if restart:
                self.counts = dict.fromkeys(self.counts, 0)
        return found

    def forget(self) -> None:
        with self._lock:
            self._warm.clear()
