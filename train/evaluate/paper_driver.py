"""Source of the driver that takes a batch through the calls of the three-body paper (`train.evaluate.paper`).

It is a part of a generated module, behind the pieces of the loop (`integrators/kernels`), whose rows and functions it
uses.  The parts below are lines of it; their indentation is that of the place where they stand.
"""

from __future__ import annotations

from ...integrators.core import record
from ...integrators.kernels.drivers import ARGS

#: row of AMUSE's time scale in the attempt record
TAU = f"R + {record.TAU_AMUSE}*W"

#: free lanes take the next instances of the queue
LOAD = f"""\
            for l in range(W):
                if A[INST + l] < 0.0 and (cursor < last or fill):
                    b = cursor if cursor < last else first
                    load(A, l, b, {ARGS})
                    A[NEXT + l] = 0.0
                    A[TOUT + l] = length
                    if cursor == last:
                        # lanes that never get an instance compute on a copy of the first one
                        A[STATUS + l] = IDLE
                        A[INST + l] = -1.0
                    else:
                        cursor += 1"""

#: lanes that wait at the end of a call get their controller and their size back, and go on
GO_ON = f"""\
            for l in range(W):
                if keep[rows + 1, l] == 1.0:
                    for i in range(rows):
                        A[CS + i*W + l] = keep[i, l]
                    # the forces are those of the corrected state now, and so is the time scale
                    A[H + l] = keep[rows, l]*A[{TAU} + l]
                    A[STATUS + l] = RUNNING
                    keep[rows + 1, l] = 0.0"""

#: a lane has passed the end of its call: it notes the state, and waits with its controller and its size in `keep`
END_CALL = f"""\
                    q = int(A[NEXT + l])
                    # a step may run over several ends; the calls between take none
                    while q < calls and A[T + l] >= (q + 1.0)*length:
                        for i in range(N):
                            marks[int(A[INST + l]), q, i] = A[Y + i*W + l]
                        q += 1
                    A[NFEV + l] += 2.0*(q - A[NEXT + l]) - 1.0
                    A[NEXT + l] = q
                    A[TOUT + l] = (q + 1.0)*length
                    A[STATUS + l] = IDLE
                    if q == calls:
                        A[STATUS + l] = SUCCESS
                    else:
                        for i in range(rows):
                            keep[i, l] = A[CS + i*W + l]
                        keep[rows, l] = A[H + l]/A[{TAU} + l]
                        keep[rows + 1, l] = 1.0
                        A[FRESH + l] = 1.0"""


def driver_source(wide: bool) -> str:
    """Source of `run_calls(A, params, ..., length, calls, first, last, keep, marks, yend, stat)`, which takes the
    instances first..last-1 each through its calls.

    A lane at the end of a call waits, its controller's state and its size in `keep`, until an eighth of the block does
    so; then these lanes are started together, and the lanes of finished instances are taken by others.  marks
    (B, calls, n): the states at the ends of the calls.
    """
    return f"""@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run_calls(A, params, {ARGS}, length, calls, first, last, keep, marks, yend, stat):
    {'wide_vectors()' if wide else 'pass'}
    rows = keep.shape[0] - 2
    cursor = first
    running = 0
    pending = W
    fill = True
    for l in range(W):
        A[INST + l] = -1.0
        keep[rows + 1, l] = 0.0
    while True:
        if pending >= THRESHOLD or running == 0:
            if pending == 0:
                break
{LOAD}
            fill = False
            start_fresh(A, params)
{GO_ON}
            begin(A)
        attempt(A)
        decide(A, params)
        settle(A, tgrid, yout)
        running = 0
        pending = 0
        for l in range(W):
            if A[INST + l] >= 0.0 and keep[rows + 1, l] == 0.0:
                if A[STATUS + l] == RUNNING and A[T + l] >= A[TOUT + l]:
{END_CALL}
                elif A[STATUS + l] == RUNNING:
                    running += 1
                if A[STATUS + l] != RUNNING and keep[rows + 1, l] == 0.0:
                    store(A, l, yend, stat)
            pending += 1 if keep[rows + 1, l] == 1.0 or (A[INST + l] < 0.0 and cursor < last) else 0
"""
