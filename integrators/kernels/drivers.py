"""Source of the drivers: an ensemble over a queue of trajectories, and a single solve that keeps its steps."""

from __future__ import annotations

ARGS = "y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps"


def ensemble_source(wide: bool) -> str:
    """`run(A, params, ..., yend, stat, first, last)`: trajectories first..last-1; a lane that is done takes the next one.

    Lanes are refilled when at least an eighth of the block is free, so that the start-up work is shared.  Returns the attempts made.
    """
    return f"""@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run(A, params, {ARGS}, yend, stat, first, last):
    {'wide_vectors()' if wide else 'pass'}
    cursor = first
    ticks = 0
    for l in range(W):
        A[STATUS + l] = IDLE
        A[INST + l] = -1.0
    free = W
    stored = W
    while True:
        if free >= THRESHOLD or free == W:
            fresh = 0
            for l in range(W):
                if A[STATUS + l] != RUNNING and cursor < last:
                    load(A, l, cursor, {ARGS})
                    cursor += 1
                    fresh += 1
            if fresh > 0:
                if cursor - first == fresh:
                    # lanes that never get a trajectory compute on a copy of the first one
                    for l in range(fresh, W):
                        load(A, l, first, {ARGS})
                        A[STATUS + l] = IDLE
                        A[INST + l] = -1.0
                start_fresh(A, params)
                begin(A)
                stored = 0
                for l in range(W):
                    stored += 1 if A[INST + l] < 0.0 else 0
            elif free == W:
                break
        attempt(A)
        decide(A, params)
        settle(A, tgrid, yout)
        ticks += 1
        free = 0
        for l in range(W):
            free += 1 if A[STATUS + l] != 0.0 else 0
        if free > stored:
            for l in range(W):
                if A[STATUS + l] != RUNNING and A[INST + l] >= 0.0:
                    store(A, l, yend, stat)
            stored = free
    return ticks
"""


def single_source(wide: bool = False) -> str:
    """`run_single(A, params, ..., yend, stat, ts, ys, rows, count)`: one trajectory (W = 1).

    count[0] steps kept in ts/ys so far, count[1] records kept in rows, count[2] 0 on the first call.  Returns 0 when done, 1 when ts or
    rows is full: grow it and call again with the same A.  A zero-length ts or rows keeps nothing.
    """
    return f"""@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run_single(A, params, {ARGS}, yend, stat, ts, ys, rows, count):
    keep = ts.shape[0] > 0
    log = rows.shape[0] > 0
    if count[2] == 0:
        load(A, 0, 0, {ARGS})
        start_fresh(A, params)
        begin(A)
        count[2] = 1
        if keep:
            ts[0] = A[T]
            for i in range(N):
                ys[0, i] = A[Y + i]
            count[0] = 1
    while A[STATUS] == RUNNING:
        if (keep and count[0] >= ts.shape[0]) or (log and count[1] >= rows.shape[0]):
            return 1
        attempt(A)
        decide(A, params)
        if log:
            for i in range(NREC):
                rows[count[1], i] = A[R + i]
            for i in range(NANS):
                rows[count[1], NREC + i] = A[CO + i]
            count[1] += 1
        settle(A, tgrid, yout)
        if keep and A[ACC] == 1.0:
            ts[count[0]] = A[T]
            for i in range(N):
                ys[count[0], i] = A[Y + i]
            count[0] += 1
    store(A, 0, yend, stat)
    return 0
"""
