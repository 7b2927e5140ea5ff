"""`run(A, params, ..., yend, stat, first, last, place, most)`: trajectories first..last-1; a lane that is done takes
the next one.

Lanes are refilled when at least an eighth of the block is free (THRESHOLD), so that the start-up work is shared.
Returns 0 when all are done, and 1 after `most` attempts a lane: call it again with the same A and `place`
(`drivers.PLACE`, int64, zeros before the first call).
"""

from ..slots import (
    IDLE,
    INST,
    RUNNING,
    STATUS,
    THRESHOLD,
    W,
    attempt,
    begin,
    decide,
    entry,
    load,
    start_fresh,
    store,
    wide_vectors,
)  # fmt: skip
from .settle import settle
from .slots import PLACE_CURSOR, PLACE_ENTERED, PLACE_FREE, PLACE_STORED, WIDE


@entry
def run(A, params, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat, first, last, place, most):
    if WIDE:
        wide_vectors()
    cursor = first
    free = W
    stored = W
    if place[PLACE_ENTERED] == 0:
        for l in range(W):
            A[STATUS + l] = IDLE
            A[INST + l] = -1.0
    else:
        cursor = place[PLACE_CURSOR]
        free = place[PLACE_FREE]
        stored = place[PLACE_STORED]
    ticks = 0
    while True:
        if free >= THRESHOLD or free == W:
            fresh = 0
            for l in range(W):
                if A[STATUS + l] != RUNNING and cursor < last:
                    load(A, l, cursor, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps)
                    cursor += 1
                    fresh += 1
            if fresh > 0:
                if cursor - first == fresh:
                    # lanes that never get a trajectory compute on a copy of the first one
                    for l in range(fresh, W):
                        load(A, l, first, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps)
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
            place[PLACE_CURSOR] = cursor
            place[PLACE_FREE] = free
            place[PLACE_STORED] = stored
            place[PLACE_ENTERED] = 1
            return 1
