"""Source of the drivers: an ensemble over a queue of trajectories, and a single solve that keeps its steps.

A driver returns after a given number of attempts, finished or not, and goes on from there when it is called again: between the calls
Python answers an interrupt.
"""

from __future__ import annotations

from .layout import AT, N_STATS, PACK

ARGS = "y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps"


#: places in the `place` of an ensemble's driver, int64
PLACE = ("cursor", "free", "stored", "entered")


def ensemble_source(wide: bool) -> str:
    """`run(A, params, ..., yend, stat, first, last, place, most)`: trajectories first..last-1; a lane that is done takes the next one.

    Lanes are refilled when at least an eighth of the block is free, so that the start-up work is shared.  Returns 0 when all are done, and
    1 after `most` attempts a lane: call it again with the same A and `place` (PLACE, zeros before the first call).
    """
    at = {name: f"place[{i}]" for i, name in enumerate(PLACE)}
    return f"""@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run(A, params, {ARGS}, yend, stat, first, last, place, most):
    {'wide_vectors()' if wide else 'pass'}
    cursor = first
    free = W
    stored = W
    if {at['entered']} == 0:
        for l in range(W):
            A[STATUS + l] = IDLE
            A[INST + l] = -1.0
    else:
        cursor = {at['cursor']}
        free = {at['free']}
        stored = {at['stored']}
    ticks = 0
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
                return 0
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
        if ticks >= most:
            {at['cursor']} = cursor
            {at['free']} = free
            {at['stored']} = stored
            {at['entered']} = 1
            return 1
"""


def single_source(wide: bool = False) -> str:
    """`run_single(A, params, pack, tgrid, yout, ts, ys, rows)`: one trajectory (W = 1).

    `pack` (few arguments are cheap to pass) holds PACK, N_STATS statistics, y0 (n), atol (n), the end state (n), p (m).  "steps": how
    many are kept in ts/ys so far, "records": in rows, "started": 0 on the first call, "most": attempts after which a call returns.
    Returns 0 when done, 1 when ts or rows is full: grow it and call again with the same A; 2 after "most" attempts: call again.  A
    zero-length ts or rows keeps nothing.
    """
    at = AT
    first = len(PACK) + N_STATS
    return f"""@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def run_single(A, params, pack, tgrid, yout, ts, ys, rows):
    steps = int(pack[{at['steps']}])
    records = int(pack[{at['records']}])
    keep = ts.shape[0] > 0
    log = rows.shape[0] > 0
    left = pack[{at['most']}]
    if pack[{at['started']}] == 0.0:
        y0 = pack[{first}:{first} + N].reshape((1, N))
        atol = pack[{first} + N:{first} + 2*N].reshape((1, N))
        p = pack[{first} + 3*N:{first} + 3*N + M].reshape((1, M))
        load(A, 0, 0, y0, p, pack[{at['t0']}:], pack[{at['t1']}:], pack[{at['rtol']}:], atol, pack[{at['h0']}:], tgrid, yout,
             pack[{at['max_steps']}])
        start_fresh(A, params)
        begin(A)
        pack[{at['started']}] = 1.0
        if keep:
            ts[0] = A[T]
            for i in range(N):
                ys[0, i] = A[Y + i]
            steps = 1
    while A[STATUS] == RUNNING:
        if (keep and steps >= ts.shape[0]) or (log and records >= rows.shape[0]):
            pack[{at['steps']}] = steps
            pack[{at['records']}] = records
            return 1
        if left <= 0.0:
            pack[{at['steps']}] = steps
            pack[{at['records']}] = records
            return 2
        left -= 1.0
        attempt(A)
        decide(A, params)
        if log:
            for i in range(NREC):
                rows[records, i] = A[R + i]
            for i in range(NANS):
                rows[records, NREC + i] = A[CO + i]
            records += 1
        settle(A, tgrid, yout)
        if keep and A[ACC] == 1.0:
            ts[steps] = A[T]
            for i in range(N):
                ys[steps, i] = A[Y + i]
            steps += 1
    store(A, 0, pack[{first} + 2*N:{first} + 3*N].reshape((1, N)), pack[{len(PACK)}:{first}].reshape((1, {N_STATS})))
    pack[{at['steps']}] = steps
    pack[{at['records']}] = records
    return 0
"""
