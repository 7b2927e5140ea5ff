"""Row layout of a block of W lanes: one flat float64 array, quantity r of lane l at `r*W + l`.

One array for everything, with a compile-time W: separate arrays would need run-time alias checks that defeat the
vectoriser.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..core import record
from ..core.contract import ANSWER

# status of a lane, as stored in the STATUS row
RUNNING = 0
SUCCESS = 1
IDLE = 2
MAX_STEPS = -1
UNDERFLOW = -2
NON_FINITE = -3
BAD_START = -4
# of trajectories that are followed (`followed`)
EVENT = 3
# of a method of a portfolio (`member`): the trajectory goes on with another method
SWITCH = 4
BAD_EVENT = -5
ENDLESS = -6
SMALLEST = -7

#: what counts as success
SUCCESSES = (SUCCESS, EVENT)
# of problems with a mass matrix (`pieces.mass`)
INCONSISTENT = -8
HIGH_INDEX = -9
# of methods that take the spectral radius of df/dy (`pieces.rkc`)
BAD_RADIUS = -10

MESSAGES = {
    RUNNING: "still running",
    SUCCESS: "reached the end of the span",
    IDLE: "no trajectory",
    MAX_STEPS: "step limit reached before the end of the span; the last good state is returned",
    UNDERFLOW: "step size fell below what the time variable resolves; the last good state is returned",
    NON_FINITE: "right-hand side or state became non-finite and smaller steps did not help; "
    "the last good state is returned",
    BAD_START: "right-hand side is not finite at the initial state",
    EVENT: "a terminal event ended the solve",
    SWITCH: "goes on with another method of the portfolio",
    BAD_EVENT: "an event's value or the state after its reset is NaN; the last good state is returned",
    ENDLESS: "an event with a reset recurs without end: its repetitions came closer together than the state resolves; "
    "the last good state is returned (make the event terminal, or let the reset hold the state)",
    SMALLEST: "the error asks for steps below min_step; the last good state is returned",
    INCONSISTENT: "the initial state does not satisfy the algebraic equations, those without a derivative: "
    "stepsmith.consistent_start gives one that does",
    HIGH_INDEX: "the algebraic equations do not determine the algebraic variables at the initial state: the problem is "
    "of index 2 or higher, and has to be brought to index 1 by differentiating constraints",
    BAD_RADIUS: "the problem's spectral_radius is negative, NaN or infinite there; the last good state is returned",
}

#: columns of the per-trajectory statistics that drivers return, and the rows of a block that they are copied from
STATS_ROWS = {
    "status": "STATUS", "naccept": "NACC", "nreject": "NREJ", "nfev": "NFEV", "t": "T", "nfallback": "NFALL",
    "h_last": "HLAST", "h_next": "H", "njev": "NJEV", "nlu": "NLU", "nsolve": "NSOLVE", "naccept_over": "NOVER",
}  # fmt: skip
STATS = tuple(STATS_ROWS)
N_STATS = len(STATS)

#: places in the `pack` of a single solve; behind them the statistics, then y0, atol, p and the end state
PACK = ("t0", "t1", "rtol", "h0", "max_steps", "steps", "records", "started", "most")
#: where everything that has a name stands in a pack
AT = {name: i for i, name in enumerate((*PACK, *STATS))}


def message(status: int, over: int = 0, scale: float = 1.0) -> str:
    """What happened to a trajectory of this status, `over` of whose accepted attempts had a scaled error above 1.

    scale: the controller's tolerance scale.
    """
    if not over:
        return MESSAGES[status]
    steps = "1 accepted step" if over == 1 else f"{over} accepted steps"
    limit = "the tolerance" if scale == 1.0 else f"{scale:.3g} times the tolerance, where this controller works"
    return f"{MESSAGES[status]}; {steps} had an error estimate above {limit}, which the controller let pass"


@dataclass
class Layout:
    """Names and offsets of a block's rows.  together: (first row, count) where the elements of a lane lie together
    instead of W apart, element k of lane l at `first*W + l*count + k`."""

    width: int
    rows: dict[str, int] = field(default_factory=dict)
    count: int = 0
    together: tuple[tuple[int, int], ...] = ()

    def add(self, name: str, rows: int = 1) -> None:
        self.rows[name] = self.count
        self.count += rows

    @property
    def size(self) -> int:
        """Length of the block's array."""
        return self.count * self.width

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Where a lane's elements lie in the block: `first + step*lane`, (count,) int64 each."""
        first, step = np.arange(self.count) * self.width, np.ones(self.count, np.int64)
        for row, count in self.together:
            first[row : row + count] = row * self.width + np.arange(count)
            step[row : row + count] = count
        return first, step

    def constants(self) -> str:
        """Source lines `NAME = offset` of the rows, then of the record's slots (`R_ERR`, ...) and of the answer's
        (`CO_ACCEPT`, ...)."""
        places = dict(self.rows)
        for row, slots in (("R", record.NAMES), ("CO", ANSWER)):
            if row in self.rows:
                places |= {f"{row}_{slot.upper()}": self.rows[row] + i for i, slot in enumerate(slots)}
        return "".join(f"{name} = {row * self.width}\n" for name, row in places.items())


SCALARS = (
    "T", "TEND", "DIR", "H", "HS", "STATUS", "INST", "FRESH", "NACC", "NREJ", "NFEV", "NFALL", "RTOL", "HZERO",
    "NEXT", "TOUT", "MAXSTEP", "HLAST", "STUCK", "LANDS", "ACC", "TN", "S0", "S1", "S2", "S3", "S4", "NJEV", "NLU",
    "NSOLVE", "DONE", "NOVER", "COARSE",
)  # fmt: skip


def block_layout(
    width: int,
    n: int,
    m: int,
    n_k: int,
    n_state: int,
    n_out: int,
    extra: int = 0,
    together: tuple[tuple[int, int], ...] = (),
) -> Layout:
    """Layout for dimension n, m parameters, n_k slope rows, controller state and answer rows, and `extra` method rows,
    of which those of `together` (first, count) hold a lane's elements side by side."""
    lay = Layout(width)
    for name in SCALARS:
        lay.add(name)
    lay.add("R", record.N_RECORD)
    lay.add("CS", n_state)
    lay.add("CO", n_out)
    lay.add("Y", n)
    lay.add("YN", n)
    lay.add("G", n)
    lay.add("Z", n)
    lay.add("ATOL", n)
    lay.add("P", max(m, 1))
    for k in range(n_k):
        lay.add(f"K{k}", n)
    if extra:
        lay.together = tuple((lay.count + first, count) for first, count in together)
        lay.add("X", extra)
    return lay
